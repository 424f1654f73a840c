"""Random numbers that are not random: one for each place, the same in every call, process and machine."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from jaxtyping import Float32

_SEED: Final = 2403_13347


@functools.lru_cache(maxsize=256)
def draw_scores(num_tokens: int) -> Float32[np.ndarray, " N"]:
    """Draws a score for each place of a sequence; places don't influence each other's order from one length to another.

    Args:
      num_tokens: N; another length, another draw.

    Returns:
      Read-only numbers in [0, 1), no two of them equal.
    """
    # The one generator whose numbers NumPy promises never to change.
    order = np.random.RandomState([_SEED, num_tokens]).permutation(num_tokens)
    scores = (order / num_tokens).astype(np.float32)
    scores.flags.writeable = False
    return scores
