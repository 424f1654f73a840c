"""Log lines and tracebacks that only show characters, whoever logs and whatever is in a message."""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType

from vidtldr_jax.cli.output import print_note
from vidtldr_jax.trust.harmless import make_harmless, make_lines_harmless


class HarmlessFormatter(logging.Formatter):
    """A formatter whose messages are one harmless line each; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """Return the message on one line."""
        return make_harmless(super().formatMessage(record))

    def formatException(  # noqa: N802  # logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """Return the traceback."""
        return make_lines_harmless(super().formatException(ei))


class NoteHandler(logging.Handler):
    """A handler that prints what the library notes as commands print their own notes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a note."""
        print_note(record.getMessage())


class HarmlessRecord(logging.LogRecord):
    """A record whose message is one harmless line; for the handlers that other libraries bring."""

    def getMessage(self) -> str:  # noqa: N802  # logging's name
        """Return the message on one line."""
        return make_harmless(super().getMessage())


def print_traceback(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Print a traceback to stderr, as Python does but for unsafe characters; fit for `sys.excepthook`.

    Args:
      kind: type of the error.
      error: that was raised.
      trace: where.
    """
    text = make_lines_harmless("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"))
    sys.stderr.write(text.encode(sys.stderr.encoding or "utf-8", "backslashreplace").decode(errors="replace") + "\n")
