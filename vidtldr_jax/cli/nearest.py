"""The nearest of the names that there are, for whoever mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: str, known: Iterable[str], *, otherwise: str, cutoff: float = 0.6) -> str:
    """Asks whether the nearest name was meant.

    Args:
      name: the unknown name.
      known: the names that there are.
      otherwise: what to say where none is near.
      cutoff: how alike two names must be, from 0 to 1.

    Returns:
      A question, or `otherwise`.
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else otherwise


def describe_unknown_field(name: str, known: Iterable[str]) -> str:
    """Says that a config has a field that there is not, with the nearest in brackets; one fault of perhaps several."""
    hint = suggest(name, known, otherwise="")
    return f"unknown field {name!r}" + (f" ({hint})" if hint else "")
