"""Colours that people tell apart, colour-blind ones too: a heat map, and one colour per group of merged patches."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np
from jaxtyping import Float, Int, UInt8

from vidtldr_jax.visualize.maps import DROPPED, count_members

# Viridis at equal steps (CC0): its lightness alone tells the value.
_HEAT: Final = np.array(
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
    np.float32,
)
# Okabe and Ito's colours without black; each also lighter and darker.
_BASE: Final = np.array(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)],
    np.float32,
)
GROUP_COLOURS: Final = np.concatenate([_BASE, _BASE * 0.5 + 127.5, _BASE * 0.65]).astype(np.uint8)


def map_heat(values: Float[np.ndarray, "*axes"]) -> UInt8[np.ndarray, "*axes 3"]:
    """Colours values from 0 (dark violet) to 1 (yellow); values outside are clipped, NaN counts as 0."""
    position = np.clip(np.nan_to_num(values), 0, 1) * (len(_HEAT) - 1)
    low = np.minimum(position.astype(np.int32), len(_HEAT) - 2)
    share = (position - low)[..., None]
    return np.rint(_HEAT[low] * (1 - share) + _HEAT[low + 1] * share).astype(np.uint8)


def colour_groups(group: Int[np.ndarray, "t y x"]) -> Int[np.ndarray, "t y x"]:
    """Picks a colour for every group of at least two patches, the same one in all frames.

    Groups that touch, in a frame or from one to the next, get different colours as long as there are any left; among
    those the least used is taken, so that few groups share one.

    Args:
      group: index of the token that holds each patch; -1 where it is dropped.

    Returns:
      Rows of `GROUP_COLOURS`; -1 for patches that are alone or dropped.
    """
    is_merged = count_members(group) > 1
    touching: dict[int, set[int]] = defaultdict(set)
    for axis in range(3):
        length = group.shape[axis]
        left, right = (group.take(range(start, length - 1 + start), axis) for start in (0, 1))
        for one, other in np.unique(np.stack([left.ravel(), right.ravel()], 1), axis=0).tolist():
            if one != other:
                touching[one].add(other)
                touching[other].add(one)
    colours = np.full(max(int(group.max()), 0) + 1, DROPPED)
    used = np.zeros(len(GROUP_COLOURS), int)
    for index in np.unique(group[is_merged]).tolist():
        taken = {int(colours[other]) for other in touching[index] if other != DROPPED} - {DROPPED}
        free = [colour for colour in range(len(used)) if colour not in taken] or list(range(len(used)))
        colours[index] = min(free, key=lambda colour: (used[colour], colour))
        used[colours[index]] += 1
    return np.where(is_merged, colours[np.maximum(group, 0)], DROPPED)
