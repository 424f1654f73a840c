"""What a run through Scenic ends with where its config does not do: one line, and the traceback with `--verbosity=1`.

Scenic reads a config while it runs and answers with whatever Python raises of a field that is missing or wrong.
"""

from __future__ import annotations

import contextlib
import linecache
import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Final, NoReturn

import flax.errors

from vidtldr_jax.trust.harmless import make_harmless

# What Scenic, optax and ml_collections raise of a field.
_OF_A_FIELD: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, TypeError)
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def end_in_one_line() -> Iterator[None]:
    """End the process with one line and code 1 where a config, a file or a device does not do.

    Yields:
      Nothing.
    """
    try:
        yield
    except (ValueError, OSError, flax.errors.FlaxError) as error:
        _end(str(error))
    except _OF_A_FIELD as error:
        place = _find_reader(error)
        if place is None:
            raise
        _end(
            f"Scenic runs a complete config; got {type(error).__name__} {error} at {place}; fix the field that is read "
            "there; --verbosity=1 shows the traceback"
        )


def _end(message: str) -> NoReturn:
    _log.debug("where it failed", exc_info=True)
    sys.exit(make_harmless(f"error: {' '.join(message.split())}"))


def _find_reader(error: Exception) -> str | None:
    """Return the line of Scenic that failed, or called a library that did; None where it is our own."""
    frames = [
        (frame.f_code.co_filename, number, str(frame.f_globals.get("__name__")))
        for frame, number in traceback.walk_tb(error.__traceback__)
    ]
    file, number, name = [one for one in frames if one[2].split(".")[0] in ("scenic", "vidtldr_jax")][-1]
    return f"{file}:{number} ({linecache.getline(file, number).strip()})" if name.startswith("scenic.") else None
