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
from typing import Final

import flax.errors

from vidtldr_jax.trust.harmless import make_harmless

# What Scenic, optax and ml_collections raise of a field. A defect of the code may be one of these: the line is named.
_OF_A_FIELD: Final = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, TypeError),
    flax.errors.FlaxError,
)
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def end_in_one_line() -> Iterator[None]:
    """End the process with one line and code 1 where a config, a file or a device does not do.

    Yields:
      Nothing.
    """
    try:
        yield
    except (ValueError, OSError, *_OF_A_FIELD) as error:
        _log.debug("where it failed", exc_info=True)
        text = _describe(error) if isinstance(error, _OF_A_FIELD) else str(error)
        sys.exit(make_harmless(f"error: {' '.join(text.split())}"))


def _describe(error: Exception) -> str:
    frames = [*traceback.walk_tb(error.__traceback__)]
    # Scenic's own line names the field; below it are the libraries that it calls.
    of_scenic = [one for one in frames if str(one[0].f_globals.get("__name__")).startswith("scenic.")]
    frame, number = (of_scenic or frames)[-1]
    file = frame.f_code.co_filename
    line = linecache.getline(file, number).strip()
    return (
        f"Scenic runs a complete config; got {type(error).__name__} {error} at {file}:{number} ({line}); fix the field "
        "that is read there; --verbosity=1 shows the traceback"
    )
