"""Ranks of right items, and what is told of them. NumPy; scores are float32 and compared as they are.

A rank is a count from 0: items that score higher than the best right one, or the same and come before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Int64

from vidtldr_jax.inference.scoring import count_right

RECALLS: Final = (1, 5, 10)
DIRECTIONS: Final = ("text_to_video", "video_to_text")
# The originals' names: txt_* counts texts found by videos, img_* videos found by texts.
_ORIGINAL: Final = {"video_to_text": "txt", "text_to_video": "img"}
_ROWS: Final = 1024  # of a product that are made at a time


def compute_similarity(
    videos: Float32[np.ndarray, "V E"], texts: Float32[np.ndarray, "S E"]
) -> Float32[np.ndarray, "V S"]:
    """Compares embeddings (ITC).

    Args:
      videos: embeddings of videos.
      texts: embeddings of texts.

    Returns:
      Cosines, computed in float64 and rounded, so that equal embeddings have equal cosines; a zero vector is like
      nothing.
    """
    lengthless = [_normalise(values) for values in (videos, texts)]
    blocks = [lengthless[0][row : row + _ROWS] @ lengthless[1].T for row in range(0, len(videos), _ROWS)]
    return np.concatenate([block.astype(np.float32) for block in blocks]) if blocks else np.zeros((0, len(texts)), "f4")


def choose_candidates(similarity: Float32[np.ndarray, " items"], k: int) -> Int64[np.ndarray, " k"]:
    """Returns the k most similar items, the most similar first and the first of equal ones."""
    return np.argsort(-similarity, kind="stable")[:k]


def rank_right(scores: Float32[np.ndarray, " items"], right: Sequence[int]) -> int:
    """Ranks the best right item.

    Args:
      scores: of all items, -inf for one that can't be found.
      right: which items are right.

    Returns:
      Its rank; the number of items where none is right or none can be found.
    """
    ranks = [
        int((scores > scores[item]).sum() + (scores[:item] == scores[item]).sum())
        for item in right
        if scores[item] > -np.inf
    ]
    return min(ranks, default=len(scores))


def rank_right_reranked(
    similarity: Float32[np.ndarray, " items"],
    candidates: Int64[np.ndarray, " k"],
    scores: Float32[np.ndarray, " k"],
    right: Sequence[int],
) -> int:
    """Ranks the best right item where candidates are ordered by their score and all others follow by similarity.

    Args:
      similarity: of all items, -inf for one that can't be found.
      candidates: what `choose_candidates` returned.
      scores: of the candidates.
      right: which items are right.

    Returns:
      Its rank; the number of items where none is right or none can be found.
    """
    there = np.sort(candidates)
    ordered = there[np.argsort(-scores[np.argsort(candidates, kind="stable")], kind="stable")]
    rest = np.argsort(-similarity, kind="stable")
    order = np.concatenate([ordered, rest[~np.isin(rest, candidates)]])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return min((int(place[item]) for item in right if similarity[item] > -np.inf), default=len(similarity))


def describe_ranks(ranks: Sequence[int], num_items: int) -> dict[str, Any]:
    """Return recalls with Wilson's intervals, and median and mean rank from 1.

    Args:
      ranks: of the best right item of each query, from 0.
      num_items: that were ranked; a rank of so many is that of nothing found, which no recall counts.

    Returns:
      Plain data.
    """
    values = np.asarray(ranks, np.int64)
    found = {f"r{k}": count_right(int((values < min(k, num_items)).sum()), len(values)) for k in RECALLS}
    return {
        **found,
        "median_rank": float(np.median(values)) + 1 if len(values) else None,
        "mean_rank": float(values.mean()) + 1 if len(values) else None,
    }


def name_as_originals(described: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Returns the recalls in percent under the names of the original's output.

    Args:
      described: direction -> what `describe_ranks` returned.

    Returns:
      `txt_r1` and on for video-to-text, `img_r1` and on for text-to-video, and their means, with two digits.
    """
    found: dict[str, float] = {}
    means = []
    for direction, name in _ORIGINAL.items():
        recalls = [100 * described[direction][f"r{k}"]["value"] for k in RECALLS]
        found |= {f"{name}_r{k}": round(value, 2) for k, value in zip(RECALLS, recalls)}
        means.append(sum(recalls) / len(recalls))
        found[f"{name}_r_mean"] = round(means[-1], 2)
    return {**found, "r_mean": round(sum(means) / len(means), 2)}


def _normalise(values: np.ndarray) -> np.ndarray:
    exact = np.asarray(values, np.float64)
    return exact / np.maximum(np.linalg.norm(exact, axis=-1, keepdims=True), 1e-12)
