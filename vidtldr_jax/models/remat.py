"""Rematerialisation: blocks keep what enters them and compute the rest again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import flax.linen as nn
import jax

# Keep everything; keep what enters a block; or keep that and what a policy of `jax.checkpoint_policies` says.
Remat = bool | Callable[..., Any]
Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])


def remat_module(module_class: Any, remat: Remat) -> Any:
    """Return a class of modules whose calls are computed again in the backward pass; the same class where it is off."""
    return nn.remat(module_class, policy=_find_policy(remat)) if remat else module_class


def remat_function(function: Wrapped, remat: Remat, *, is_in_loop: bool = False) -> Wrapped:
    """Return a function whose calls are computed again in the backward pass; the same one where it is off.

    Args:
      function: of arrays.
      remat: whether, or by which policy.
      is_in_loop: it is the body of a scan, where the compiler can not undo this. Static.

    Returns:
      The function.
    """
    if not remat:
        return function
    wrapped: Any = jax.checkpoint(function, policy=_find_policy(remat), prevent_cse=not is_in_loop)
    return wrapped


def _find_policy(remat: Remat) -> Callable[..., Any] | None:
    if isinstance(remat, bool):
        return None
    if not callable(remat):
        raise ValueError(
            f"remat is True, False or a policy of jax.checkpoint_policies; got {remat!r}; pass one of these."
        )
    return remat
