"""Which of several schedules changes a model's outputs least, on videos without labels.

    found = calibrate_schedules(model, [one.schedule for one in plan.proposals], paths, batch_size=4)
    best = plan.proposals[choose_best(found.scores)]

Every batch goes through the plain model once and through each schedule once, so videos are read once and each model is
compiled once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.stream import Output, choose_batch_size, map_videos
from vidtldr_jax.reduction.schedule import ResolvedSchedule


class Score(NamedTuple):
    """How near the outputs under a schedule are to the plain model's.

    Attributes:
      cosine: mean over videos, and views of each, of the cosine between both embeddings; of pooled tokens where the
        model has no embedding.
      least_cosine: the smallest of any view.
      agreement: share of videos whose most probable class is the plain model's; None without a classifier.
    """

    cosine: float
    least_cosine: float
    agreement: float | None


class Calibration(NamedTuple):
    """What a calibration found.

    Attributes:
      scores: one for each schedule, in order.
      num_videos: that they are of.
      compared: what cosines are of, "embedding" or "pooled".
      errors: path -> what is wrong with a video that does not count.
    """

    scores: tuple[Score, ...]
    num_videos: int
    compared: str
    errors: dict[str, str]


def calibrate_schedules(
    model: VideoModel,
    schedules: Sequence[ResolvedSchedule],
    paths: Sequence[str | os.PathLike[str]],
    *,
    batch_size: int = 1,
    num_workers: int = 0,
    progress: Callable[[int], None] = lambda count: None,
    noting: Callable[[str, Sequence[str]], None] = lambda name, notices: None,
) -> Calibration:
    """Compares schedules with the plain model on videos.

    Args:
      model: whose weights and preprocessing are used; its schedule doesn't matter.
      schedules: resolved for its clips; each brings its method.
      paths: of videos, GIFs, images or folders of images.
      batch_size: views per run.
      num_workers: processes that read, see `read_videos`.
      progress: called with 1 after each video.
      noting: called with a video's path and what a user should know about it, where there is something.

    Returns:
      A `Calibration`.

    Raises:
      ValueError: there is no schedule, or none of the videos can be read; or what `encode_videos` refuses.
      WorkerError: see `read_videos`.
    """
    if not schedules:
        raise ValueError("at least one schedule is compared; got none; give some.")
    compared: Output = "pooled" if model.config.embed_dim is None else "embedding"
    outputs: tuple[Output, ...] = (compared,) if model.config.num_classes is None else (compared, "logits")
    model = model.with_local_mesh()
    models = [model.with_schedule(None), *(model.with_schedule(schedule) for schedule in schedules)]
    cosines: list[Float[np.ndarray, "S V"]] = []
    same: list[Float[np.ndarray, " S"]] = []
    errors: dict[str, str] = {}
    size = choose_batch_size(model, len(paths), batch_size)

    def encode_with_each(batch: jax.Array) -> tuple[jax.Array, ...]:  # [B, W, ...] of each output
        found = [one.encode_video(batch) for one in models]
        return tuple(jnp.stack([getattr(one, name) for one in found], axis=1) for name in outputs)

    videos = map_videos(
        encode_with_each,
        paths,
        preprocessing=model.preprocessing,
        place=model.place_video,
        names=outputs,
        batch_size=size,
        num_workers=num_workers,
    )
    with contextlib.closing(videos):
        for video in videos:
            if video.notices:
                noting(video.path, video.notices)
            if video.outputs is None:
                errors[video.path] = " ".join(str(video.error).split())
            else:
                cosines.append(compare_vectors(video.outputs[0]))
                same += [compare_answers(logits) for logits in video.outputs[1:]]
            progress(1)
    if not cosines:
        reason = next((f"{path}: {reason}" for path, reason in errors.items()), "got no video")
        raise ValueError(f"at least one video must be readable; none is ({reason}); give others.")
    means = np.mean([rows.mean(1) for rows in cosines], axis=0)
    least = np.min([rows.min(1) for rows in cosines], axis=0)
    agreement = np.mean(same, axis=0).tolist() if same else [None] * len(schedules)
    scores = tuple(Score(float(m), float(n), a) for m, n, a in zip(means, least, agreement, strict=True))
    return Calibration(scores, len(cosines), compared, errors)


def choose_best(scores: Sequence[Score]) -> int:
    """Returns the index of the score with the highest mean cosine, the first of equal ones."""
    return max(range(len(scores)), key=lambda number: scores[number].cosine)


def find_front(costs: Sequence[float], cosines: Sequence[float]) -> list[int]:
    """Finds the points that no other one beats: none is at most as dear and at least as near, and better in one.

    Args:
      costs: of each point, less is better.
      cosines: of each point, more is better.

    Returns:
      Their indices, the cheapest first.
    """
    order = sorted(range(len(costs)), key=lambda number: (costs[number], -cosines[number]))
    front: list[int] = []
    for number in order:
        if not front or cosines[number] > cosines[front[-1]]:
            front.append(number)
    return front


def compare_vectors(vectors: Float[np.ndarray, "V W D"]) -> Float[np.ndarray, "S V"]:
    """Returns the cosine of the first way's vector with every other one's, by way and view; 0 where one is zero."""
    values = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(values, axis=-1)  # [V, W]
    products = np.einsum("vd,vwd->vw", values[:, 0], values)
    scale = lengths[:, :1] * lengths
    return np.where(scale > 0, products / np.where(scale > 0, scale, 1.0), 0.0)[:, 1:].T


def compare_answers(logits: Float[np.ndarray, "V W C"]) -> Float[np.ndarray, " S"]:
    """Returns 1 where a way's most probable class, by the mean of the views' probabilities, is the first way's."""
    values = np.asarray(logits, np.float64)
    values = np.exp(values - values.max(-1, keepdims=True))
    answers = (values / values.sum(-1, keepdims=True)).mean(0).argmax(-1)  # [W]
    return (answers[1:] == answers[0]).astype(np.float64)
