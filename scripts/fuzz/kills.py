"""Kills every command that writes at random moments: nothing is lost, and the next run leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from scripts.fuzz.writers import PLACES, Writer

_RANDOM: Final = re.compile(r"\b[0-9a-f]{32}\b")  # names of Orbax's own files
_MOST_STARTS: Final = 10  # per kill: a run can be over before its moment


class KillReport(NamedTuple):
    """What killing one command did.

    Attributes:
      name: of the command.
      kills: how many processes were killed before they ended.
      in_writing: kills that left something hidden behind, which the next run removed.
      faults: what was lost or left.
    """

    name: str
    kills: int
    in_writing: int
    faults: list[str]


def kill_writer(writer: Writer, inputs: Path, *, count: int, seed: int) -> KillReport:
    """Kill one command again and again, each time at another moment.

    Args:
      writer: the command.
      inputs: what `writers.make_inputs` made.
      count: how many kills.
      seed: of the moments.

    Returns:
      A `KillReport`.
    """
    rng = random.Random(f"{seed} {writer.name}")
    faults: list[str] = []
    kills = in_writing = 0
    with tempfile.TemporaryDirectory(prefix="vidtldr-kill-") as room, _start_processes(Path(room)) as processes:
        folder = Path(room) / "out"
        folder.mkdir()
        place = folder / PLACES[writer.name]
        words = writer.words(inputs, place)
        whole, usual, seconds = _run_whole(processes, words, writer, place)
        if not writer.is_replacing:
            _empty(folder)
        known: set[str] = whole if writer.is_replacing else set()
        for _ in range(count * _MOST_STARTS):
            process = processes.start(*words)
            if kills % 2:
                _wait_for_writing(folder, seconds)
                time.sleep(rng.uniform(0, 0.01))
            else:
                time.sleep(rng.uniform(0.02, seconds))
            if processes.kill(process) == -9:
                kills += 1
                in_writing += bool(_list_hidden(folder))
                known = look(writer, place, known, faults)
            elif not writer.is_replacing:
                known = set()
                _empty(folder)  # it was too quick: begin again
            if kills == count:
                break
        again, left, _ = _run_whole(processes, words, writer, place)
        faults += [f"{name} is left behind" for name in sorted(left - usual)]
        faults += [f"{name} is missing at the end" for name in sorted(whole - again)]
        if kills < count:
            faults.append(f"only {kills} of {count} processes were killed before they ended")
    return KillReport(writer.name, kills, in_writing, faults)


@contextlib.contextmanager
def _start_processes(room: Path) -> Iterator[Any]:
    from tests.cli.forked_processes import ForkedProcesses

    processes = ForkedProcesses(room)
    try:
        yield processes
    finally:
        processes.close()


def _run_whole(processes: Any, words: list[str], writer: Writer, place: Path) -> tuple[set[str], set[str], float]:
    """Run a command to its end; returns what it wrote, the names of all files, and how long it took."""
    start = time.monotonic()
    processes.start(*words)
    code = processes.wait()
    seconds = time.monotonic() - start
    if code:
        raise RuntimeError(f"{' '.join(words)} ended with {code}: {processes.log.read_text()[-2000:]}")
    names = {_RANDOM.sub("*", str(path.relative_to(place.parent))) for path in place.parent.rglob("*")}
    return writer.check(place), names, seconds


def look(writer: Writer, place: Path, known: set[str], faults: list[str]) -> set[str]:
    """Check what is there after a kill.

    Args:
      writer: the command.
      place: that it writes to.
      known: what was there before.
      faults: what is damaged or lost is added to them.

    Returns:
      What is there now; what was known where it is damaged.
    """
    try:
        found = writer.check(place) if writer.is_replacing or place.parent.exists() else set()
    except Exception as error:
        faults.append(f"damaged after a kill: {type(error).__name__}: {str(error)[:200]}")
        return known
    faults += [f"{name} was lost" for name in sorted(known - found)]
    return found


def _wait_for_writing(folder: Path, seconds: float) -> None:
    """Wait until something hidden is there, as long as a whole run takes at most."""
    before, deadline = set(_list_hidden(folder)), time.monotonic() + seconds
    while set(_list_hidden(folder)) <= before and time.monotonic() < deadline:
        time.sleep(0.0005)


def _list_hidden(folder: Path) -> list[Path]:
    # Not rglob, which fails where a folder goes while it is read.
    return [
        Path(place) / name
        for place, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if name.startswith(".")
    ]


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
