"""What every operator asks of its arguments before it looks at their shapes: how many axes, and what is static."""

from __future__ import annotations

import operator
from typing import Any

import jax


def check_axes(name: str, array: Any, axes: str) -> None:
    """Refuses an array of another number of axes.

    Args:
      name: of the argument.
      array: what was given for it.
      axes: letters of the axes, such as "B N D".

    Raises:
      ValueError: it is no array, or has more or fewer axes.
    """
    letters = axes.split()
    shape = getattr(array, "shape", None)
    if shape is not None and len(shape) == len(letters):
        return
    rule = f"the axes of {name} are [{', '.join(letters)}]"
    if shape is None:
        raise ValueError(f"{rule}; got {_name_type(array)}; make an array of it: jnp.asarray({name}).")
    advice = "pass one array for the whole batch"
    if len(shape) == len(letters) - 1:
        advice = f"put a batch axis in front: {name}[None]"
    raise ValueError(f"{rule}; got shape {tuple(shape)}; {advice}.")


def check_alike(name: str, array: Any, shape: tuple[Any, ...], axes: str, other: str) -> None:
    """Refuses an array whose first axes are not as long as those of another one.

    Args:
      name: of the argument.
      array: what was given for it.
      shape: that its first axes, or all of them, must have.
      axes: letters of the axes, such as "B N".
      other: whose axes these are.

    Raises:
      ValueError: it is no array, has more or fewer axes, or these are of other lengths.
    """
    check_axes(name, array, axes)
    found = tuple(array.shape[: len(shape)])
    if found != tuple(shape):
        letters = ", ".join(axes.split()[: len(shape)])
        raise ValueError(
            f"[{letters}] of {name} is that of {other}, {tuple(shape)}; got {found}; pass both of one batch and one "
            "number of tokens."
        )


def check_static(name: str, value: Any) -> None:
    """Refuses a traced value for what decides shapes.

    Args:
      name: of the argument.
      value: what was given for it.

    Raises:
      ValueError: the value is traced.
    """
    if isinstance(value, jax.core.Tracer):
        raise ValueError(
            f"{name} is static: it decides shapes, so it is known when a function is traced; got a traced value; "
            f"trace it with static_argnames={name!r}, or fix it with functools.partial."
        )


def check_count(name: str, value: Any) -> None:
    """Refuses what is no whole number that is known when a function is traced.

    Args:
      name: of the argument.
      value: what was given for it.

    Raises:
      ValueError: the value is traced, or is no whole number.
    """
    check_static(name, value)
    try:
        operator.index(value)
    except TypeError:
        raise ValueError(
            f"{name} is a whole number; got {value!r}; resolve a schedule first where it is a ratio."
        ) from None


def _name_type(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
