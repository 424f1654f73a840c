"""What decides forms while a program is traced: the platform, which sizes are known, and axes of a mesh."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, Final, Literal

import jax

Platform = Literal["cpu", "gpu", "tpu"]
_LOWERED_FOR: Final[contextvars.ContextVar[Platform | None]] = contextvars.ContextVar("lowered_for", default=None)


def find_platform() -> str:
    """Returns the platform that is named, or JAX's default backend."""
    return _LOWERED_FOR.get() or jax.default_backend()


def is_lowering() -> bool:
    """Whether a platform is named: the program is for other machines, on which nothing can be tried."""
    return _LOWERED_FOR.get() is not None


def is_known(size: int) -> bool:
    """Whether a dimension is a number; what is lowered for any batch size has symbols in its shapes."""
    return isinstance(size, int)


@contextlib.contextmanager
def lower_for(platform: Platform) -> Iterator[None]:
    """Names a platform while it is open; what is traced then takes forms in plain XLA that suit it.

    Whoever opens it must trace anew, since a compiled function is handed out as it was traced before.

    Args:
      platform: which.

    Returns:
      A context manager that gives nothing.
    """
    before = _LOWERED_FOR.set(platform)
    try:
        yield
    finally:
        _LOWERED_FOR.reset(before)


def shape_like(operand: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """Return the shape of a kernel's output that varies over a mesh's axes as an operand does, for `jax.shard_map`."""
    return jax.eval_shape(lambda like: jax.lax.full_like(like, 0, dtype, shape), operand)
