"""How an evaluation tells how far it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Advance(Protocol):
    """Called after each step."""

    def __call__(self, count: int, /, text: str | None = None) -> None:
        """Take the number of items that are done since the last call, and a new text, if there is one."""


class Watch(Protocol):
    """Called for each part of the work, such as "encoding videos"."""

    def __call__(self, text: str, /, *, total: int, known: int = 0) -> AbstractContextManager[Advance]:
        """Take what is done, of how many items, and how many are known from an earlier start."""


@contextlib.contextmanager
def watch_silently(text: str, /, *, total: int, known: int = 0) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda count, text=None: None
