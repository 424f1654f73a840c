"""Labelled videos -> batches of clips.

What is in a batch depends on the list, the seed and the batch's number alone, so that a run that was broken off goes on
with the same clips.

    with contextlib.closing(stream_batches(entries, preprocessing, recipe, first=0, num_steps=100)) as batches:
        for batch in batches:
            ...  # batch.inputs [parts, B, T, Y, X, 3] uint8
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float32

from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.loading import map_in_thread
from vidtldr_jax.data.manifest import ManifestEntry
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.workers import map_in_workers
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.random_views import TrainingClip, read_training_clip
from vidtldr_jax.train.recipe import Recipe

# Streams of random numbers, one for each kind of chance.
_ORDER: Final = 0
_CLIPS: Final = 1
_MIXUP: Final = 2
_BATCHES_AHEAD: Final = 2
_MOST_CACHED: Final = 2**29  # bytes of clips that are always the same, kept by whoever reads


class Batch(NamedTuple):
    """What a step sees; A is the parts whose gradients are added up.

    Attributes:
      inputs: `[A, B, T, Y, X, 3]` uint8 clips, or `[A, B, D]` float32 features of clips.
      labels: `[A, B]` int32.
      partner: `[A, B]` int32, number of the clip of the same part that is blended in.
      weight: `[A, B]` float32, share of the clip itself; 1 blends nothing in.
    """

    inputs: Any
    labels: Any
    partner: Any
    weight: Any


class Draw(NamedTuple):
    """One clip of a run.

    Attributes:
      place: which video of the list.
      clip: uint8 frames; None if it and all others that could stand in for it can't be read.
      errors: of videos that can't be read: place and reason.
      notices: what a user should know about the video.
    """

    place: int
    clip: np.ndarray | None
    errors: tuple[tuple[int, str], ...]
    notices: tuple[str, ...] = ()


@functools.lru_cache(maxsize=4)
def find_order(num_videos: int, *, seed: int, epoch: int) -> tuple[int, ...]:
    """Returns the order of an epoch, a permutation of range(num_videos)."""
    return tuple(np.random.default_rng((seed, _ORDER, epoch)).permutation(num_videos).tolist())


def find_place(draw: int, num_videos: int, *, seed: int, offset: int = 0) -> int:
    """Returns which video the draw-th clip of a run comes from; `offset` later ones in the same epoch stand in."""
    epoch, position = divmod(draw, num_videos)
    return find_order(num_videos, seed=seed, epoch=epoch)[(position + offset) % num_videos]


class ClipReader:
    """Reads the clips of a run by their number; keeps those that are always the same, as far as memory is set apart.

    Attributes:
      entries: the videos.
      preprocessing: what the model expects.
      recipe: seed, and what is random.
      skips: whether a video that can't be read is replaced by the next one of its epoch.
    """

    def __init__(
        self, entries: Sequence[ManifestEntry], preprocessing: Preprocessing, recipe: Recipe, *, skips: bool
    ) -> None:
        """Takes what is needed; nothing is read yet."""
        self.entries, self.preprocessing, self.recipe, self.skips = entries, preprocessing, recipe, skips
        self._cache: dict[int, TrainingClip] = {}
        self._unreadable: dict[int, str] = {}

    def __call__(self, draw: int) -> Draw:
        """Reads the clip of one draw."""
        errors: list[tuple[int, str]] = []
        for offset in range(len(self.entries) if self.skips else 1):
            place = find_place(draw, len(self.entries), seed=self.recipe.seed, offset=offset)
            if place not in self._unreadable:
                try:
                    clip = self._read(place, draw)
                    return Draw(place, clip.frames, tuple(errors), clip.notices)
                except (VideoReadError, OSError) as error:
                    self._unreadable[place] = " ".join(str(error).split())
            errors.append((place, self._unreadable[place]))
        return Draw(place, None, tuple(errors))

    def _read(self, place: int, draw: int) -> TrainingClip:
        if place in self._cache:
            return self._cache[place]
        rng = np.random.default_rng((self.recipe.seed, _CLIPS, draw))
        clip = read_training_clip(self.entries[place].path, self.preprocessing, self.recipe, rng)
        if not self.recipe.is_random and (len(self._cache) + 1) * clip.frames.nbytes <= _MOST_CACHED:
            self._cache[place] = clip
        return clip


def stream_batches(
    entries: Sequence[ManifestEntry],
    preprocessing: Preprocessing,
    recipe: Recipe,
    *,
    first: int,
    num_steps: int,
    num_workers: int = 0,
    skips: bool = False,
    unreadable: dict[str, str] | None = None,
    notices: dict[str, tuple[str, ...]] | None = None,
) -> Generator[Batch, None, None]:
    """Reads batches in order, ahead of the consumer.

    Args:
      entries: the videos and their classes.
      preprocessing: what the model expects.
      recipe: seed, batch size, and what is random.
      first: number of the first batch.
      num_steps: number of the last one, plus 1.
      num_workers: processes that read; 0 is a thread.
      skips: replace a video that can't be read by the next one of its epoch.
      unreadable: gets name and reason of every such video.
      notices: gets what a user should know of videos, by name.

    Yields:
      The batches.

    Raises:
      TrainError: a video can't be read, and skips is off or no other one can be.
      WorkerError: see `read_videos`.
    """
    size = recipe.batch_size
    reader = ClipReader(entries, preprocessing, recipe, skips=skips)
    draws = range(first * size, num_steps * size)
    if num_workers and draws:
        found = map_in_workers(reader, draws, num_workers=min(num_workers, len(draws)))
    else:
        found = map_in_thread(reader, draws, read_ahead=_BATCHES_AHEAD * size)
    clips: list[np.ndarray] = []
    labels: list[int] = []
    step = first
    with contextlib.closing(found):
        for draw in found:
            for place, reason in draw.errors:
                name = entries[place].name
                if unreadable is not None:
                    unreadable[name] = reason
                if draw.clip is None:
                    why = reason.rstrip(".")
                    raise TrainError(
                        f"every training video must be readable; {name}: {why}; fix it or take it off the "
                        "list, or --skip-unreadable to take others instead."
                    )
            if draw.notices and notices is not None:
                notices[entries[draw.place].name] = draw.notices
            assert draw.clip is not None
            clips.append(draw.clip)
            labels.append(entries[draw.place].labels[0])
            if len(clips) == size:
                yield make_batch(np.stack(clips), labels, recipe, step=step)
                clips, labels, step = [], [], step + 1


def make_batch(inputs: np.ndarray, labels: Sequence[int] | np.ndarray, recipe: Recipe, *, step: int) -> Batch:
    """Cuts a batch into parts and draws what is blended with what.

    Args:
      inputs: clips or features, `[parts * B, ...]`.
      labels: of each.
      recipe: seed, parts and mixup.
      step: number of the batch.

    Returns:
      The batch. With mixup all clips of a part have one share, and their partners are in reversed order.
    """
    parts = recipe.accumulation
    size = len(inputs) // parts
    weight = np.ones((parts, size), np.float32)
    if recipe.mixup:
        rng = np.random.default_rng((recipe.seed, _MIXUP, step))
        weight *= rng.beta(recipe.mixup, recipe.mixup, (parts, 1)).astype(np.float32)
    return Batch(
        inputs.reshape(parts, size, *inputs.shape[1:]),
        np.asarray(labels, np.int32).reshape(parts, size),
        np.tile(np.arange(size, dtype=np.int32)[::-1], (parts, 1)),
        weight,
    )


def stream_feature_batches(
    features: Float32[np.ndarray, "num D"], labels: Sequence[int], recipe: Recipe, *, first: int, num_steps: int
) -> Generator[Batch, None, None]:
    """Makes batches of features that were computed once, in the order in which clips would come.

    Args:
      features: of each video.
      labels: its class.
      recipe: seed and batch size.
      first: number of the first batch.
      num_steps: number of the last one, plus 1.

    Yields:
      The batches.
    """
    size, known = recipe.batch_size, np.asarray(labels, np.int32)
    for step in range(first, num_steps):
        draws = range(step * size, (step + 1) * size)
        places = [find_place(draw, len(known), seed=recipe.seed) for draw in draws]
        yield make_batch(features[places], known[places], recipe, step=step)
