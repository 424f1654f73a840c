"""Ours against fair rivals on one clip through UMT-B/16 or UMT-L/16, on a CPU.

    python benchmarks/vs_official.py --threads 2                 # writes results/vs_official_umt-b16_2.json
    python benchmarks/vs_official.py --threads 1
    python benchmarks/vs_official.py --preset umt-l16 --schedule 550,400

Compared in one run, alternating, same weights, same clip, same processors:

    ours plain, ours merged                 this package, jit-compiled
    torch fused plain                       torch with scaled_dot_product_attention
    official plain, official merged         the official algorithm said again in torch, two whole maps in every layer

Beside the times stands the bound: the counted multiply-accumulates at the rate of this machine's own matrix product.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from benchmarks import record

_CORES = sorted(os.sched_getaffinity(0))


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line and pins this process, which must come before JAX and torch count processors."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--preset", default="umt-b16", choices=["umt-b16", "umt-l16"])
    parser.add_argument("--schedule", default="600,200,100")
    parser.add_argument("--threads", type=int, default=len(_CORES))
    arguments = parser.parse_args(words)
    os.sched_setaffinity(0, _CORES[: arguments.threads])
    return arguments


def make_runs(
    preset: str, schedule: str, threads: int, *, is_smoke: bool
) -> tuple[dict[str, Callable[[], Any]], dict[str, float]]:
    """Makes what is timed, and the GMACs of each.

    Args:
      preset: name of the architecture.
      schedule: of the merged runs.
      threads: for torch; JAX counts the processors that it may use.
      is_smoke: whether a tiny model stands in for the preset.

    Returns:
      Name -> function that runs once and returns logits; name -> GMACs.

    Raises:
      RuntimeError: two of them give different logits.
    """
    import jax.numpy as jnp
    import numpy as np
    import torch

    from benchmarks import rivals
    from benchmarks.models import choose_config, scale_schedule
    from vidtldr_jax.inference.model import VideoModel
    from vidtldr_jax.inference.timing import make_random_model, make_random_video
    from vidtldr_jax.reduction import count_macs, parse_schedule

    torch.set_num_threads(threads)
    config = rivals.make_classifier_config(choose_config(preset, is_smoke=is_smoke))
    plain = make_random_model(config)
    merged = plain.with_schedule(scale_schedule(parse_schedule(schedule), config.num_tokens))
    tensors = rivals.make_tensors(plain)
    video = make_random_video(config)
    on_device = jnp.asarray(video)

    def run_ours(model: VideoModel) -> Callable[[], Any]:
        compiled = model.get_encode_function(video.shape).lower(model.weights, on_device).compile()
        return lambda: compiled(model.weights, on_device).logits

    run_torch = functools.partial(rivals.make_run, tensors, config, video)
    runs = {
        "ours plain": run_ours(plain),
        "ours merged": run_ours(merged),
        "torch fused plain": run_torch((), "fused"),
        "official plain": run_torch((), "official"),
        "official merged": run_torch(merged.schedule.r, "official"),
    }
    outputs = {name: np.asarray(run()) for name, run in runs.items()}
    for name, other in (
        ("torch fused plain", "ours plain"), ("official plain", "ours plain"), ("official merged", "ours merged"),
    ):  # fmt: skip
        apart = float(np.abs(outputs[name] - outputs[other]).max())
        # Random tokens are nearly alike, so rounding decides a few pairs and the merged ones differ a little more.
        if apart > 0.02 * float(np.abs(outputs[name]).max()):
            raise RuntimeError(f"{name} and {other} are {apart:.2e} apart, so they don't do the same.")
        print(f"{name} and {other}: logits {apart:.1e} apart", flush=True)
    gmacs = {kind: count_macs(config, model.schedule).gmacs for kind, model in (("plain", plain), ("merged", merged))}
    return runs, {name: gmacs[name.split()[-1]] for name in runs}


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    arguments = parse_arguments(words)
    from vidtldr_jax.inference.timing import time_in_turn

    repeats, loops = (1, 1) if arguments.smoke else (arguments.repeats, 20)
    runs, gmacs = make_runs(arguments.preset, arguments.schedule, arguments.threads, is_smoke=arguments.smoke)
    before = record.measure_matmul_rate(repeats, loops=loops)
    # The run that checked the logits was the warm-up.
    times = time_in_turn(runs, repeats=repeats, warm_up=0)
    rate = record.pick_faster(before, record.measure_matmul_rate(repeats, loops=loops))
    rows = {}
    for name, measured in times.items():
        rows[name] = {
            "gmacs": round(gmacs[name], 1),
            "seconds": [round(value, 4) for value in measured.seconds],
            "cpu_seconds": [round(value, 4) for value in measured.cpu_seconds],
            "median_seconds": round(measured.median, 4),
            "median_cpu_seconds": round(measured.cpu_median, 4),
            "times_floor": round(measured.cpu_median / (gmacs[name] / rate["gmacs_per_cpu_second"]), 3),
        }
        print(
            f"{name:20} {measured.median:.2f} s, {measured.cpu_median:.2f} CPU-s, {rows[name]['times_floor']} x floor"
        )
    result = {
        "preset": arguments.preset,
        "schedule": arguments.schedule,
        "threads": arguments.threads,
        "repeats": repeats,
        "dtype": "float32",
        "torch": metadata.version("torch"),
        "matmul": rate,
        "rows": rows,
    }
    record.finish(f"vs_official_{arguments.preset}_{arguments.threads}", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
