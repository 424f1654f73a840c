"""Resizing a frame with the kernels that the originals used.

Frames are uint8 `[Y, X, 3]`, values 0 to 255, and stay so: results are rounded and clamped; only "bilinear" cuts
fractions off.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, UInt8

Kernel = Literal["bicubic", "bicubic_antialias", "bilinear", "bilinear_antialias"]
KERNELS: Final = ("bicubic", "bicubic_antialias", "bilinear", "bilinear_antialias")

_SHARPNESS: Final = -0.75  # the cubic kernel's free parameter; Pillow and JAX have -0.5


class Taps(NamedTuple):
    """Which inputs make an output along one axis, and how much of each: four of them for cubic, two for linear.

    Attributes:
      positions: [O, W] int64, clamped to the input.
      weights: [O, W] float32, each row sums to 1.
    """

    positions: Int[np.ndarray, "O W"]
    weights: Float32[np.ndarray, "O W"]


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
    """
    if height < 1 or width < 1 or kernel not in KERNELS:
        raise ValueError(
            f"resize_frame: sizes are at least 1 and the kernel is one of {', '.join(KERNELS)}; got {height} x {width} "
            f"and {kernel!r}; give others."
        )
    if frame.shape[:2] == (height, width):
        return frame
    if kernel == "bicubic":
        mixed = _mix(frame, cubic_taps(frame.shape[0], height), cubic_taps(frame.shape[1], width))
        return np.rint(mixed).clip(0, 255).astype(np.uint8)
    if kernel == "bilinear":
        return _mix(frame, linear_taps(frame.shape[0], height), linear_taps(frame.shape[1], width)).astype(np.uint8)
    return _resize_with_pillow(frame, height, width, kernel)


@functools.lru_cache(maxsize=64)
def cubic_taps(num_in: int, num_out: int) -> Taps:
    """Returns the taps of cubic interpolation (a = -0.75) along one axis, pixel centres at half integers."""
    return _make_taps(num_in, num_out, first=-1, count=4, kernel=_cubic_kernel)


@functools.lru_cache(maxsize=64)
def linear_taps(num_in: int, num_out: int) -> Taps:
    """Returns the taps of linear interpolation along one axis, pixel centres at half integers."""
    return _make_taps(num_in, num_out, first=0, count=2, kernel=lambda distance: 1 - distance)


def _make_taps(
    num_in: int, num_out: int, *, first: int, count: int, kernel: Callable[[np.ndarray], np.ndarray]
) -> Taps:
    centre = (np.arange(num_out) + 0.5) * (num_in / num_out) - 0.5  # [O]
    positions = np.floor(centre).astype(np.int64)[:, None] + first + np.arange(count)  # [O, count]
    weights = kernel(np.abs(centre[:, None] - positions)).astype(np.float32)
    return Taps(positions.clip(0, num_in - 1), weights)


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


def _resize_with_pillow(frame: np.ndarray, height: int, width: int, kernel: Kernel) -> np.ndarray:
    from PIL import Image

    resample = Image.Resampling.BICUBIC if kernel == "bicubic_antialias" else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(frame)).resize((width, height), resample))
