"""Programs of the check: compiled side by side, timed in turn."""

from __future__ import annotations

import concurrent.futures
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.gpu_check.steps import Deadline

NO_TIME: Final = "no time was left"
MOST_AT_ONCE: Final = 8  # compilers; autotuning on a GPU waits for its turn anyway


class Program(NamedTuple):
    """A program that is ready to run.

    Attributes:
      run: runs it a number of times and waits for the last result.
      find_result: runs it once and returns the result in float32.
      facts: plain data about it.
      find_facts: returns what is known only after it ran, such as the peak of memory.
    """

    run: Callable[[int], None]
    find_result: Callable[[], np.ndarray]
    facts: Mapping[str, Any]
    find_facts: Callable[[], Mapping[str, Any]] = dict


def describe_error(error: BaseException) -> str:
    """Return an error as one short line."""
    text = str(error).strip() or "no message"
    return f"{type(error).__name__}: {text.splitlines()[0]}"[:200]


def explain(reason: str) -> dict[str, str]:
    """Return why there is no number, as a field of a row."""
    return {"left_out" if reason == NO_TIME else "failed": reason}


def make_side_by_side(makers: Mapping[Any, Callable[[], Any]], deadline: Deadline) -> dict[Any, Any | str]:
    """Call functions that compile in threads; compilers don't hold Python's lock.

    Args:
      makers: name -> function that compiles and returns something.
      deadline: until when to wait.

    Returns:
      Name -> what the function returned, or as a text why there is nothing, in the order of `makers`.
    """
    pool = concurrent.futures.ThreadPoolExecutor(min(MOST_AT_ONCE, os.cpu_count() or 1))
    futures = {name: pool.submit(make) for name, make in makers.items()}
    made: dict[Any, Any | str] = {}
    for name, future in futures.items():
        try:
            made[name] = future.result(timeout=max(0.0, deadline.seconds_left))
        except concurrent.futures.TimeoutError:
            made[name] = NO_TIME
        except Exception as error:  # whatever a compiler raises: what does not compile is recorded
            made[name] = describe_error(error)
    pool.shutdown(wait=False, cancel_futures=True)
    return made


def time_in_rounds(
    runs: Mapping[str, Callable[[int], None]], *, repeats: int, round_seconds: float
) -> dict[str, list[float]]:
    """Time programs in turn (A B A B ...), each several times without waiting in between.

    Args:
      runs: name -> function that runs a program a number of times and waits for the last result.
      repeats: counted rounds.
      round_seconds: a program runs as often within a round as fits into this time, at least once.

    Returns:
      Name -> seconds per run, one value for each round.
    """
    counts = {}
    for name, run in runs.items():
        run(1)
        start = time.perf_counter()
        run(1)
        counts[name] = max(1, math.ceil(round_seconds / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run(counts[name])
            seconds[name].append((time.perf_counter() - start) / counts[name])
    return seconds
