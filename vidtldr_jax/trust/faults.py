"""Faults of a kind in one message: as many as a person reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from vidtldr_jax.trust.limits import get_limit

_LONGEST: Final = 300
_LONGEST_VALUE: Final = 60


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
