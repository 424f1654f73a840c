"""Colours that people tell apart, colour-blind ones too: a heat map, and one colour per group of merged patches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float, Int, UInt8

from vidtldr_jax.visualize.maps import DROPPED, count_members

# Viridis at equal steps (CC0): its lightness alone tells the value.
HEAT: Final = np.array(
    [
        (68, 1, 84),
        (72, 40, 120),
        (62, 73, 137),
        (49, 104, 142),
        (38, 130, 142),
        (31, 158, 137),
        (53, 183, 121),
        (110, 206, 88),
        (181, 222, 43),
        (253, 231, 37),
    ],
    np.uint8,
)
# Okabe and Ito's colours without black; each also lighter and darker.
_BASE: Final = np.array(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)],
    np.float32,
)
GROUP_COLOURS: Final = np.concatenate([_BASE, _BASE * 0.5 + 127.5, _BASE * 0.65]).astype(np.uint8)


def map_heat(values: Float[np.ndarray, "*axes"]) -> UInt8[np.ndarray, "*axes 3"]:
    """Colours values from 0 (dark violet) to 1 (yellow); values outside are clipped, NaN counts as 0."""
    position = np.clip(np.nan_to_num(values), 0, 1) * (len(HEAT) - 1)
    low = np.minimum(position.astype(np.int32), len(HEAT) - 2)
    share = (position - low)[..., None]
    heat = HEAT.astype(np.float32)
    return np.rint(heat[low] * (1 - share) + heat[low + 1] * share).astype(np.uint8)


def colour_groups(group: Int[np.ndarray, "t y x"]) -> Int[np.ndarray, "t y x"]:
    """Picks a colour for every group of at least two patches, the same one in all frames; see `colour_layers`."""
    return colour_layers([group])[0]


def colour_layers(groups: Sequence[Int[np.ndarray, "t y x"]]) -> list[Int[np.ndarray, "t y x"]]:
    """Picks colours for the groups of every layer, such that no patch changes its colour from frame to frame or layer.

    Patches that end in one group have one colour from the layer on in which each first shares a token; so do patches
    that are dropped together. Those that touch patches of another end, in a frame or from one to the next, differ from
    them in colour as long as there are any left; among those the least used is taken, so that few ends share one.

    Args:
      groups: of every layer, in order: index of the token that holds each patch; -1 where it is dropped.

    Returns:
      Of every layer, rows of `GROUP_COLOURS`; -1 for patches that are alone or dropped.
    """
    is_merged = [count_members(group) > 1 for group in groups]
    end = _find_ends(groups)
    colours = _colour_ends(end, np.logical_or.reduce(is_merged))
    return [np.where(merged, colours[end], DROPPED) for merged in is_merged]


def _find_ends(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Numbers where patches end: in a group of the last layer, or dropped together with others in an earlier one."""
    lasting = np.zeros(groups[0].shape, int)  # 1 + the last layer in which a patch is held, 0 for none
    held_by = np.full(groups[0].shape, DROPPED)
    for layer, group in enumerate(groups, start=1):
        is_held = group != DROPPED
        lasting[is_held], held_by[is_held] = layer, group[is_held]
    _, end = np.unique(np.stack([lasting.ravel(), held_by.ravel()], 1), axis=0, return_inverse=True)
    return end.reshape(groups[0].shape)


def _colour_ends(end: np.ndarray, is_merged: np.ndarray) -> np.ndarray:
    """Returns a colour for every end that has merged patches, -1 for others."""
    touching: dict[int, set[int]] = defaultdict(set)
    for axis in range(3):
        length = end.shape[axis]
        left, right = (end.take(range(start, length - 1 + start), axis) for start in (0, 1))
        for one, other in np.unique(np.stack([left.ravel(), right.ravel()], 1), axis=0).tolist():
            if one != other:
                touching[one].add(other)
                touching[other].add(one)
    colours = np.full(int(end.max()) + 1, DROPPED)
    used = np.zeros(len(GROUP_COLOURS), int)
    for index in np.unique(end[is_merged]).tolist():
        taken = {int(colours[other]) for other in touching[index]} - {DROPPED}
        free = [colour for colour in range(len(used)) if colour not in taken] or list(range(len(used)))
        colours[index] = min(free, key=lambda colour: (used[colour], colour))
        used[colours[index]] += 1
    return colours
