"""Means over seeds, and intervals of paired differences over clips and seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_DRAWS = 4000


class Difference(NamedTuple):
    """A mean difference with its 95 % interval.

    Attributes:
      mean: over clips and seeds.
      low: of the interval.
      high: of the interval.
    """

    mean: float
    low: float
    high: float


def find_spread(scores: Float[np.ndarray, " S"]) -> float:
    """Returns the sample standard deviation over seeds; 0 for one seed."""
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0


def find_difference(
    ours: Float[np.ndarray, "S N"], theirs: Float[np.ndarray, "S N"], *, draws: int = _DRAWS
) -> Difference:
    """Compares two methods clip by clip, by a bootstrap over both axes.

    Each draw takes seeds with replacement, and clips with replacement, the same clips for all seeds, since all seeds
    are measured on the same ones. With three seeds the interval is a rough one.

    Args:
      ours: what each clip brings under each seed.
      theirs: the same of the other method.
      draws: of the bootstrap.

    Returns:
      Mean of ours minus theirs.

    Raises:
      ValueError: the two are of different shapes.
    """
    if ours.shape != theirs.shape:
        raise ValueError(
            f"both have the same seeds and clips, [S, N]; got {ours.shape} and {theirs.shape}; "
            "evaluate both on the same clips."
        )
    difference = ours - theirs
    num_seeds, num_clips = difference.shape
    rng = np.random.default_rng(0)
    clips = rng.multinomial(num_clips, np.full(num_clips, 1 / num_clips), draws) / num_clips  # [draws, N]
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), draws) / num_seeds  # [draws, S]
    means = ((clips @ difference.T) * seeds).sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Difference(float(difference.mean()), float(low), float(high))
