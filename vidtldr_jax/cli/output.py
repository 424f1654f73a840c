"""What commands print: tables for people, strict JSON for machines, progress for whoever waits."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from vidtldr_jax.cli.colour import paint, uses_colour

if TYPE_CHECKING:
    from rich.progress import Progress

log = logging.getLogger("vidtldr_jax")

SECONDS_BETWEEN_LOGS: Final = 30.0


def print_json(value: Any) -> None:
    """Prints plain data as strict JSON; what is not finite becomes null."""
    plain = _replace_non_finite(value)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    # A file's name need not be UTF-8; escaped, it is read as it was.
    click.echo(text if make_printable(text) == text else json.dumps(plain, indent=2, allow_nan=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Prints a table: drawn on a terminal, in plain columns otherwise. The first column is left-aligned."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title or None, title_justify="left")
        for number, name in enumerate(header):
            table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*(_escape(make_printable(cell)) for cell in row))
        Console(color_system="auto" if uses_colour(sys.stdout) else None).print(table)
        return
    lines = [[make_printable(cell) for cell in line] for line in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    if title:
        click.echo(title)
    for line in lines:
        cells = [
            cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in enumerate(zip(line, widths))
        ]
        click.echo("  ".join(cells).rstrip())


def print_note(message: str) -> None:
    """Tells something that is no failure, to stderr."""
    click.echo(f"{paint('note:', 'yellow', sys.stderr)} {make_printable(' '.join(message.split()))}", err=True)


def make_printable(text: str) -> str:
    """Returns a text with what is no Unicode, such as bytes of a file's name, written as escapes."""
    return text.encode(errors="backslashreplace").decode()


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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    count = [BarColumn(), MofNCompleteColumn()] if total is not None else [SpinnerColumn()]
    columns = (TextColumn("{task.description}"), *count, TimeElapsedColumn())
    console = Console(stderr=True)
    is_off = not sys.stderr.isatty()
    # Drawn rarely: what is being timed shares the cores.
    with Progress(*columns, console=console, transient=True, disable=is_off, refresh_per_second=2) as progress:
        progress.add_task(text, total=total)
        yield progress


@contextlib.contextmanager
def watch_progress(text: str, *, total: int, known: int = 0) -> Iterator[Callable[[int], None]]:
    """Shows how far long work is: a bar on a terminal, elsewhere with -v a line every half minute.

    Args:
      text: what is being done.
      total: how many steps it has.
      known: how many of them were done before.

    Yields:
      What to call with the number of steps that are done.
    """
    done, last = known, time.monotonic()
    with show_progress(text, total=total) as progress:
        progress.advance(progress.task_ids[0], known)

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            progress.advance(progress.task_ids[0], count)
            if time.monotonic() - last > SECONDS_BETWEEN_LOGS:
                last = time.monotonic()
                log.info("%s: %d of %d", text, done, total)

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


def _escape(cell: str) -> str:
    return cell.replace("[", r"\[")


def _replace_non_finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
