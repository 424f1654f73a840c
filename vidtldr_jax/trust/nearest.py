"""The nearest of the names that there are, for whoever mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Final

# Comparing names costs time for every pair of them.
_MOST_NEAREST: Final = 5
_MOST_NAMES: Final = 2000
_LONGEST_NAME: Final = 200


def find_nearest_name(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Find the name that was probably meant.

    Args:
      name: the unknown name; what is no text is taken as it is written.
      known: the names that there are.
      cutoff: how alike two names must be, from 0 to 1.

    Returns:
      The nearest known name, or None where none is near or the unknown one is very long.
    """
    text = str(name)
    near = difflib.get_close_matches(text, list(known), n=1, cutoff=cutoff) if len(text) <= _LONGEST_NAME else []
    return near[0] if near else None


def find_nearest(names: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Find the names that were probably meant, for the first few: the time does not grow with how many there are.

    Args:
      names: that are unknown.
      known: the names that there are.

    Returns:
      Name -> the nearest known one, for those of the first five that have one.
    """
    if len(known) > _MOST_NAMES:
        return {}
    nearest = {name: find_nearest_name(name, known) for _, name in zip(range(_MOST_NEAREST), names)}
    return {name: near for name, near in nearest.items() if near is not None}


def suggest(name: object, known: Iterable[str], *, otherwise: str, cutoff: float = 0.6) -> str:
    """Ask whether the nearest name was meant.

    Args:
      name: the unknown name.
      known: the names that there are.
      otherwise: what to say where none is near.
      cutoff: how alike two names must be, from 0 to 1.

    Returns:
      A question, or `otherwise`.
    """
    near = find_nearest_name(name, known, cutoff=cutoff)
    return otherwise if near is None else f"did you mean {near!r}?"


def add_suggestion(fault: str, name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return what is wrong with a name, followed by the nearest known one in brackets where one is near."""
    hint = suggest(name, known, otherwise="", cutoff=cutoff)
    return f"{fault} ({hint})" if hint else fault


def describe_unknown_fields(fields: Iterable[str], known: Collection[str]) -> list[str]:
    """Return a fault for each field that is not known, with the nearest in brackets where `find_nearest` has it."""
    unknown = [name for name in fields if name not in known]
    nearest = find_nearest(unknown, known)
    hints = {name: f" (did you mean {near!r}?)" for name, near in nearest.items()}
    return [f"unknown field {name!r}{hints.get(name, '')}" for name in unknown]
