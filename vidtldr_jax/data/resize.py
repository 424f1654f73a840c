"""Resizing a frame with the kernels that the originals used.

Frames are uint8 `[Y, X, 3]`, values 0 to 255, and stay so: results are rounded and clamped; only "bilinear" cuts
fractions off.
"""

from __future__ import annotations

import functools
from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, UInt8

from vidtldr_jax.trust.limits import check_limit

Kernel = Literal["bicubic", "bicubic_antialias", "bilinear", "bilinear_antialias"]
KERNELS: Final = ("bicubic", "bicubic_antialias", "bilinear", "bilinear_antialias")

_SHARPNESS: Final = -0.75  # the cubic kernel's free parameter; Pillow and JAX have -0.5


class Taps(NamedTuple):
    """Which four inputs make an output along one axis, and how much of each.

    Attributes:
      positions: [O, 4] int64, clamped to the input.
      weights: [O, 4] float32, each row sums to 1.
    """

    positions: Int[np.ndarray, "O 4"]
    weights: Float32[np.ndarray, "O 4"]


def resize_frame(
    frame: UInt8[np.ndarray, "Y X 3"], *, height: int, width: int, kernel: Kernel
) -> UInt8[np.ndarray, "height width 3"]:
    """Resizes a frame; the aspect ratio is the caller's business.

    Args:
      frame: what to resize.
      height: rows of the result.
      width: columns of the result.
      kernel: "bicubic": a = -0.75, pixels between samples are left out when shrinking, as OpenCV and torch's
        `interpolate(mode="bicubic", align_corners=False)` do. "bicubic_antialias" (a = -0.5) and "bilinear_antialias":
        the kernel is widened when shrinking, as Pillow and torch's `antialias=True` do. "bilinear": it is not, and
        fractions are cut off, as TensorFlow's `tf.image.resize` and a cast do (Scenic's input pipeline).

    Returns:
      The resized frame; the frame itself where nothing changes.

    Raises:
      ValueError: a size is not positive, or the kernel is unknown.
      LimitError: the frame is so long a strip that it becomes larger than the limit.
    """
    if height < 1 or width < 1 or kernel not in KERNELS:
        raise ValueError(
            f"sizes are at least 1 and the kernel is one of {', '.join(KERNELS)}; got {height} x {width} "
            f"and {kernel!r}; give others."
        )
    if frame.shape[:2] == (height, width):
        return frame
    # Rows and columns are mixed one after the other: a long strip may be huge in between, or in the end.
    largest = max(height * width, height * frame.shape[1], frame.shape[0] * width)
    check_limit(
        "frame_pixels", largest, f"a frame of {frame.shape[0]} x {frame.shape[1]}, resized to {height} x {width},"
    )
    if kernel == "bicubic":
        mixed = _mix(frame, cubic_taps(frame.shape[0], height), cubic_taps(frame.shape[1], width))
        return np.rint(mixed).clip(0, 255).astype(np.uint8)
    if kernel == "bilinear":
        return _interpolate(frame, height, width).astype(np.uint8)
    return _resize_with_pillow(frame, height, width, kernel)


@functools.lru_cache(maxsize=64)
def cubic_taps(num_in: int, num_out: int) -> Taps:
    """Returns the taps of cubic interpolation (a = -0.75) along one axis, pixel centres at half integers."""
    centre = (np.arange(num_out) + 0.5) * (num_in / num_out) - 0.5  # [O]
    positions = np.floor(centre).astype(np.int64)[:, None] + np.arange(-1, 3)  # [O, 4]
    weights = _cubic_kernel(np.abs(centre[:, None] - positions)).astype(np.float32)
    return Taps(positions.clip(0, num_in - 1), weights)


class Gaps(NamedTuple):
    """Between which two inputs an output lies along one axis, and how far along.

    Attributes:
      lower: [O] int64, in the input.
      upper: [O] int64, in the input; the same as lower at the borders.
      part: [O] float32 in [0, 1), of the way from lower to upper.
    """

    lower: Int[np.ndarray, " O"]
    upper: Int[np.ndarray, " O"]
    part: Float32[np.ndarray, " O"]


@functools.lru_cache(maxsize=64)
def find_gaps(num_in: int, num_out: int) -> Gaps:
    """Returns where outputs lie along one axis, pixel centres at half integers; float32, as TensorFlow computes."""
    half = np.float32(0.5)
    centre = (np.arange(num_out, dtype=np.float32) + half) * (np.float32(num_in) / np.float32(num_out)) - half
    below = np.floor(centre)
    lower, upper = (edge.astype(np.int64).clip(0, num_in - 1) for edge in (below, np.ceil(centre)))
    return Gaps(lower, upper, centre - below)


def _cubic_kernel(distance: np.ndarray) -> np.ndarray:
    a, d = _SHARPNESS, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _mix(frame: np.ndarray, rows: Taps, columns: Taps) -> np.ndarray:
    tall = np.zeros((len(rows.weights), *frame.shape[1:]), np.float32)
    for positions, weights in zip(rows.positions.T, rows.weights.T):
        tall += weights[:, None, None] * frame[positions]  # [height, X, 3]
    out = np.zeros((len(tall), len(columns.weights), 3), np.float32)
    for positions, weights in zip(columns.positions.T, columns.weights.T):
        out += weights[:, None] * tall[:, positions]  # [height, width, 3]
    return out


def _interpolate(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Goes from one pixel towards the next, columns first: where both are alike, rounding can't change them."""
    rows, columns = find_gaps(frame.shape[0], height), find_gaps(frame.shape[1], width)
    left = frame[:, columns.lower].astype(np.float32)  # [Y, width, 3]
    wide = left + (frame[:, columns.upper] - left) * columns.part[:, None]
    top = wide[rows.lower]  # [height, width, 3]
    return top + (wide[rows.upper] - top) * rows.part[:, None, None]


def _resize_with_pillow(frame: np.ndarray, height: int, width: int, kernel: Kernel) -> np.ndarray:
    from PIL import Image

    resample = Image.Resampling.BICUBIC if kernel == "bicubic_antialias" else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(frame)).resize((width, height), resample))
