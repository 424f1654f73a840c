"""A tensor that is described but not read yet, so that one at a time is in memory."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from checkpoints_convert.errors import ConversionError, show_value

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
                f"tensors have up to {MOST_AXES} axes and {MOST_NUMBERS} numbers; got one "
                f"with {len(self.shape)} axes whose sizes multiply to more; get the file again."
            )


def is_params_name(name: str) -> bool:
    """Tells whether a branch of a train state is named as parameters, or an average of them, are."""
    return name == "params" or "ema" in name.split("_") or name.endswith("_params")


def flatten_tree(tree: Any, where: str) -> dict[str, LazyTensor]:
    """Turns nested arrays into paths.

    Args:
      tree: dicts of dicts of arrays.
      where: the file's name, for messages.

    Returns:
      Path with slashes -> tensor.

    Raises:
      ConversionError: there is something else than an array, nothing at all, or two arrays at one path.
    """
    tensors: dict[str, LazyTensor] = {}
    faults: list[str] = []
    open_branches = [(0, "", tree)] if isinstance(tree, Mapping) else []
    while open_branches:
        depth, above, branch = open_branches.pop()
        for name, value in reversed(list(branch.items())):
            path = f"{above}/{name}" if depth else str(name)
            if depth >= _DEEPEST or len(path) > _LONGEST_PATH:  # else the paths take far more than the file
                faults.append(f"{show_value(path)} has more than {_DEEPEST} parts or {_LONGEST_PATH} characters")
            elif isinstance(value, Mapping):
                open_branches.append((depth + 1, path, value))
            elif not isinstance(value, np.ndarray):
                faults.append(f"{show_value(path)[1:-1]} is {type(value).__name__}")
            elif path in tensors:
                faults.append(f"{show_value(path)[1:-1]} comes twice, with the slash in a name and as a branch")
            else:
                read = functools.partial(np.asarray, value)
                tensors[path] = LazyTensor(shape=value.shape, dtype=value.dtype, read=read)
    if faults or not tensors:
        raise ConversionError.collect(
            f"parameters are nested dicts of arrays; in {where}",
            faults or ["there is no array"],
            "save the parameters alone, or the train state as Flax writes it",
        )
    return dict(reversed(list(tensors.items())))
