"""Measures models side by side: ahead-of-time compilation, alternating runs, the compiler's own memory plan."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vidtldr_jax.inference.model import VideoModel


class Measurement(NamedTuple):
    """What running one model on one batch took.

    Attributes:
      compile_seconds: wall time of tracing and compiling, once per shape.
      seconds: wall time of each counted run.
      cpu_seconds: CPU time of this process in each counted run, all threads together.
      memory_bytes: what the compiled program needs beyond its parameters: input, outputs and temporaries, as the
        compiler planned them; None where the backend doesn't say.
    """

    compile_seconds: float
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    memory_bytes: int | None

    @property
    def median(self) -> float:
        """Median wall time, seconds."""
        return statistics.median(self.seconds)

    @property
    def cpu_median(self) -> float:
        """Median CPU time, seconds."""
        return statistics.median(self.cpu_seconds)


def measure_models(
    models: Mapping[str, VideoModel], video: np.ndarray, *, repeats: int = 7, warm_up: int = 1
) -> dict[str, Measurement]:
    """Times models on one batch, in turn (A B A B ...), so that a drift of the machine's speed meets all alike.

    Args:
      models: what to compare, by name.
      video: `[B, T, Y, X, C]`, the batch for all.
      repeats: counted runs of each.
      warm_up: runs of each that don't count.

    Returns:
      A `Measurement` for each name.

    Raises:
      ValueError: repeats is below 1.
    """
    if repeats < 1:
        raise ValueError(f"measure_models: repeats is at least 1; {repeats} came; give a larger number.")
    batch = jnp.asarray(video)
    compiled, compile_seconds, memory = {}, {}, {}
    for name, model in models.items():
        start = time.perf_counter()
        compiled[name] = model.get_encode_function(batch.shape).lower(model.params, batch).compile()
        compile_seconds[name] = time.perf_counter() - start
        memory[name] = _plan_memory(compiled[name], model.params)
    for _ in range(warm_up):
        for name, model in models.items():
            jax.block_until_ready(compiled[name](model.params, batch))
    wall: dict[str, list[float]] = {name: [] for name in models}
    cpu: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(repeats):
        for name, model in models.items():
            cpu_start, start = time.process_time(), time.perf_counter()
            jax.block_until_ready(compiled[name](model.params, batch))
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - cpu_start)
    return {
        name: Measurement(compile_seconds[name], tuple(wall[name]), tuple(cpu[name]), memory[name]) for name in models
    }


def _plan_memory(compiled: Any, params: Any) -> int | None:
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    return plan.temp_size_in_bytes + plan.output_size_in_bytes + plan.argument_size_in_bytes - held
