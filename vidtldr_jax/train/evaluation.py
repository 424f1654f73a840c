"""The accuracy of parameters on a list of videos: one view of each, with the merging of evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float

from vidtldr_jax.data.manifest import ManifestEntry
from vidtldr_jax.evaluation.metrics import count_right
from vidtldr_jax.inference.finite import NotFiniteError, check_finite
from vidtldr_jax.inference.load import build_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.stream import Output, encode_videos
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.optimizer import HEAD
from vidtldr_jax.train.setup import Setup

MOST_CLIPS: Final = 8  # in a run without gradients


class Rows(NamedTuple):
    """One row per video, and which could not be read.

    Attributes:
      values: `[num, ...]` float32; rows of unreadable videos are 0.
      is_read: `[num]` bool.
    """

    values: Float[np.ndarray, "num D"]
    is_read: np.ndarray


def make_model(setup: Setup, params: Mapping[str, Any], schedule: str) -> VideoModel:
    """Makes the model of some parameters, for one view of a video."""
    return build_model(
        params,
        setup.config,
        preprocessing=setup.stored.preprocessing.take_one_view(),
        labels=None if setup.classes.names is None else list(setup.classes.names),
        schedule=schedule,
        method=setup.recipe.method,
        dtype=setup.recipe.dtype,
    )


def encode_entries(
    model: VideoModel,
    entries: Sequence[ManifestEntry],
    *,
    output: Output,
    batch_size: int,
    num_workers: int = 0,
    skips: bool = False,
    unreadable: dict[str, str] | None = None,
    notices: dict[str, tuple[str, ...]] | None = None,
) -> Rows:
    """Encodes one view of each video.

    Args:
      model: for one view.
      entries: the videos.
      output: "logits" or "pooled".
      batch_size: clips per run, at most `MOST_CLIPS`, so that features for a probe's batches of 32 take no more memory.
      num_workers: processes that read; 0 is a thread.
      skips: whether videos may be unreadable.
      unreadable: gets name and reason of each that is.
      notices: gets what a user should know of videos, by name.

    Returns:
      Their rows.

    Raises:
      TrainError: a video can't be read, and skips is off or no other one can be.
    """
    values: list[np.ndarray | None] = []
    stream = encode_videos(
        model, [entry.path for entry in entries], output=output,
        batch_size=min(batch_size, MOST_CLIPS), num_workers=num_workers,
    )  # fmt: skip
    with contextlib.closing(stream):
        for entry, video in zip(entries, stream, strict=True):
            if video.notices and notices is not None:
                notices[entry.name] = video.notices
            if video.error is not None:
                reason = " ".join(str(video.error).split())
                if unreadable is not None:
                    unreadable[entry.name] = reason
                why = f"{entry.name}: {reason.rstrip('.')}"
                if isinstance(video.error, NotFiniteError) and not skips:
                    raise TrainError(f"{why}, or --skip-unreadable to go on without it")
                if not skips:
                    raise TrainError(
                        f"every video must be readable; {why}; fix it or take it off the list, or "
                        "--skip-unreadable to go on without it."
                    )
            values.append(None if video.outputs is None else np.asarray(video.outputs[0], np.float32))
    read = [value for value in values if value is not None]
    if not read:
        raise TrainError(f"a video must be readable; none of {len(entries)} is; check the list.")
    rows = np.stack([np.zeros_like(read[0]) if value is None else value for value in values])
    return Rows(rows, np.array([value is not None for value in values]))


def classify_rows(params: Mapping[str, Any], features: Rows) -> Rows:
    """Returns the classifier's logits of features.

    Raises:
      NotFiniteError: a logit is not finite.
    """
    kernel, bias = (np.asarray(params[f"{HEAD}{name}"], np.float64) for name in ("kernel", "bias"))
    logits = (features.values @ kernel + bias).astype(np.float32)
    check_finite(logits, "logits")
    return features._replace(values=logits)


def find_right(logits: Rows, labels: Sequence[int]) -> np.ndarray:
    """Tells which videos are classified rightly.

    Args:
      logits: of each video.
      labels: the right classes.

    Returns:
      `[num]` bool; a video that could not be read, or whose logits are not finite, counts as wrong.
    """
    return (logits.values.argmax(-1) == np.asarray(labels)) & _find_known(logits)


def _find_known(logits: Rows) -> np.ndarray:
    return logits.is_read & np.isfinite(logits.values).all(-1)


def score(logits: Rows, labels: Sequence[int]) -> dict[str, Any]:
    """Compares logits with the right classes, in float64.

    Args:
      logits: of each video.
      labels: the right classes.

    Returns:
      Plain data: `loss`, mean over the videos that could be read; `accuracy`, `right` and `of`, and Wilson's
      `interval_95`; a video that could not be read, or whose logits are not finite, counts as wrong.
    """
    values = np.asarray(logits.values, np.float64)
    truth = np.asarray(labels)
    is_known = _find_known(logits)
    shifted = values - values.max(-1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(len(truth)), truth]
    counted = count_right(int(find_right(logits, labels).sum()), len(truth))
    loss = float(losses[is_known].mean()) if is_known.any() else None
    return {
        "loss": loss,
        "accuracy": counted["value"],
        **{name: counted[name] for name in ("right", "of", "interval_95")},
    }
