"""For which platform forms are chosen while a program is traced: JAX's default backend, or one that is named."""

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


def is_known(size: Any) -> bool:
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
