"""A tensor that is described but not read yet, so that one at a time is in memory."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from checkpoints_convert.errors import ConversionError

MOST_AXES: Final = 16
MOST_NUMBERS: Final = 2**48
_LONGEST_PATH: Final = 1000
_DEEPEST: Final = 64


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
        if len(self.shape) > MOST_AXES or math.prod(n for n in self.shape if n) > MOST_NUMBERS:
            raise ConversionError(
                f"LazyTensor: tensors have up to {MOST_AXES} axes and {MOST_NUMBERS} numbers; one with "
                f"{len(self.shape)} axes came whose sizes multiply to more; get the file again."
            )


def flatten_tree(tree: Any, where: str) -> dict[str, LazyTensor]:
    """Turns nested arrays into paths.

    Args:
      tree: dicts of dicts of arrays.
      where: the file's name, for messages.

    Returns:
      Path with slashes -> tensor.

    Raises:
      ConversionError: there is something else than an array, or nothing at all.
    """
    tensors: dict[str, LazyTensor] = {}
    faults: list[str] = []
    empty: tuple[str, ...] = ()
    open_branches = [(empty, tree)] if isinstance(tree, Mapping) else []
    while open_branches:
        names, branch = open_branches.pop()
        for name, value in reversed(list(branch.items())):
            path = (*names, str(name))
            if isinstance(value, Mapping):
                open_branches.append((path, value))
            elif isinstance(value, np.ndarray):
                tensors["/".join(path)] = LazyTensor(
                    shape=value.shape, dtype=value.dtype, read=functools.partial(np.asarray, value)
                )
            else:
                faults.append(f"{'/'.join(path)} is {type(value).__name__}")
    if faults or not tensors:
        raise ConversionError.collect(
            f"flatten_tree: parameters are nested dicts of arrays; in {where}",
            faults or ["there is no array"],
            "save the parameters alone, or the train state as Flax writes it",
        )
    return dict(reversed(list(tensors.items())))
