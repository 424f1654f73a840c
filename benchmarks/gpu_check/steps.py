"""Runs one step of the check in a process of its own; a watchdog ends it, and what it found until then stays.

A step is a function of (size, deadline, excluded) that yields rows of plain data. The process appends each row to a
file, one line of JSON each, as soon as it has it.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.gpu_check.sizes import FULL, REHEARSAL

_ROOT: Final = Path(__file__).resolve().parent.parent.parent
# What a step leaves of its time for the process to end by itself.
_RESERVE_SECONDS: Final = 4.0
# A rehearsal may run beside other work on few cores.
_REHEARSAL_FACTOR: Final = 5
# torch and JAX share the device: JAX would take three quarters of its memory at once.
_MEMORY_SHARE: Final = "0.55"


class Step(NamedTuple):
    """One step of the check.

    Attributes:
      name: in the result.
      function: module and function, with a colon between.
      limit_seconds: wall time after which the watchdog ends it; a rehearsal has five times as much.
    """

    name: str
    function: str
    limit_seconds: float


STEPS: Final = (
    Step("correctness", "benchmarks.gpu_check.correctness:run", 90),
    Step("throughput", "benchmarks.gpu_check.throughput:run", 235),
    Step("parts", "benchmarks.gpu_check.parts:run", 60),
    Step("answers", "benchmarks.gpu_check.answers:run", 85),
)


class Deadline:
    """A point in time that a step watches, so that it ends by itself."""

    def __init__(self, seconds: float) -> None:
        """Start the clock.

        Args:
          seconds: from now on.
        """
        self._end = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline, negative behind it."""
        return self._end - time.monotonic()


def run_step(step: Step, *, is_rehearsal: bool, stamps: Path | None = None) -> dict[str, Any]:
    """Run a step; where its process dies of a signal, once more without Pallas kernels, in the time that is left.

    Args:
      step: which.
      is_rehearsal: whether tiny models stand in for the presets.
      stamps: see `Size`.

    Returns:
      Plain data: name, state ("done", or why it ended), seconds, and rows.
    """
    start, limit = time.monotonic(), step.limit_seconds * (_REHEARSAL_FACTOR if is_rehearsal else 1)
    options = ["--rehearse"] * is_rehearsal + ([] if stamps is None else ["--stamps", str(stamps)])
    state, rows = _run_process(step.function, limit, options)
    left = limit - (time.monotonic() - start)
    if state.startswith("died") and left > 2 * _RESERVE_SECONDS:
        died = state
        state, more = _run_process(step.function, left, [*options, "--exclude", "kernel"])
        state = f"{state}; before that it {died}, so kernels were left out"
        rows += more
    return {"name": step.name, "state": state, "seconds": round(time.monotonic() - start, 1), "rows": rows}


def _run_process(function: str, limit: float, options: Sequence[str]) -> tuple[str, list[dict[str, Any]]]:
    """Run the process of a step; return how it ended and its rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        command = [sys.executable, "-m", __spec__.name, function, "--rows", str(path), "--seconds", str(limit)]
        command += options
        environment = {"XLA_PYTHON_CLIENT_MEM_FRACTION": _MEMORY_SHARE, **os.environ}
        # A session of its own, so that whatever the step started ends with it.
        process = subprocess.Popen(command, cwd=_ROOT, env=environment, start_new_session=True)
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            state = f"stopped by the watchdog after {limit:.0f} s"
        else:
            state = "done" if code == 0 else f"died of signal {-code}" if code < 0 else f"failed with exit code {code}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return state, _read_rows(path)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows that are whole; the process may have ended within a line."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def main(words: Sequence[str] | None = None) -> None:
    """Run the process of one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("function", metavar="MODULE:FUNCTION")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="FORM")
    parser.add_argument("--stamps", type=Path)
    arguments = parser.parse_args(words)
    size = dataclasses.replace(REHEARSAL if arguments.rehearse else FULL, stamps=arguments.stamps)
    deadline = Deadline(arguments.seconds - _RESERVE_SECONDS)
    module, name = arguments.function.split(":")
    find_rows = getattr(importlib.import_module(module), name)
    with arguments.rows.open("a") as file:
        for row in find_rows(size, deadline, tuple(arguments.exclude)):
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
