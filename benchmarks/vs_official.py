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
import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

_CORES = sorted(os.sched_getaffinity(0))


def parse_arguments() -> argparse.Namespace:
    """Reads the command line and pins this process, which must come before JAX and torch count processors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="umt-b16", choices=["umt-b16", "umt-l16"])
    parser.add_argument("--schedule", default="600,200,100")
    parser.add_argument("--threads", type=int, default=len(_CORES))
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, _CORES[: arguments.threads])
    return arguments


def make_runs(preset: str, schedule: str, threads: int) -> tuple[dict[str, Callable[[], Any]], dict[str, float]]:
    """Makes what is timed, and the GMACs of each.

    Args:
      preset: name of the architecture.
      schedule: of the merged runs.
      threads: for torch; JAX counts the processors that it may use.

    Returns:
      Name -> function that runs once and returns logits; name -> GMACs.

    Raises:
      RuntimeError: two of them give different logits.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch

    from checkpoints_convert import FAMILIES
    from checkpoints_convert.export import make_state_dict
    from tests.reference.official_torch import encode
    from vidtldr_jax.data.preprocessing import Preprocessing
    from vidtldr_jax.inference.checkpoint import find_param_shapes
    from vidtldr_jax.inference.model import VideoModel
    from vidtldr_jax.models import get_preset
    from vidtldr_jax.models.positions import sincos_positions
    from vidtldr_jax.reduction import count_macs

    torch.set_num_threads(threads)
    config = dataclasses.replace(get_preset(preset), final_norm=False, embed_dim=None, num_classes=400)
    rng = np.random.default_rng(0)
    params = {
        path: (0.02 * rng.standard_normal(shape) + path.endswith("scale")).astype(np.float32)
        for path, shape in find_param_shapes(config).items()
    }
    state, _ = make_state_dict(params, config, FAMILIES["single_modality"])
    tensors = {key: torch.from_numpy(values) for key, values in state.items()}
    tensors["pos_embed"] = torch.from_numpy(sincos_positions(config.grid, config.dim))[None]
    video = rng.standard_normal((1, config.num_frames, config.image_size, config.image_size, 3), np.float32)
    frames = torch.from_numpy(np.ascontiguousarray(video.transpose(0, 4, 1, 2, 3)))

    recipe = Preprocessing(num_frames=config.num_frames, image_size=config.image_size)
    plain = VideoModel(params, config, preprocessing=recipe)
    merged = plain.with_schedule(schedule)
    on_device = jnp.asarray(video)

    def run_ours(model: VideoModel) -> Callable[[], Any]:
        compiled = model.get_encode_function(video.shape).lower(model.params, on_device).compile()
        return lambda: jax.block_until_ready(compiled(model.params, on_device)).logits

    def run_torch(r: tuple[int, ...], attention: Any) -> Callable[[], Any]:
        def run() -> Any:
            with torch.inference_mode():
                return encode(tensors, frames, num_heads=config.num_heads, r=r, attention=attention).logits

        return run

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
            raise RuntimeError(f"make_runs: {name} and {other} are {apart:.2e} apart, so they don't do the same.")
        print(f"{name} and {other}: logits {apart:.1e} apart", flush=True)
    gmacs = {kind: count_macs(config, model.schedule).gmacs for kind, model in (("plain", plain), ("merged", merged))}
    return runs, {name: gmacs[name.split()[-1]] for name in runs}


def time_runs(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, list[float]]]:
    """Times all in turn; the run that checked the logits was the warm-up."""
    times: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "cpu_seconds": []} for name in runs}
    for number in range(repeats):
        for name, run in runs.items():
            cpu_start, start = time.process_time(), time.perf_counter()
            run()
            times[name]["seconds"].append(round(time.perf_counter() - start, 4))
            times[name]["cpu_seconds"].append(round(time.process_time() - cpu_start, 4))
        print(f"round {number + 1} of {repeats}", flush=True)
    return times


def main() -> None:
    """Runs from the command line."""
    arguments = parse_arguments()
    from benchmarks.record import measure_matmul_rate, write_result

    runs, gmacs = make_runs(arguments.preset, arguments.schedule, arguments.threads)
    before = measure_matmul_rate(arguments.repeats)
    times = time_runs(runs, arguments.repeats)
    after = measure_matmul_rate(arguments.repeats)
    rate = {name: max(before[name], after[name]) for name in before}
    rows = {}
    for name, measured in times.items():
        cpu = statistics.median(measured["cpu_seconds"])
        rows[name] = {
            "gmacs": round(gmacs[name], 1),
            **measured,
            "median_seconds": statistics.median(measured["seconds"]),
            "median_cpu_seconds": cpu,
            "times_floor": round(cpu / (gmacs[name] / rate["gmacs_per_cpu_second"]), 3),
        }
        print(f"{name:20} {rows[name]['median_seconds']:.2f} s, {cpu:.2f} CPU-s, {rows[name]['times_floor']} x floor")
    result = {
        "preset": arguments.preset,
        "schedule": arguments.schedule,
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "dtype": "float32",
        "torch": metadata.version("torch"),
        "matmul": {name: round(value, 1) for name, value in rate.items()},
        "rows": rows,
    }
    print(write_result(f"vs_official_{arguments.preset}_{arguments.threads}", result))


if __name__ == "__main__":
    main()
