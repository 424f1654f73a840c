"""The one error that conversion raises for what a user can fix, and how foreign values are shown in it."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, Final, Self

from vidtldr_jax.trust.faults import join_faults, shorten
from vidtldr_jax.trust.limits import get_limit

_LONGEST_SHOWN: Final = 100
_MOST_ELEMENTS: Final = 8
_MOST_BITS: Final = 256
_LONGEST_REASON: Final = 300
_LONGEST_FAULT: Final = 320
_LONGEST_MESSAGE: Final = 8000


class ConversionError(ValueError):
    """A source can't be converted; the message is one line and says the rule, what it got and what to do.

    Attributes:
      faults: every fault, also those that the message only counts.
    """

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        """Takes the message and, where there are several faults, all of them; what is not printable is escaped."""
        # Texts of other kinds of errors lie in messages too; a terminal gets pages, not megabytes.
        message = _escape(shorten(message, max(_LONGEST_MESSAGE, _LONGEST_FAULT * get_limit("faults"))))
        super().__init__(message)
        self.faults = tuple(map(_escape, faults)) or (message,)

    @classmethod
    def collect(cls, opening: str, faults: Sequence[str], advice: str) -> Self:
        """Builds one error from several faults of a kind.

        Args:
          opening: the rule.
          faults: what is wrong, one entry each.
          advice: what to do.

        Returns:
          The error; raise it.
        """
        return cls(f"{opening}: {join_faults(faults)}; {advice}.", faults)


def show_value(value: Any) -> str:
    """Shows a foreign name, key or value in a message.

    Args:
      value: anything that a file may hold.

    Returns:
      One printable line of at most 100 characters, made in a time that does not depend on the value: text and bytes as
      `repr` writes them, without their middle where they are long; numbers; a short flat list or tuple; the type's name
      of anything else, since the `repr` of a value that shares its parts can take for ever.
    """
    if type(value) in (list, tuple):
        parts = [_show_scalar(part) for part in value[:_MOST_ELEMENTS]]
        parts += ["..."] if len(value) > _MOST_ELEMENTS else []
        text = ", ".join(parts)
        return _shorten(f"[{text}]" if isinstance(value, list) else f"({text}{',' if len(value) == 1 else ''})")
    return _show_scalar(value)


def show_error(error: BaseException) -> str:
    """Shows what another library said.

    Args:
      error: its exception.

    Returns:
      Its words on one printable line of at most 300 characters; the type's name where it says nothing.
    """
    words = " ".join(str(error)[: 4 * _LONGEST_REASON].split()) or type(error).__name__
    return _escape(words)[:_LONGEST_REASON]


def _show_scalar(value: Any) -> str:
    if isinstance(value, str | bytes | bytearray):
        is_long = len(value) > _LONGEST_SHOWN
        return _shorten(f"{value[:_LONGEST_SHOWN]!r}{value[-_LONGEST_SHOWN:]!r}" if is_long else repr(value))
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a whole number of {value.bit_length()} bits"  # one of thousands of digits can't be written
    if value is None or isinstance(value, numbers.Number):
        return _shorten(repr(value))
    return _shorten(_escape(type(value).__name__))


def _shorten(text: str) -> str:
    if len(text) <= _LONGEST_SHOWN:
        return text
    half = _LONGEST_SHOWN // 2 - 2
    return f"{text[:half]}...{text[-half:]}"


def _escape(text: str) -> str:
    """Writes what is not printable as `repr` does: a line's end, ESC, half of a surrogate pair."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
