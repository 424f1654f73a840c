"""The text's side of the task: projecting captions, the contrastive loss, and how well they find each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

MAX_SCALE = 100.0  # of the similarities


class Recall(NamedTuple):
    """How often the right one is found, 0 to 1.

    Attributes:
      text_to_video: for every caption whether its clip is among the first 1 and the first 5, `[P, 2]`.
      video_to_text: for every clip whether its caption is, `[P, 2]`.
    """

    text_to_video: Bool[np.ndarray, "P 2"]
    video_to_text: Bool[np.ndarray, "P 2"]


def start_projection(captions: Float[np.ndarray, "P D"], embed_dim: int) -> dict[str, Float[np.ndarray, ...]]:
    """Makes the text's projection to start from: the captions' main axes, all equally long.

    MiniLM puts "It moves left." and "It moves right." close together; with equally long axes what sets captions apart
    counts as much as what they have in common. Training goes on from here.

    Args:
      captions: those of training, unit vectors.
      embed_dim: axes to keep.

    Returns:
      "kernel" and "bias" of a dense layer.
    """
    mean = captions.mean(0)
    _, lengths, axes = np.linalg.svd(captions - mean, full_matrices=False)
    kernel = (axes[:embed_dim] / lengths[:embed_dim, None]).T * np.sqrt(len(captions) / embed_dim)
    return {"kernel": kernel.astype(np.float32), "bias": (-mean @ kernel).astype(np.float32)}


def project_captions(params: Mapping[str, Any], captions: Float[Array, "P D"]) -> Float[Array, "P E"]:
    """Projects captions to unit vectors."""
    return scale_to_unit(captions @ params["kernel"] + params["bias"])


def scale_to_unit(vectors: Float[Array, "B E"]) -> Float[Array, "B E"]:
    """Scales to length 1."""
    return vectors * jax.lax.rsqrt(jnp.sum(vectors**2, -1, keepdims=True) + 1e-12)


def contrast(
    videos: Float[Array, "B E"],
    captions: Float[Array, "P E"],
    row: Int[Array, " B"],
    *,
    log_scale: Float[Array, ""],
    is_trained: Bool[Array, " P"],
) -> Float[Array, ""]:
    """Returns the symmetric contrastive loss, CLIP's, with more captions than clips.

    A clip has to find its caption among all that are trained; each clip's caption has to find it among the B clips,
    where others may show the same and are as right.

    Args:
      videos: unit vectors.
      captions: unit vectors of all captions.
      row: which of them belongs to each clip.
      log_scale: of the similarities, trained.
      is_trained: which captions may be looked at.

    Returns:
      The mean of both directions.
    """
    similarity = jnp.minimum(jnp.exp(log_scale), MAX_SCALE) * videos @ captions.T  # [B, P]
    among = jnp.where(is_trained, similarity, -jnp.inf)
    to_text = -jnp.take_along_axis(jax.nn.log_softmax(among, -1), row[:, None], 1).mean()
    found = jax.nn.log_softmax(similarity[:, row].T, -1)  # [B captions, B clips]
    is_right = row[:, None] == row
    to_video = -(found * is_right).sum(-1) / is_right.sum(-1)
    return (to_text + to_video.mean()) / 2


def find_recall(videos: Float[np.ndarray, "P E"], captions: Float[np.ndarray, "P E"]) -> Recall:
    """Ranks clips for captions and captions for clips, the i-th belongs to the i-th; a tie counts as missed.

    Args:
      videos: unit vectors.
      captions: unit vectors.

    Returns:
      Hits of each caption and each clip.
    """
    similarity = np.asarray(captions, np.float64) @ np.asarray(videos, np.float64).T
    hits = []
    for scores in (similarity, similarity.T):
        rank = (scores >= np.diagonal(scores)[:, None]).sum(1) - 1  # others that are at least as similar
        hits.append(np.stack([rank < 1, rank < 5], -1))
    return Recall(*hits)
