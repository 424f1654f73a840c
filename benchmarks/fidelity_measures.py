"""How near features stay to those of the plain model, and whether halves of clips still find each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Features = Float[np.ndarray, "C 2 W D"]


class Fidelity(NamedTuple):
    """How near some features are to the plain model's.

    Attributes:
      mean: cosine, mean over windows.
      percentile_5: what 5 % of the windows are below.
      lowest: of the windows.
    """

    mean: float
    percentile_5: float
    lowest: float


def normalize(features: Float[np.ndarray, "*N D"]) -> Float[np.ndarray, "*N D"]:
    """Divides by the length, float64; a zero vector stays zero."""
    wide = np.asarray(features, np.float64)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.divide(wide, length, out=np.zeros_like(wide), where=length > 0)


def compare_features(features: Features, plain: Features) -> Fidelity:
    """Compares window by window.

    Args:
      features: clip, half, window, channel.
      plain: the plain model's.

    Returns:
      A `Fidelity`.
    """
    cosines = (normalize(features) * normalize(plain)).sum(-1).ravel()
    return Fidelity(float(cosines.mean()), float(np.percentile(cosines, 5)), float(cosines.min()))


def find_halves(features: Features) -> np.ndarray:
    """Asks for each clip's second half which first half is nearest; a half is the mean of its windows.

    Args:
      features: clip, half, window, channel.

    Returns:
      `[C]` bool, whether it is the clip's own first half; a tie with another one counts as no.
    """
    halves = normalize(normalize(features).mean(2))  # [C, 2, D]
    similarity = halves[:, 1] @ halves[:, 0].T  # [second halves, first halves]
    own = np.diag(similarity).copy()
    np.fill_diagonal(similarity, -np.inf)
    return own > similarity.max(1)


def compare_clips(features: Features) -> float:
    """Returns the mean cosine between first halves of different clips: what a cosine is worth."""
    first = normalize(normalize(features).mean(2))[:, 0]
    similarity = first @ first.T
    return float(similarity[~np.eye(len(first), dtype=bool)].mean())
