"""Notes: what a user should know and is no failure. Commands print them, elsewhere Python's logging does."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from vidtldr_jax.trust.harmless import make_harmless

LOGGER: Final = "vidtldr_jax.notes"
MOST_NAMED: Final = 10  # videos that are named one by one


def tell_note(message: str, *, about: str | None = None) -> None:
    """Tell something in one line.

    Args:
      message: what a user should know.
      about: name of the video or file that it is about.
    """
    logging.getLogger(LOGGER).warning("%s", make_harmless(message if about is None else f"{about}: {message}"))


def tell_notices(notices: Mapping[str, Sequence[str]]) -> None:
    """Tell what a user should know about videos, of the first ones in words.

    Args:
      notices: name of a video -> its notices.
    """
    for name, texts in list(notices.items())[:MOST_NAMED]:
        for text in texts:
            tell_note(text, about=name)
    if len(notices) > MOST_NAMED:
        tell_note(f"{len(notices) - MOST_NAMED} more videos have notices, such as too few frames")


@contextlib.contextmanager
def name_what_is_safe(place: object, count: Callable[[], str]) -> Iterator[None]:
    """Add to an error of the system, such as a full disk, what is safe; `__notes__` of the error has it.

    Args:
      place: where it is; None where nothing is kept.
      count: returns how many of what are there.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if place is not None:
            error.add_note(f"{count()} are safe in {place}, and the same command goes on from there")
        raise
