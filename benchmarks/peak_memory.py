"""Peak memory of one run: the process's resident set at its highest, and above its level before the run.

Each measurement wants a process of its own, whose peak no other run has raised. The level is read when weights are in
place, programs are compiled, and what was freed has gone back to the system.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.models import choose_config
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import make_random_model, make_random_video


class Peak(NamedTuple):
    """What one run needed.

    Attributes:
      level_bytes: resident before the run.
      peak_bytes: resident at the highest point of the run.
    """

    level_bytes: int
    peak_bytes: int

    @property
    def activation_bytes(self) -> int:
        """What the run itself needed."""
        return self.peak_bytes - self.level_bytes


def measure(run: Callable[[], Any]) -> Peak:
    """Runs a function once, which has been compiled and whose libraries are warm, and reads Linux's counters."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    level = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    # The counter of the peak starts again from here.
    Path("/proc/self/clear_refs").write_text("5")
    jax.block_until_ready(run())
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    return Peak(level, peak)


def measure_model(model: VideoModel, video: np.ndarray) -> Peak:
    """Measures one of our models; a tiny one of the same form runs before it and warms the libraries."""
    tiny = make_random_model(choose_config("", is_smoke=True))
    jax.block_until_ready(tiny.encode_video(make_random_video(tiny.config)))
    batch = jnp.asarray(video)
    compiled = model.get_encode_function(batch.shape).lower(model.weights, batch).compile()
    return measure(lambda: compiled(model.weights, batch))


def report(peak: Peak) -> None:
    """Prints a measurement for `run_fresh`, the last line of the process."""
    print(json.dumps(peak._asdict()))


def run_fresh(script: str, *words: str) -> Peak:
    """Starts a script that ends with `report` in a process of its own.

    Args:
      script: path of a benchmark.
      *words: its command line.

    Returns:
      What it reported.

    Raises:
      RuntimeError: it failed; its last words are in the message.
    """
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{Path(script).name} {' '.join(words)} failed: {done.stderr[-500:]}")
    return Peak(**json.loads(done.stdout.splitlines()[-1]))
