"""One frame and what is known of its patches -> one panel: heat of saliency, and who was merged or dropped."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float, Int, UInt8

from vidtldr_jax.visualize.colours import GROUP_COLOURS, map_heat
from vidtldr_jax.visualize.maps import DROPPED

HEAT_SHARE: Final = 0.6  # the rest is the frame, in grey
TINT_SHARE: Final = 0.5  # the rest is the frame, in grey
DROPPED_LIGHT: Final = 0.12
CROSS_LIGHT: Final = 72


def draw_saliency(frame: UInt8[np.ndarray, "Y X 3"], saliency: Float[np.ndarray, "y x"]) -> UInt8[np.ndarray, "Y X 3"]:
    """Lays the heat of every patch over a grey frame; patches dropped before (NaN) are nearly black.

    Args:
      frame: the pixels; rows and columns are multiples of the map's.
      saliency: of every patch, in [0, 1].

    Returns:
      The panel.
    """
    grey = frame.mean(-1, keepdims=True)
    values = _enlarge(saliency, frame.shape)
    blend = grey * (1 - HEAT_SHARE) + map_heat(values) * np.float32(HEAT_SHARE)
    panel = np.where(np.isnan(values)[..., None], grey * DROPPED_LIGHT, blend)
    return np.rint(panel).astype(np.uint8)


def draw_merge_map(
    frame: UInt8[np.ndarray, "Y X 3"], group: Int[np.ndarray, "y x"], colour: Int[np.ndarray, "y x"]
) -> UInt8[np.ndarray, "Y X 3"]:
    """Shows what became of every patch: tinted and bordered if merged, dark and crossed out if dropped, else untouched.

    Args:
      frame: the pixels; rows and columns are multiples of the map's.
      group: index of the token that holds each patch; -1 where it is dropped.
      colour: of every patch, as `colour_groups` returns it.

    Returns:
      The panel. Patches of one group that touch have no border between them.
    """
    large_group, large_colour = _enlarge(group, frame.shape), _enlarge(colour, frame.shape)
    is_merged = (large_colour != DROPPED)[..., None]
    inks = GROUP_COLOURS[np.maximum(large_colour, 0)].astype(np.float32)
    grey = frame.mean(-1, keepdims=True)
    panel = np.where(is_merged, grey * (1 - TINT_SHARE) + inks * np.float32(TINT_SHARE), frame)
    panel = np.where((large_group == DROPPED)[..., None], _cross_out(grey, group.shape), panel)
    width = max(min(2, frame.shape[0] // group.shape[0] // 4), frame.shape[0] // group.shape[0] // 14, 1)
    border = _find_borders(large_group, width)[..., None] & is_merged
    return np.rint(np.where(border, inks, panel)).astype(np.uint8)


def draw_reconstruction(
    frame: UInt8[np.ndarray, "Y X 3"], means: UInt8[np.ndarray, "Y X 3"], group: Int[np.ndarray, "y x"]
) -> UInt8[np.ndarray, "Y X 3"]:
    """Shows the groups' means, and crosses out what was dropped.

    Args:
      frame: the pixels; rows and columns are multiples of the map's.
      means: the same frame of `reconstruct_frames`.
      group: index of the token that holds each patch; -1 where it is dropped.

    Returns:
      The panel.
    """
    is_dropped = (_enlarge(group, frame.shape) == DROPPED)[..., None]
    dropped = _cross_out(frame.mean(-1, keepdims=True), group.shape)
    return np.where(is_dropped, np.rint(dropped).astype(np.uint8), means)


def _enlarge(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return values.repeat(shape[0] // values.shape[0], axis=0).repeat(shape[1] // values.shape[1], axis=1)


def _cross_out(grey: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Darkens a frame, with a line across every patch, from lower left to upper right, so that dark frames show it."""
    height, width = grey.shape[0] // grid[0], grey.shape[1] // grid[1]
    rows, columns = np.arange(grey.shape[0])[:, None] % height, np.arange(grey.shape[1]) % width
    is_line = np.abs(rows * width + (columns + 1) * height - height * width) < max(height, width)
    return np.where(is_line[..., None], CROSS_LIGHT, grey * DROPPED_LIGHT)


def _find_borders(group: np.ndarray, width: int) -> np.ndarray:
    """Marks pixels that lie within a width of another group or of the frame's edge."""
    padded = np.pad(group, width, constant_values=DROPPED - 1)
    rows, columns = group.shape
    border = np.zeros(group.shape, bool)
    for shift in range(1, width + 1):
        for down, right in ((shift, 0), (-shift, 0), (0, shift), (0, -shift)):
            moved = padded[width + down : width + down + rows, width + right : width + right + columns]
            border |= moved != group
    return border
