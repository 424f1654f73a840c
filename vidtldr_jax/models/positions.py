"""Position tables over the (t, y, x) grid of tokens: fixed sin-cos, and interpolation of any table to another grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Array, Float

Grid = tuple[int, int, int]

# Keys' cubic kernel as PyTorch's bicubic interpolation has it; JAX's own resize uses -0.5.
_CUBIC_A = -0.75


def sincos_positions(grid: Grid, dim: int) -> Float[np.ndarray, "N D"]:
    """Makes the 1-D sin-cos table over the flattened (t, y, x) tokens.

    Args:
      grid: patches over time, rows and columns.
      dim: channels; even ones hold sines, odd ones cosines.

    Returns:
      Float32 `[t * y * x, dim]`; entry (n, c) is sin or cos of n / 10000^(2 (c // 2) / dim).

    Reference:
      Attention Is All You Need, arXiv 1706.03762, section 3.5, over a flattened grid as VideoMAE has it.
    """
    position = np.arange(int(np.prod(grid)), dtype=np.float64)[:, None]
    channel = np.arange(dim)
    angle = position / np.power(10000.0, 2 * (channel // 2) / dim)  # [N, D]
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


def time_weights(size_in: int, size_out: int) -> Float[np.ndarray, "size_out size_in"]:
    """Returns the matrix of linear interpolation between samples at half-integer places, edges repeated."""
    place = np.maximum((np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5, 0.0)
    low = np.minimum(np.floor(place).astype(int), size_in - 1)
    fraction = place - low
    weights = np.zeros((size_out, size_in))
    rows = np.arange(size_out)
    np.add.at(weights, (rows, low), 1 - fraction)
    np.add.at(weights, (rows, np.minimum(low + 1, size_in - 1)), fraction)
    return weights


def space_weights(size_in: int, size_out: int) -> Float[np.ndarray, "size_out size_in"]:
    """Returns the matrix of cubic interpolation (a = -0.75, no antialiasing) at half-integer places, edges repeated."""
    place = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    low = np.floor(place).astype(int)
    weights = np.zeros((size_out, size_in))
    rows = np.arange(size_out)
    for offset in range(-1, 3):
        distance = np.abs(place - (low + offset))
        np.add.at(weights, (rows, np.clip(low + offset, 0, size_in - 1)), _cubic(distance))
    return weights


def interpolate_positions(
    table: Float[Array | np.ndarray, "N D"], grid_from: Grid, grid_to: Grid
) -> Float[Array | np.ndarray, "M D"]:
    """Resamples a position table to another grid: linear over time, cubic over rows and columns.

    Args:
      table: one row per token of grid_from, NumPy or JAX.
      grid_from: (t, y, x) that the table was made for.
      grid_to: (t, y, x) wanted; equal to grid_from returns the table as it is.

    Returns:
      Float32, one row per token of grid_to, NumPy or JAX as the table is.

    Raises:
      ValueError: the table has another number of rows than grid_from has tokens.
    """
    if table.shape[0] != int(np.prod(grid_from)):
        raise ValueError(
            f"a grid {grid_from} has {int(np.prod(grid_from))} positions; got a table of "
            f"{table.shape[0]}; set position_grid to the grid that the table was made for."
        )
    if tuple(grid_from) == tuple(grid_to):
        return table
    volume: Any = table.reshape(*grid_from, table.shape[-1])
    matrices = (
        time_weights(grid_from[0], grid_to[0]),
        space_weights(grid_from[1], grid_to[1]),
        space_weights(grid_from[2], grid_to[2]),
    )
    for axis, matrix in enumerate(matrices):
        if matrix.shape[0] != matrix.shape[1]:
            volume = _apply_along(volume, matrix.astype(np.float32), axis)
    return volume.reshape(-1, table.shape[-1])


def _apply_along(volume: Any, matrix: np.ndarray, axis: int) -> Any:
    moved = volume.swapaxes(0, axis)
    shape = moved.shape
    mixed = (matrix @ moved.reshape(shape[0], -1)).reshape(matrix.shape[0], *shape[1:])
    return mixed.swapaxes(0, axis)


def _cubic(distance: np.ndarray) -> np.ndarray:
    a, d = _CUBIC_A, distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
