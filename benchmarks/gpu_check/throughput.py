"""Step 2: clips per second, plain and merged, of this package and of torch, all of one model in turn.

The first rows are rates of a large matrix product, by which shares are counted. Products of float32 have the precision
that JAX takes on a device by itself (TF32 on NVIDIA's), and torch is told to take the same. Weights and clips are
random; before anything is timed, the logits of every program are compared with those of a reference.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu_check import own_programs, torch_programs
from benchmarks.gpu_check.programs import NO_TIME, Program, describe_error, explain, make_side_by_side, time_in_rounds
from benchmarks.gpu_check.random_models import choose_config, choose_schedule, make_model
from benchmarks.gpu_check.sizes import Group, Size
from benchmarks.gpu_check.steps import Deadline
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import make_random_video

# Dense 16-bit multiply-accumulates x 2 per second, from the makers' data sheets; by JAX's name of the device.
PEAKS: Final = {
    "Tesla T4": 65e12,
    "NVIDIA L4": 121e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
}
# What logits are compared with: one form that is always there, for each kind of model.
REFERENCES: Final = {"plain": "plain dense", "merged": "merged blocked"}
_FEWEST_SECONDS: Final = 15.0  # to begin another model with


def run(size: Size, deadline: Deadline, excluded: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Measure every model, dtype and batch size, as far as the time allows.

    Args:
      size: what to measure.
      deadline: until when.
      excluded: forms of attention to leave out.

    Yields:
      Rows of plain data.
    """
    rates = {}
    for dtype in size.dtypes:
        rates[dtype] = measure_product(dtype, size)
        yield {"kind": "product", "dtype": dtype, "side": size.product_side, "flops_per_second": rates[dtype]}
    for group in size.list_groups():
        if deadline.seconds_left < _FEWEST_SECONDS:
            yield {"kind": "throughput", **group._asdict(), "left_out": NO_TIME}
            continue
        for row in measure_group(group, size, deadline, excluded):
            shares = find_shares(row, group.dtype, rates[group.dtype])
            yield {"kind": "throughput", **group._asdict(), **row, **shares}


def measure_product(dtype: str, size: Size) -> float:
    """Return floating-point operations per second of one large matrix product of random numbers."""
    side = size.product_side
    left, right = (jax.random.normal(jax.random.key(seed), (side, side), dtype) for seed in (0, 1))
    product = functools.partial(jax.jit(jnp.matmul).lower(left, right).compile(), left, right)
    runs = {"product": own_programs.repeat(product)}
    times = time_in_rounds(runs, repeats=max(3, size.repeats), round_seconds=size.round_seconds)
    return 2 * side**3 / statistics.median(times["product"])


def find_shares(row: Mapping[str, Any], dtype: str, rate: float) -> dict[str, float]:
    """Return a row's shares of the product's rate and, in bfloat16, of the device's published peak."""
    if "flops_per_second" not in row:
        return {}
    shares = {"of_product": round(row["flops_per_second"] / rate, 4)}
    peak = PEAKS.get(jax.devices()[0].device_kind)
    if peak is not None and dtype == "bfloat16":
        shares["of_peak"] = round(row["flops_per_second"] / peak, 4)
    return shares


def measure_group(group: Group, size: Size, deadline: Deadline, excluded: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Compile all programs of a model in one dtype side by side, then time them batch by batch."""
    config = choose_config(group.preset, is_rehearsal=size.is_rehearsal)
    schedule = choose_schedule(group.preset, config)
    models = own_programs.make_variants(make_model(config, group.dtype), schedule, excluded)
    videos = {count: make_random_video(config, batch_size=count) for count in size.batch_sizes}
    makers = {
        (count, name): functools.partial(own_programs.compile_model, model, videos[count])
        for count in size.batch_sizes
        for name, model in models.items()
    }
    made = make_side_by_side(makers, deadline)
    add_torch(made, models, videos)
    for count in size.batch_sizes:
        programs = {name: program for (batch_size, name), program in made.items() if batch_size == count}
        is_late = deadline.seconds_left < 0
        rows = {name: {"left_out": NO_TIME} for name in programs} if is_late else measure_batch(programs, count, size)
        for name, row in rows.items():
            yield {"batch_size": count, "schedule": schedule, "variant": name, **row}


def add_torch(
    made: dict[Any, Program | str], models: Mapping[str, VideoModel], videos: Mapping[int, np.ndarray]
) -> None:
    """Add torch's programs of every batch size, or why there are none."""
    reason = torch_programs.find_reason_to_leave_out()
    merged = next(model for model in models.values() if not model.schedule.is_plain)
    plain = next(model for model in models.values() if model.schedule.is_plain)
    tensors = None if reason else torch_programs.make_tensors(plain)
    for count, video in videos.items():
        for name, is_merged in torch_programs.VARIANTS.items():
            if tensors is None:
                made[count, name] = reason or ""
                continue
            model = merged if is_merged else plain
            facts = {"gmacs_per_clip": own_programs.describe(model)["gmacs_per_clip"]}
            r = model.schedule.r if is_merged else ()
            made[count, name] = torch_programs.make_program(tensors, model, video, r, facts)


def measure_batch(programs: Mapping[str, Program | str], batch_size: int, size: Size) -> dict[str, dict[str, Any]]:
    """Compare the programs of one batch size and time those that run.

    Args:
      programs: variant -> program, or why there is none.
      batch_size: clips at a time.
      size: of the measurement.

    Returns:
      Variant -> row of plain data.
    """
    rows: dict[str, dict[str, Any]] = {}
    results: dict[str, np.ndarray] = {}
    for name, program in programs.items():
        if isinstance(program, str):
            rows[name] = explain(program)
            continue
        rows[name] = dict(program.facts)
        try:
            results[name] = program.find_result()
            rows[name] |= program.find_facts()
        except Exception as error:  # out of memory, or whatever else a device raises: what does not run is recorded
            rows[name]["failed"] = describe_error(error)
    for name, apart in compare_results(results).items():
        rows[name]["apart"] = apart
    runs = {name: programs[name].run for name in results}  # type: ignore[union-attr]
    for name, seconds in time_in_rounds(runs, repeats=size.repeats, round_seconds=size.round_seconds).items():
        median = statistics.median(seconds)
        rows[name] |= {
            "seconds": [round(value, 6) for value in seconds],
            "clips_per_second": round(batch_size / median, 3),
            "flops_per_second": 2e9 * rows[name]["gmacs_per_clip"] * batch_size / median,
        }
    return rows


def compare_results(results: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Return how far each program's logits are from its reference's, in units of the reference's largest.

    Random tokens are nearly alike, so that rounding decides some pairs; merged models differ by more than plain ones.
    What is not finite is None: where all tokens are equally sharp, the official algorithm divides 0 by 0.
    """
    apart: dict[str, float | None] = {}
    for name, values in results.items():
        kind = "merged" if "merged" in name else "plain"
        reference = results.get(REFERENCES[kind])
        if reference is not None:
            furthest = np.abs(values - reference).max() / np.abs(reference).max()
            apart[name] = float(f"{furthest:.2e}") if np.isfinite(furthest) else None
    return apart
