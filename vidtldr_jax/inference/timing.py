"""Measures models side by side: ahead-of-time compilation, alternating runs, the compiler's own memory plan."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.inference.finite import check_output
from vidtldr_jax.inference.load import build_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.architectures import Config
from vidtldr_jax.reduction.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Times:
    """How long the counted runs of one function took.

    Attributes:
      seconds: wall time of each.
      cpu_seconds: CPU time of this process in each, all threads together.
    """

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median wall time, seconds."""
        return statistics.median(self.seconds)

    @property
    def lower_quartile(self) -> float:
        """Wall time that a quarter of the runs stay below, seconds: near that of an idle machine."""
        return float(np.quantile(self.seconds, 0.25))

    @property
    def cpu_median(self) -> float:
        """Median CPU time, seconds."""
        return statistics.median(self.cpu_seconds)


@dataclasses.dataclass(frozen=True)
class Measurement(Times):
    """What running one model on one batch took.

    Attributes:
      compile_seconds: wall time of tracing and compiling, once per shape.
      memory_bytes: what the compiled program needs beyond its parameters: input, outputs and temporaries, as the
        compiler planned them; None where the backend doesn't say.
    """

    compile_seconds: float
    memory_bytes: int | None


def make_random_model(config: Config, schedule: Schedule = None, **options: Any) -> VideoModel:
    """Makes a model whose weights mean nothing; time and memory do not depend on them.

    Args:
      config: the architecture.
      schedule: anything `parse_schedule` reads; None is the plain model.
      **options: of `VideoModel`, such as dtype and attention.

    Returns:
      The model, always with the same weights; for a UMT one that also reads, see `make_model`.

    Raises:
      ValueError: the schedule does not fit the model.
    """
    rng = np.random.default_rng(0)
    params = {
        path: np.ones(shape, np.float32) if path.endswith("scale") else 0.02 * rng.standard_normal(shape, np.float32)
        for path, shape in find_param_shapes(config).items()
    }
    preprocessing = Preprocessing(num_frames=config.num_frames, image_size=config.image_size)
    return build_model(params, config, preprocessing=preprocessing, schedule=schedule, **options)


def make_random_video(config: Config, *, batch_size: int = 1, num_frames: int | None = None) -> np.ndarray:
    """Makes clips of noise of a model's size, always the same.

    Args:
      config: of the model.
      batch_size: clips.
      num_frames: of each; None means the config's.

    Returns:
      `[B, T, Y, X, C]` float32, as normalised clips are.
    """
    frames = config.num_frames if num_frames is None else num_frames
    shape = (batch_size, frames, config.image_size, config.image_size, config.num_channels)
    return np.random.default_rng(1).standard_normal(shape, np.float32)  # other numbers than the weights


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
      NotFiniteError: what a model gives for the batch is not finite.
    """
    _check_repeats(repeats)
    runs, compile_seconds, memory = {}, {}, {}
    for name, model in models.items():
        batch = model.place_video(video)
        start = time.perf_counter()
        compiled = model.get_encode_function(batch.shape).lower(model.weights, batch).compile()
        compile_seconds[name] = time.perf_counter() - start
        memory[name] = _plan_memory(compiled, model.weights)
        runs[name] = functools.partial(compiled, model.weights, batch)
        # The time of a model that gives no numbers is of no use.
        check_output(runs[name](), of=f"the {name} model")
    times = time_in_turn(runs, repeats=repeats, warm_up=warm_up)
    return {
        name: Measurement(one.seconds, one.cpu_seconds, compile_seconds[name], memory[name])
        for name, one in times.items()
    }


def time_in_turn(runs: Mapping[str, Callable[[], Any]], *, repeats: int, warm_up: int = 1) -> dict[str, Times]:
    """Times functions in turn (A B A B ...), each until its result is there.

    Args:
      runs: what to compare, by name.
      repeats: counted runs of each.
      warm_up: runs of each that don't count.

    Returns:
      `Times` for each name.

    Raises:
      ValueError: repeats is below 1.
    """
    _check_repeats(repeats)
    for _ in range(warm_up):
        for run in runs.values():
            jax.block_until_ready(run())
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            cpu_start, start = time.process_time(), time.perf_counter()
            jax.block_until_ready(run())
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - cpu_start)
    return {name: Times(tuple(wall[name]), tuple(cpu[name])) for name in runs}


def _check_repeats(repeats: int) -> None:
    if repeats < 1:
        raise ValueError(f"repeats is at least 1; got {repeats}; give a larger number.")


def _plan_memory(compiled: Any, params: Any) -> int | None:
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    return plan.temp_size_in_bytes + plan.output_size_in_bytes + plan.argument_size_in_bytes - held
