"""Faults of a kind in one message: as many as a person reads, and the nearest names for a few."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from vidtldr_jax.trust.limits import get_limit

_LONGEST: Final = 300
_LONGEST_VALUE: Final = 60
# Comparing names costs time for every pair of them.
_MOST_NEAREST: Final = 5
_MOST_NAMES: Final = 2000
_LONGEST_NAME: Final = 100


class Faults:
    """Faults in the order in which they were found; the texts of those that are told are made, the others counted."""

    def __init__(self) -> None:
        """Starts with none."""
        self._texts: list[str] = []
        self._count = 0
        self._most = get_limit("faults")

    def add(self, fault: str | Callable[[], str]) -> None:
        """Add a fault.

        Args:
          fault: what is wrong, or what makes that text: looking for a nearest name takes time.
        """
        if self._count < self._most:
            self._texts.append(shorten(fault if isinstance(fault, str) else fault()))
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __str__(self) -> str:
        more = self._count - len(self._texts)
        return "; ".join(self._texts) + (f"; ... and {more:,} more" if more else "")


def join_faults(faults: Sequence[str]) -> str:
    """Return faults as one text, the first ones in words and the others as a number.

    Args:
      faults: what is wrong, one entry each.

    Returns:
      Up to as many as the limit "faults" allows, with semicolons between them, long ones without their middle.
    """
    most = get_limit("faults")
    shown = "; ".join(shorten(fault) for fault in faults[:most])
    return f"{shown}; ... and {len(faults) - most:,} more" if len(faults) > most else shown


def shorten(text: str, longest: int = _LONGEST) -> str:
    """Return a text without its middle where it is longer than `longest` characters."""
    half = (longest - 5) // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def show(value: object) -> str:
    """Return a value as a message quotes it: as Python writes it, shortened where it is long."""
    if isinstance(value, str | bytes):
        value = value[: 2 * _LONGEST_VALUE]  # not all of a long text is escaped first
    return shorten(repr(value), _LONGEST_VALUE)


def find_nearest(names: Iterable[str], candidates: Collection[str]) -> dict[str, str]:
    """Find the names that were probably meant, for the first few: the time does not grow with how many there are.

    Args:
      names: that are unknown.
      candidates: that are known.

    Returns:
      Name -> the nearest candidate, for those of the first five that have one.
    """
    if len(candidates) > _MOST_NAMES:
        return {}
    found = {}
    for _, name in zip(range(_MOST_NEAREST), names):
        if len(name) <= _LONGEST_NAME and (near := difflib.get_close_matches(name, candidates, n=1)):
            found[name] = near[0]
    return found
