"""How much more processor time than importing click does the help of each command take?

    python benchmarks/start.py          # writes results/start.json

`python -m vidtldr_jax COMMAND --help` against `python -c "import click"`, each in a fresh process, in turn: user and
system time of the whole process, the interpreter's own start included in both. The first round, which may write
bytecode, is not counted; the medians of the others are.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence

import click

from benchmarks import record
from vidtldr_jax.cli.main import cli


def list_commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Lists the words of a group and of all commands below it."""
    yield words
    for name, command in group.commands.items():
        below = (*words, name)
        yield from list_commands(command, below) if isinstance(command, click.Group) else [below]


def measure_process(*words: str) -> float:
    """Runs Python with some words and returns the seconds of the processor that it took."""
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
    if process.returncode:
        raise RuntimeError(f"python {' '.join(words)} must end with exit code 0; got {process.returncode}; run it.")
    return usage.ru_utime + usage.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes the result."""
    options = record.make_parser(__doc__ or "", repeats=11).parse_args(arguments)
    commands = list(list_commands(cli))[: 2 if options.smoke else None]
    repeats = 1 if options.smoke else options.repeats
    imports: list[float] = []
    helps: dict[tuple[str, ...], list[float]] = {words: [] for words in commands}
    for number in range(repeats + 1):
        for words in commands:
            pair = measure_process("-c", "import click"), measure_process("-m", "vidtldr_jax", *words, "--help")
            if number > 0:
                imports.append(pair[0])
                helps[words].append(pair[1])
    click_seconds = statistics.median(imports)
    rows = [
        {
            "command": " ".join(("vidtldr", *words, "--help")),
            "cpu_seconds": round(statistics.median(seconds), 4),
            "ratio": round(statistics.median(seconds) / click_seconds, 2),
        }
        for words, seconds in helps.items()
    ]
    result = {"repeats": repeats, "click_cpu_seconds": round(click_seconds, 4), "rows": rows}
    record.finish("start", result, is_smoke=options.smoke)


if __name__ == "__main__":
    main()
