"""Whether all numbers of a large array are finite, in pieces that fit a processor's cache."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Shaped

_PIECE = 2**18
# Numbers of 16 bits, for which NumPy has no fast test: an exponent of ones is infinity or no number.
_EXPONENTS = {"float16": 0x7C00, "bfloat16": 0x7F80}


def is_finite(array: Shaped[np.ndarray, ...]) -> bool:
    """Return whether no number is infinite or NaN.

    Args:
      array: of the host; of any dtype, whole numbers are always finite.
    """
    if array.dtype.kind in "biu":
        return True
    flat = np.ravel(array)
    exponent = _EXPONENTS.get(array.dtype.name)
    if exponent is None:
        return all(bool(np.isfinite(piece).all()) for piece in _cut(flat))
    return all(bool((piece & exponent).max() < exponent) for piece in _cut(flat.view(np.uint16)))


def fits_float32(array: Shaped[np.ndarray, ...]) -> bool:
    """Return whether no finite number becomes infinite in float32, in which models compute: a float64 may.

    Args:
      array: of the host; of any dtype.
    """
    if array.dtype != np.float64:
        return True
    largest = np.finfo(np.float32).max
    return all(bool((np.abs(piece) <= largest).all()) for piece in _cut(np.ravel(array)))


def _cut(flat: Any) -> Any:
    return (flat[start : start + _PIECE] for start in range(0, flat.size, _PIECE))
