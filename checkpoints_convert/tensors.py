"""A tensor that is described but not read yet, so that one at a time is in memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Final

import numpy as np

from checkpoints_convert.errors import ConversionError

_MOST_AXES: Final = 16
_MOST_NUMBERS: Final = 2**48


@dataclasses.dataclass(frozen=True, kw_only=True)
class LazyTensor:
    """A named array in a file.

    Attributes:
      shape: as stored.
      dtype: as stored.
      read: returns the values; a view of the mapped file where that is possible.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    def __post_init__(self) -> None:
        # An empty tensor may declare any other axis without a byte behind it.
        if len(self.shape) > _MOST_AXES or math.prod(n for n in self.shape if n) > _MOST_NUMBERS:
            raise ConversionError(
                f"LazyTensor: tensors have up to {_MOST_AXES} axes and {_MOST_NUMBERS} numbers; one with "
                f"{len(self.shape)} axes came whose sizes multiply to more; get the file again."
            )
