"""From a frame as decoded to the squares that a model sees."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.resize import resize_frame


def transform_frame(
    frame: UInt8[np.ndarray, "Y X 3"], preprocessing: Preprocessing
) -> UInt8[np.ndarray, "P size size 3"]:
    """Resizes and crops a frame.

    Args:
      frame: as decoded.
      preprocessing: says how.

    Returns:
      The crops, one or three.
    """
    return crop_frame(fit_frame(frame, preprocessing), size=preprocessing.image_size, crop=preprocessing.crop)


def fit_frame(frame: UInt8[np.ndarray, "Y X 3"], preprocessing: Preprocessing) -> UInt8[np.ndarray, "y x 3"]:
    """Resizes a frame to what squares are cut from.

    Args:
      frame: as decoded.
      preprocessing: says how.

    Returns:
      The frame, no side of it shorter than a square's.
    """
    height = width = preprocessing.image_size
    if preprocessing.resize == "shortest_edge":
        edge = preprocessing.shortest_edge or height
        height, width = fit_shortest_edge(*frame.shape[:2], edge=edge, longest=preprocessing.longest_edge)
    fitted = resize_frame(frame, height=height, width=width, kernel=preprocessing.kernel)
    return fitted if preprocessing.longest_edge is None else _pad_to_square(fitted, preprocessing.image_size)


def _pad_to_square(frame: UInt8[np.ndarray, "Y X 3"], size: int) -> UInt8[np.ndarray, "y x 3"]:
    """Adds black on both sides where a frame is smaller than a square, more of it at the top and the left."""
    missing = [max(size - side, 0) for side in frame.shape[:2]]
    return np.pad(frame, [*((-(-spare // 2), spare // 2) for spare in missing), (0, 0)])


def fit_shortest_edge(height: int, width: int, *, edge: int, longest: int | None = None) -> tuple[int, int]:
    """Returns a frame's size in pixels with the same aspect ratio.

    Args:
      height: rows of the frame.
      width: columns of the frame.
      edge: what the shorter side becomes; the longer one is cut to whole pixels.
      longest: what the longer side may become at most; the shorter one is rounded then.

    Returns:
      Height and width.

    Reference:
      `longest`: transformers' `get_size_with_aspect_ratio`.
    """
    shorter, longer = sorted((height, width))
    if longest is not None and longer / shorter * edge > longest:
        raw = longest * float(shorter) / longer
        edge = max(round(raw), 1)
        other = longer if edge == shorter else int(raw * longer / shorter)
        return (edge, other) if height <= width else (other, edge)
    if height <= width:
        return edge, edge * width // height
    return edge * height // width, edge


def crop_frame(
    frame: UInt8[np.ndarray, "Y X 3"], *, size: int, crop: Literal["center", "three", "three_up"]
) -> UInt8[np.ndarray, "P size size 3"]:
    """Cuts squares out of a frame.

    Args:
      frame: at least `size` x `size`.
      size: rows and columns of a square.
      crop: "center", or "three": at the beginning, the middle and the end of the longer side, in the middle of the
        shorter one. "three_up" differs where a middle falls between pixels.

    Returns:
      The squares; where a middle falls between pixels it is nearer to the top left, with "three_up" to the bottom
      right.

    Raises:
      ValueError: the frame is smaller than a square.
    """
    spare_y, spare_x = frame.shape[0] - size, frame.shape[1] - size
    if min(spare_y, spare_x) < 0:
        raise ValueError(f"a frame is at least {size} x {size}; got {frame.shape[0]} x {frame.shape[1]}; resize first.")
    y, x = (-(-spare // 2) if crop == "three_up" else spare // 2 for spare in (spare_y, spare_x))
    if crop == "center":
        corners = [(y, x)]
    elif spare_x >= spare_y:
        corners = [(y, 0), (y, x), (y, spare_x)]
    else:
        corners = [(0, x), (y, x), (spare_y, x)]
    return np.stack([frame[top : top + size, left : left + size] for top, left in corners])


def normalize_frames(
    frames: UInt8[np.ndarray, "*axes 3"], *, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Float32[np.ndarray, "*axes 3"]:
    """Returns (frames / 255 - mean) / std, per colour, in float32."""
    scaled = frames.astype(np.float32) / np.float32(255)
    return (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
