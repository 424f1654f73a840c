"""How long does compiling take, step by step, and what is left of it at a second start?

    python benchmarks/compile.py          # writes results/compile.json

UMT-B/16 and UMT-L/16, plain and merged as published for MSR-VTT, one clip of 12 x 224 x 224, float32. Tracing, lowering
and compiling are timed apart, in this process, in turn, with JAX's caches cleared before each. Starts are processes of
their own with an empty persistent compilation cache (first) and with what the first left there (second): from the start
of the process to the first result, random weights made, and the compile step alone.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import record
from benchmarks.models import choose_config, read_published, scale_schedule
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import make_random_model, make_random_video
from vidtldr_jax.models.config import VideoViTConfig

PRESETS: Final = ("umt-b16", "umt-l16")
FORMS: Final = ("plain", "merged")
# How layers run -> options of VideoModel.
LAYERS: Final[dict[str, dict[str, Any]]] = {"unrolled": {"scan_layers": False}, "scanned": {"scan_layers": True}}
STEPS: Final = ("trace", "lower", "compile")


class Job(NamedTuple):
    """One program.

    Attributes:
      preset: name of the architecture.
      form: "plain" or "merged".
      layers: a key of `LAYERS`.
    """

    preset: str
    form: str
    layers: str


def list_jobs(preset: str) -> list[Job]:
    """Lists the programs of a preset that are compiled."""
    return [Job(preset, form, layers) for form in FORMS for layers in LAYERS]


def find_schedule(config: VideoViTConfig, job: Job) -> str:
    """Returns what a job absorbs: the schedule published for MSR-VTT."""
    if job.form == "plain":
        return "none"
    return scale_schedule(next(e.r for e in read_published(job.preset) if "msrvtt" in e.names), config.num_tokens)


def compile_model(model: VideoModel, video: jax.Array) -> tuple[Any, dict[str, float]]:
    """Compiles a model and returns the program and the seconds of each of `STEPS`."""
    clock = [time.perf_counter()]
    traced = model.get_encode_function(video.shape).trace(model.weights, video)
    clock.append(time.perf_counter())
    lowered = traced.lower()
    clock.append(time.perf_counter())
    compiled = lowered.compile()
    clock.append(time.perf_counter())
    return compiled, {step: end - start for step, (start, end) in zip(STEPS, itertools.pairwise(clock))}


def measure_steps(config: VideoViTConfig, jobs: Sequence[Job], repeats: int) -> dict[Job, list[dict[str, float]]]:
    """Compiles programs of one architecture in turn, without caches."""
    jax.config.update("jax_enable_compilation_cache", False)
    plain = {layers: make_random_model(config, **options) for layers, options in LAYERS.items()}
    models = {job: plain[job.layers].with_schedule(find_schedule(config, job)) for job in jobs}
    video = jnp.asarray(make_random_video(config))
    measured: dict[Job, list[dict[str, float]]] = {job: [] for job in models}
    for _ in range(repeats):
        for job, model in models.items():
            jax.clear_caches()
            measured[job].append(compile_model(model, video)[1])
    return measured


def report_start(job: Job, started: float, *, is_smoke: bool) -> None:
    """Runs in a process of its own: compiles, runs once, prints the seconds since it was started as JSON."""
    seconds = {"imports": time.time() - started}
    config = choose_config(job.preset, is_smoke=is_smoke)
    model = make_random_model(config, find_schedule(config, job), **LAYERS[job.layers])
    video = jnp.asarray(make_random_video(config))
    seconds["weights"] = time.time() - started - seconds["imports"]
    compiled, steps = compile_model(model, video)
    jax.block_until_ready(compiled(model.weights, video))
    print(json.dumps(seconds | steps | {"first_result": time.time() - started}))


def start_fresh(job: Job, cache: Path, *, is_smoke: bool) -> dict[str, float]:
    """Starts a process for a job; its compilation cache is kept in a folder.

    Args:
      job: what it compiles.
      cache: the folder.
      is_smoke: whether a tiny model stands in.

    Returns:
      Seconds of each step, and from the start to the first result.

    Raises:
      RuntimeError: it failed.
    """
    switches = ["--smoke"] if is_smoke else []
    command = [sys.executable, __file__, "--start", *job, "--started", repr(time.time()), *switches]
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_ENABLE_COMPILATION_CACHE": "1",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(job)} failed: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_starts(job: Job, repeats: int, *, is_smoke: bool) -> dict[str, Any]:
    """Starts a job with an empty cache and again with a full one, some times; returns medians and the cache's size."""
    starts: dict[str, list[dict[str, float]]] = {"first": [], "second": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for measured in starts.values():
                measured.append(start_fresh(job, Path(folder), is_smoke=is_smoke))
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return {**{name: take_medians(measured) for name, measured in starts.items()}, "cache_bytes": size}


def take_medians(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the median of each entry, seconds, rounded to ms."""
    return {name: round(statistics.median(each[name] for each in measured), 3) for name in measured[0]}


def run(presets: Sequence[str], repeats: int, starts: int, *, is_smoke: bool) -> dict[str, Any]:
    """Measures everything and returns plain data."""
    rows = []
    for preset in presets:
        config = choose_config(preset, is_smoke=is_smoke)
        jobs = list_jobs(preset)[: 1 if is_smoke else None]
        for job, measured in measure_steps(config, jobs, repeats).items():
            totals = [round(sum(each.values()), 3) for each in measured]
            row = job._asdict() | {"schedule": find_schedule(config, job)}
            row |= {"steps": take_medians(measured), "seconds": totals, "median_seconds": statistics.median(totals)}
            rows.append(row | {"starts": measure_starts(job, starts, is_smoke=is_smoke)})
    return {"dtype": "float32", "repeats": repeats, "num_starts": starts, "rows": rows}


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--starts", type=int, default=3, help="first and second starts of each [default: %(default)s]")
    parser.add_argument("--preset", choices=PRESETS, action="append", help="once or more [default: all]")
    parser.add_argument("--start", nargs=3, metavar=Job._fields, help="be one such process")
    parser.add_argument("--started", type=float, default=time.time(), help="when it was started, seconds since 1970")
    arguments = parser.parse_args(words)
    if arguments.start:
        report_start(Job(*arguments.start), arguments.started, is_smoke=arguments.smoke)
        return
    presets, repeats, starts = arguments.preset or PRESETS, arguments.repeats, arguments.starts
    if arguments.smoke:
        presets, repeats, starts = PRESETS[:1], 1, 1
    record.finish("compile", run(presets, repeats, starts, is_smoke=arguments.smoke), is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
