"""One clip of a video as training sees it: random frames, a random part of them, perhaps mirrored."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from vidtldr_jax.data.clip import FrameSource, read_frames, read_source
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.transforms import fit_frame, transform_frame
from vidtldr_jax.train.recipe import Recipe


class _Part(NamedTuple):
    """What is cut out of every frame: shares of its sides, and of the room that is left for its corner."""

    share: np.ndarray
    corner: np.ndarray


class TrainingClip(NamedTuple):
    """One clip, before normalisation.

    Attributes:
      frames: `[T, Y, X, 3]`.
      notices: what a user should know about the video's file.
    """

    frames: UInt8[np.ndarray, "T Y X 3"]
    notices: tuple[str, ...]


def read_training_clip(
    path: str | os.PathLike[str], preprocessing: Preprocessing, recipe: Recipe, rng: np.random.Generator
) -> TrainingClip:
    """Reads one clip, before normalisation.

    Args:
      path: of a video, a GIF, an image or a folder of images.
      preprocessing: what the model expects; one view of it where nothing is random.
      recipe: what is random: `random_time`, `crop`, `mirror`.
      rng: where all chance comes from; the same numbers, the same clip.

    Returns:
      The clip. A video with fewer frames than needed has some repeated.

    Raises:
      VideoReadError: the video can't be read.
    """
    moments = rng.random(preprocessing.num_frames) if recipe.random_time else None
    part = _Part(rng.uniform(recipe.crop, 1, 2), rng.random(2)) if recipe.crop < 1 else None
    is_mirrored = recipe.mirror and rng.random() < 0.5
    if moments is None and part is None:
        clip = read_frames(path, preprocessing.take_one_view())
        found = TrainingClip(clip.frames[0], clip.notices)
    else:
        found = read_source(path, lambda source: _read(source, preprocessing, moments, part))
    return found._replace(frames=np.ascontiguousarray(found.frames[:, :, ::-1])) if is_mirrored else found


def sample_moments(
    num_available: int, preprocessing: Preprocessing, moments: np.ndarray | None
) -> Int64[np.ndarray, " T"]:
    """Picks the frames of a clip.

    Args:
      num_available: frames of the video.
      preprocessing: "middle" and "uniform" take a random frame of each of T equal segments, as UMT's training does;
        "dense" and "windows" a window of frames a stride apart that begins at random.
      moments: one random number in [0, 1) per frame; None takes the middle of each segment or of the video.

    Returns:
      Frame indices, ascending; the last one is repeated where there are too few.
    """
    count, stride = preprocessing.num_frames, preprocessing.stride
    chance = np.full(count, 0.5) if moments is None else moments
    if preprocessing.sampling in ("dense", "windows"):
        spare = max(num_available - (count - 1) * stride, 1)
        wanted = int(chance[0] * spare) + stride * np.arange(count)
    else:
        edges = np.linspace(0, num_available, count + 1)
        wanted = (edges[:-1] + chance * np.diff(edges)).astype(np.int64)
    return np.minimum(wanted, num_available - 1).astype(np.int64)


def _read(
    source: FrameSource, preprocessing: Preprocessing, moments: np.ndarray | None, part: _Part | None
) -> TrainingClip:
    size = preprocessing.image_size
    wanted = sample_moments(_count_within(source, preprocessing.first_seconds), preprocessing, moments)
    frames = np.empty((preprocessing.num_frames, size, size, 3), np.uint8)
    missing = set(wanted.tolist())
    one_view = preprocessing.take_one_view()
    for index, frame in source.read(sorted(missing)):
        frames[wanted == index] = transform_frame(frame, one_view)[0] if part is None else _cut(frame, one_view, part)
        missing.discard(index)
    if missing:
        raise VideoReadError(
            f"all frames of the clip must be there; number {min(missing)} of {source.num_frames} "
            "can't be decoded; make or copy the file again."
        )
    return TrainingClip(frames, source.notices)


def _cut(frame: np.ndarray, preprocessing: Preprocessing, part: _Part) -> np.ndarray:
    """Cuts a part out of a frame and makes it a square as evaluation does, from a random place where sides differ."""
    whole = np.array(frame.shape[:2])
    sides = np.maximum((part.share * whole).astype(int), 1)
    top, left = (part.corner * (whole - sides + 1)).astype(int)
    fitted = fit_frame(np.ascontiguousarray(frame[top : top + sides[0], left : left + sides[1]]), preprocessing)
    size = preprocessing.image_size
    top, left = (part.corner * (np.array(fitted.shape[:2]) - size + 1)).astype(int)
    return fitted[top : top + size, left : left + size]


def _count_within(source: FrameSource, seconds: float | None) -> int:
    if seconds is None or source.times is None:
        return source.num_frames
    return max(1, min(source.num_frames, int(np.count_nonzero(source.times < seconds))))
