"""What every operator asks of its arguments before it looks at their shapes: how many axes, and what is static."""

from __future__ import annotations

import operator
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from vidtldr_jax.trust.faults import show

_PLAIN: Final = (bool, int, float, complex, str, bytes, type(None), np.generic)
_LONGEST_LIST: Final = 12


def check_array(name: str, array: Any) -> None:
    """Refuses what is no array of numbers.

    Args:
      name: of the argument.
      array: what was given for it.

    Raises:
      ValueError: it is no array, or one of texts, objects or complex numbers.
    """
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise ValueError(f"{name} is an array; got {describe(array)}; make an array of it: jnp.asarray({name}).")
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise ValueError(f"{name} holds real numbers; got dtype {array.dtype}; convert it first.")


def check_axes(name: str, array: Any, axes: str) -> None:
    """Refuses an array of another number of axes.

    Args:
      name: of the argument.
      array: what was given for it.
      axes: letters of the axes, such as "B N D".

    Raises:
      ValueError: it is no array of numbers, or has more or fewer axes.
    """
    check_array(name, array)
    letters, shape = axes.split(), array.shape
    if len(shape) == len(letters):
        return
    advice = "pass one array for the whole batch"
    if len(shape) == len(letters) - 1:
        advice = f"put a batch axis in front: {name}[None]"
    raise ValueError(f"the axes of {name} are [{', '.join(letters)}]; got shape {tuple(shape)}; {advice}.")


def check_alike(name: str, array: Any, shape: tuple[Any, ...], axes: str, other: str) -> None:
    """Refuses an array whose first axes are not as long as those of another one.

    Args:
      name: of the argument.
      array: what was given for it.
      shape: that its first axes, or all of them, must have.
      axes: letters of the axes, such as "B N".
      other: whose axes these are.

    Raises:
      ValueError: it is no array of numbers, has more or fewer axes, or these are of other lengths.
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


def check_count(name: str, value: Any, *, least: int | None = None) -> int:
    """Returns a whole number of any library as an int.

    Args:
      name: of the argument.
      value: what was given for it.
      least: the smallest that it may be; None is for a caller that has a rule of its own.

    Returns:
      The number.

    Raises:
      ValueError: the value is traced, is no whole number, or is too small.
    """
    check_static(name, value)
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        advice = "resolve a schedule first where it is a ratio" if name == "r" else "pass an int"
        raise ValueError(f"{name} is a whole number; got {describe(value)}; {advice}.") from None
    if least is not None and number < least:
        raise ValueError(f"{name} is at least {least}; got {number}; pass another number.")
    return number


def check_record(name: str, value: Any, kind: type, maker: str) -> None:
    """Refuses what is not the record that an operator works on.

    Args:
      name: of the argument.
      value: what was given for it.
      kind: the record's class.
      maker: the function that makes one.

    Raises:
      ValueError: the value is of another class.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name} is a {kind.__name__}; got {describe(value)}; {maker} makes one.")


def is_number(value: Any) -> bool:
    """Whether a value is one real number of any library; a boolean is none."""
    return hasattr(value, "__float__") and getattr(value, "ndim", 0) == 0 and not isinstance(value, bool | np.bool_)


def describe(value: Any) -> str:
    """Returns what was given in one short line: an array by its shape, else a plain value, or the name of a class."""
    if getattr(value, "shape", ()) != ():
        return f"an array of shape {tuple(value.shape)}"
    is_list = type(value) in (list, tuple) and len(value) <= _LONGEST_LIST
    is_plain = all(isinstance(item, _PLAIN) for item in (value if is_list else [value]))
    name = type(value).__name__
    return show(value) if is_plain else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
