"""What commands print: tables for people, strict JSON for machines, progress for whoever waits."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from vidtldr_jax.cli.colour import paint, uses_colour
from vidtldr_jax.trust.harmless import dump_json, make_harmless

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from vidtldr_jax.evaluation.progress import Advance

log = logging.getLogger("vidtldr_jax")

SECONDS_BETWEEN_LOGS: Final = 30.0
LONGEST_MESSAGE: Final = 2000  # characters of a note or an error
_LONGEST_END: Final = 500  # of them behind what is left out
_NOT_ASCII: Final = re.compile("[^\\x00-\\x7f]")


def print_line(text: str = "") -> None:
    """Print a text on one line of stdout; whatever it holds, it only shows characters."""
    _write(_fit(make_harmless(text), sys.stdout))


def print_json(value: Any) -> None:
    """Print plain data as strict JSON that reads back exactly; what is not finite becomes null."""
    _write(_fit_json(dump_json(_replace_non_finite(value), indent=2), sys.stdout))


def print_json_line(value: Any) -> None:
    """Print plain data as one line of JSON Lines, at once; what is not finite becomes null."""
    _write(_fit_json(dump_json(_replace_non_finite(value)), sys.stdout))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print a table: drawn on a terminal, in plain columns otherwise. The first column is left-aligned."""
    lines = [[_fit(make_harmless(cell), sys.stdout) for cell in line] for line in (header, *rows)]
    if sys.stdout.isatty():
        _draw_table(lines[0], lines[1:], title=_fit(make_harmless(title), sys.stdout))
        return
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    if title:
        print_line(title)
    for line in lines:
        cells = [
            cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in enumerate(zip(line, widths))
        ]
        print_line("  ".join(cells).rstrip())


def print_note(message: str, *, about: str | None = None) -> None:
    """Tell something that is no failure, to stderr.

    Args:
      message: what is told.
      about: name of the video or file that it is about, which is printed in front as it is.
    """
    print_labelled("note:", "yellow", message, about=about)


def print_labelled(label: str, colour: str, message: str, *, about: str | None = None) -> None:
    """Print a message of bounded length on one line of stderr, behind a label that is coloured on a terminal.

    Args:
      label: such as "note:".
      colour: of the label.
      message: what is told.
      about: name of what it is about, or None.
    """
    text = shorten_message(make_harmless(message if about is None else f"{about}: {message}"))
    click.echo(f"{paint(label, colour, sys.stderr)} {_fit(text, sys.stderr)}", err=True)


def shorten_message(text: str) -> str:
    """Return a message without its middle where it is very long, with the number of characters left out; all with -v.

    Args:
      text: of one line.

    Returns:
      At most about 2,000 characters; the end, which says what to do, is kept.
    """
    if len(text) <= LONGEST_MESSAGE or log.isEnabledFor(logging.DEBUG):
        return text
    left_out = len(text) - LONGEST_MESSAGE
    return (
        f"{text[: LONGEST_MESSAGE - _LONGEST_END]} [... {left_out:,} characters left out; -v shows them ...] "
        + (text[-_LONGEST_END:])
    )


@contextlib.contextmanager
def show_progress(text: str, total: int | None = None) -> Iterator[Progress]:
    """Shows a bar on stderr while work goes on; nothing where stderr is no terminal or can't move its cursor.

    Args:
      text: what is being done.
      total: how many steps it has; None where that is unknown.

    Yields:
      The bar; its only task is number 0.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

    count = [BarColumn(), MofNCompleteColumn()] if total is not None else [SpinnerColumn()]
    columns = (_make_text_column(), *count, TimeElapsedColumn())
    console = Console(stderr=True)
    is_off = not sys.stderr.isatty()
    # Drawn rarely: what is being timed shares the cores.
    # What is printed meanwhile goes above the bar on a terminal; rich would send it to stderr from a pipe too.
    is_shared = sys.stdout.isatty()
    with Progress(
        *columns, console=console, transient=True, disable=is_off, refresh_per_second=2, redirect_stdout=is_shared
    ) as progress:
        progress.add_task(text, total=total)
        yield progress


def begin_part(progress: Progress, text: str, total: int) -> None:
    """Let a bar show another part of the work, from 0 and with a clock that runs again.

    Args:
      progress: what `show_progress` gave.
      text: what is being done now.
      total: how many steps that has.
    """
    progress.reset(progress.task_ids[0], description=text, total=total)  # an update leaves the clock where it stopped


@contextlib.contextmanager
def watch_progress(text: str, *, total: int, known: int = 0) -> Iterator[Advance]:
    """Shows how far long work is: a bar on a terminal, elsewhere with -v a line every half minute.

    Args:
      text: what is being done.
      total: how many steps it has.
      known: how many of them were done before.

    Yields:
      What to call with the number of steps that are done, and perhaps another text.
    """
    done, last, shown = known, time.monotonic(), text
    with show_progress(text, total=total) as progress:
        progress.advance(progress.task_ids[0], known)

        def advance(count: int, /, text: str | None = None) -> None:
            nonlocal done, last, shown
            done, shown = done + count, text or shown
            progress.update(progress.task_ids[0], advance=count, description=shown)
            if time.monotonic() - last > SECONDS_BETWEEN_LOGS:
                last = time.monotonic()
                log.info("%s: %d of %d", shown, done, total)

        yield advance


def format_seconds(seconds: float) -> str:
    """Writes a duration in ms or s, with three digits."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def format_bytes(count: int | None) -> str:
    """Writes a size in MiB; "unknown" for None."""
    return "unknown" if count is None else f"{count / 2**20:.1f} MiB"


def format_macs(macs: float) -> str:
    """Writes multiply-accumulates in units of 10^9."""
    gmacs = macs / 1e9
    return f"{gmacs:.{1 if gmacs >= 10 else 2 if gmacs >= 1 else 4}f}"


def _write(text: str) -> None:
    """Write what is harmless to stdout at once; an error, such as of a full disk, names no file of its own."""
    try:
        click.echo(text)  # which flushes
    except OSError as error:
        error.filename = error.filename or "standard output"
        raise


def _draw_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text, since rich takes "[red]" and ":warning:" in a str for its own markup.
    table = Table(title=Text(title) if title else None, title_justify="left")
    for number, name in enumerate(header):
        table.add_column(Text(name), justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(color_system="auto" if uses_colour(sys.stdout) else None).print(table)


def _make_text_column() -> ProgressColumn:
    """Return the column of a bar's description, whatever is in it and whoever changes it."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class TextColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(_fit(make_harmless(task.description), sys.stderr))

    return TextColumn()


def _fit(text: str, stream: TextIO) -> str:
    """Escape the characters that a stream's encoding does not have."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _fit_json(text: str, stream: TextIO) -> str:
    return text if _fit(text, stream) == text else _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _replace_non_finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
