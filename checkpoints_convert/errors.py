"""The one error that conversion raises for what a user can mend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

_MOST_SHOWN = 30


class ConversionError(ValueError):
    """A source can't be converted; the message is one line and says what is wrong, what came and what to do.

    Attributes:
      faults: every fault, also those that the message only counts.
    """

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        """Takes the message and, where there are several faults, all of them."""
        super().__init__(message)
        self.faults = tuple(faults) or (message,)

    @classmethod
    def collect(cls, opening: str, faults: Sequence[str], advice: str) -> Self:
        """Builds one error from several faults of a kind.

        Args:
          opening: the rule.
          faults: what came, one entry each.
          advice: what to do.

        Returns:
          The error; raise it.
        """
        shown = "; ".join(faults[:_MOST_SHOWN])
        if len(faults) > _MOST_SHOWN:
            shown += f"; and {len(faults) - _MOST_SHOWN} more"
        return cls(f"{opening}: {shown}; {advice}.", faults)
