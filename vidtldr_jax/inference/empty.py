"""What a compiled function returns for a batch of nothing: arrays of the right shapes without an entry.

Nothing is compiled for it. Which axes of a result belong to the batch is found by tracing the function for a batch of
one and a batch of two: these axes differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def is_empty(*arguments: Any) -> bool:
    """Tells whether any of some arrays, nested or not, is a batch of nothing."""
    return any(leaf.shape[:1] == (0,) for leaf in jax.tree.leaves(arguments) if hasattr(leaf, "shape"))


def make_empty(function: Callable[..., Any], *arguments: Any) -> Any:
    """Returns what a function would return for a batch of nothing.

    Args:
      function: of arrays, nested or not, whose first axis is that of a batch.
      *arguments: for it; some without an entry.

    Returns:
      The function's result with 0 entries for the batch.
    """

    def trace(size: int) -> Any:
        def resize(leaf: Any) -> Any:
            shape = (size, *leaf.shape[1:]) if leaf.shape[:1] == (0,) else leaf.shape
            return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(leaf.dtype))

        return jax.eval_shape(function, *jax.tree.map(resize, arguments))

    def empty(one: Any, two: Any) -> Any:
        shape = [0 if first != second else first for first, second in zip(one.shape, two.shape, strict=True)]
        return jnp.zeros(shape, one.dtype)

    return jax.tree.map(empty, trace(1), trace(2))
