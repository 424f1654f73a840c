"""Pictures in which every patch shows the mean of its group: what pixels are left if they are merged as tokens are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8

from vidtldr_jax.visualize.maps import DROPPED


def reconstruct_frames(
    frames: UInt8[np.ndarray, "T Y X 3"], group: Int[np.ndarray, "t y x"], weight: Float[np.ndarray, "t y x"]
) -> UInt8[np.ndarray, "T Y X 3"]:
    """Gives every patch the mean of all patches in its group, pixel by pixel, weighted as their tokens were.

    A patch is a block of T / t frames, Y / y rows and X / x columns. A group's mean weighs each of its patches by the
    product of the weights on its way, as merging does.

    Args:
      frames: the pixels; T, Y and X are multiples of t, y and x.
      group: index of the token that holds each patch; -1 where it is dropped.
      weight: each patch's say in that token, at least 0; not 0 for all patches of a group.

    Returns:
      The frames; dropped patches are black, patches alone are as they were.

    Raises:
      ValueError: the grid does not divide the frames.
    """
    grid = group.shape
    if any(length % count for length, count in zip(frames.shape, grid)):
        raise ValueError(
            f"the grid divides frames, rows and columns; got {frames.shape[:3]} and a grid of "
            f"{grid}; resize the frames to whole pixels per patch."
        )
    held = group.ravel()
    is_held = held != DROPPED
    patches = _cut(frames, grid)[is_held]  # [held, block]
    order = np.argsort(held[is_held], kind="stable")
    _, starts, counts = np.unique(held[is_held][order], return_index=True, return_counts=True)
    means = np.zeros((held.size, patches.shape[1]), np.uint8)
    if starts.size:
        say = weight.ravel()[is_held][order].astype(np.float32)
        sums = np.add.reduceat(patches[order] * say[:, None], starts, axis=0)
        mean = np.rint(sums / np.add.reduceat(say, starts)[:, None]).astype(np.uint8)
        means[np.flatnonzero(is_held)[order]] = mean.repeat(counts, axis=0)
    return _join(means, grid, frames.shape)


def _cut(frames: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Cuts frames into patches: [T, Y, X, 3] -> [t y x, block]."""
    (t, y, x), (frame_count, rows, columns, colours) = grid, frames.shape
    blocks = frames.reshape(t, frame_count // t, y, rows // y, x, columns // x, colours)
    return blocks.transpose(0, 2, 4, 1, 3, 5, 6).reshape(t * y * x, -1)


def _join(patches: np.ndarray, grid: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Puts patches back: the opposite of `_cut`."""
    (t, y, x), (frame_count, rows, columns, colours) = grid, shape
    blocks = patches.reshape(t, y, x, frame_count // t, rows // y, columns // x, colours)
    return blocks.transpose(0, 3, 1, 4, 2, 5, 6).reshape(shape)
