"""One clip of a video as training sees it: a random window in time, a random square of its frames, perhaps mirrored."""

from __future__ import annotations

import os

import numpy as np
from jaxtyping import UInt8

from vidtldr_jax.data.clip import FrameSource, read_source
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.transforms import fit_frame


def read_random_clip(
    path: str | os.PathLike[str], preprocessing: Preprocessing, rng: np.random.Generator, *, use_mirror: bool
) -> UInt8[np.ndarray, "T Y X 3"]:
    """Reads a random clip, before normalisation.

    Args:
      path: of a video, a GIF, an image or a folder of images.
      preprocessing: number of frames, stride, size, shortest edge and kernel; sampling, clips and crop are left out.
      rng: of the window's beginning, the square's corner and the mirror; all frames share them.
      use_mirror: mirror half of the clips; not where left and right are what classes differ in.

    Returns:
      The clip. A video with fewer frames than needed has its last one repeated.

    Raises:
      VideoReadError: the video can't be read.
    """
    begin, corner, is_mirrored = rng.random(), rng.random(2), use_mirror and rng.random() < 0.5
    frames = read_source(path, lambda source: _read(source, preprocessing, begin, corner))
    return frames[:, :, ::-1] if is_mirrored else frames


def _read(source: FrameSource, preprocessing: Preprocessing, begin: float, corner: np.ndarray) -> np.ndarray:
    num_available, stride, size = source.num_frames, preprocessing.stride, preprocessing.image_size
    spare = max(num_available - (preprocessing.num_frames - 1) * stride, 1)
    wanted = np.minimum(int(begin * spare) + stride * np.arange(preprocessing.num_frames), num_available - 1)
    frames = np.empty((preprocessing.num_frames, size, size, 3), np.uint8)
    missing = set(wanted.tolist())
    for index, frame in source.read(sorted(missing)):
        resized = fit_frame(frame, preprocessing)
        top, left = (corner * (np.array(resized.shape[:2]) - size + 1)).astype(int)
        frames[wanted == index] = resized[top : top + size, left : left + size]
        missing.discard(index)
    if missing:
        raise VideoReadError(
            f"all frames of the clip must be there; number {min(missing)} of {num_available} is "
            "not decodable; make or copy the file again."
        )
    return frames
