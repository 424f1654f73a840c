"""Damages copies of a sound example, has a worker process read them, and counts what that ended in."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from scripts.fuzz.fuzz_class import FuzzClass
from scripts.fuzz.mutations import mutate

ROOT: Final = Path(__file__).resolve().parent.parent.parent
HOME: Final = "scripts.fuzz.classes"
MOST_SECONDS: Final = 10.0
MOST_BYTES: Final = 2**30
_FATAL_BYTES: Final = 6 * 2**30  # above it the worker is ended before it takes the machine's memory
_START_SECONDS: Final = 300.0
RIGHT: Final = ("read", "refused")


class Failure(NamedTuple):
    """An input that did not get the documented answer.

    Attributes:
      number: of the input, from which it can be made again.
      outcome: "wrong", "undocumented", "signal", "hang" or "memory".
      detail: what happened.
    """

    number: int
    outcome: str
    detail: str


class Report(NamedTuple):
    """What the inputs of one class ended in.

    Attributes:
      name: of the class.
      counts: outcome -> how many inputs.
      failures: those that are not right.
      most_seconds: that one input took.
      most_bytes: of memory beyond that of a worker that is idle.
    """

    name: str
    counts: dict[str, int]
    failures: list[Failure]
    most_seconds: float
    most_bytes: int

    @property
    def num_tried(self) -> int:
        """How many inputs were tried."""
        return sum(self.counts.values())

    @property
    def num_right(self) -> int:
        """How many got the documented answer."""
        return sum(self.counts.get(outcome, 0) for outcome in RIGHT)


def run_class(
    chosen: FuzzClass,
    *,
    count: int,
    seed: int,
    first: int = 0,
    keep: Path | None = None,
    most_seconds: float = MOST_SECONDS,
    home: str = HOME,
) -> Report:
    """Try damaged inputs of one class.

    Args:
      chosen: the class.
      count: how many inputs.
      seed: an input is made from it, the class and the input's number alone.
      first: number of the first input.
      keep: folder for the inputs that fail; None keeps none.
      most_seconds: that an input may take.
      home: module whose `load_classes` knows the class.

    Returns:
      A `Report`.
    """
    counts: collections.Counter[str] = collections.Counter()
    failures: list[Failure] = []
    longest, most_bytes = 0.0, 0
    with tempfile.TemporaryDirectory(prefix="vidtldr-fuzz-") as room:
        template = Path(room) / "template"
        template.mkdir()
        chosen.make(template)
        with contextlib.closing(_Worker([home, chosen.name, str(template)], most_seconds)) as worker:
            for number in range(first, first + count):
                folder = make_input(chosen, template, Path(room) / "input", seed=seed, number=number)
                answer = worker.try_input(folder)
                counts[answer["outcome"]] += 1
                longest = max(longest, answer["seconds"])
                most_bytes = max(most_bytes, answer["bytes"])
                if answer["outcome"] not in RIGHT:
                    failures.append(Failure(number, answer["outcome"], answer["detail"]))
                    if keep is not None:
                        shutil.copytree(folder, keep / f"{chosen.name}-{number}", dirs_exist_ok=True)
                shutil.rmtree(folder, ignore_errors=True)
    return Report(chosen.name, dict(counts), failures, longest, most_bytes)


def make_input(chosen: FuzzClass, template: Path, folder: Path, *, seed: int, number: int) -> Path:
    """Copy a sound example and damage one of its files; the same for the same numbers."""
    rng = random.Random(f"{seed} {chosen.name} {number}")
    shutil.copytree(template, folder)
    names = [name for name in sorted(chosen.find_files(folder)) for _ in range(chosen.find_files(folder)[name][1])]
    name = rng.choice(names)
    path = folder / name
    path.write_bytes(mutate(rng, path.read_bytes(), chosen.find_files(template)[name][0]))
    if chosen.reseal is not None:
        chosen.reseal(folder)
    return folder


class _Worker:
    """A process that reads inputs; started again after one that ended it."""

    def __init__(self, words: list[str], most_seconds: float) -> None:
        self._words = [sys.executable, "-m", "scripts.fuzz.worker", *words]
        self._most_seconds = most_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def try_input(self, folder: Path) -> dict[str, Any]:
        """Have an input read; returns its outcome, whatever becomes of the process."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        start = time.monotonic()
        self._process.stdin.write(json.dumps(str(folder)).encode() + b"\n")
        self._process.stdin.flush()
        answer, ended = self._wait(self._most_seconds)
        if answer is None:
            answer = {"seconds": time.monotonic() - start, "bytes": 0, **self._describe_end(ended)}
        if answer["outcome"] in RIGHT and answer["bytes"] > MOST_BYTES:
            answer = {**answer, "outcome": "memory", "detail": f"{answer['bytes'] / 2**20:.0f} MiB"}
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> None:
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            self._words,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        ready, ended = self._wait(_START_SECONDS)
        if ready is None:
            raise RuntimeError(f"{' '.join(self._words)} can't read the sound example ({ended})")

    def _wait(self, seconds: float) -> tuple[dict[str, Any] | None, str]:
        """Return the next answer, or None and why there is none."""
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._process.stdout], [], [], min(left, 0.05))[0]:
                line = self._process.stdout.readline()
                return (json.loads(line), "") if line else (None, "ended")
            if _read_memory(self._process.pid) > _FATAL_BYTES:
                return None, "memory"
        return None, "hang"

    def _describe_end(self, why: str) -> dict[str, Any]:
        assert self._process is not None
        if why != "ended":
            self._process.kill()
        self._process.communicate()
        code = self._process.returncode
        self._process = None
        if why == "ended":
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return {"outcome": "signal", "detail": name}
        return {"outcome": why, "detail": f"over {self._most_seconds:g} s" if why == "hang" else "over 6 GiB"}


def _read_memory(pid: int) -> int:
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines: Iterator[str] = iter(Path(f"/proc/{pid}/status").read_text().splitlines())
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024
    return 0
