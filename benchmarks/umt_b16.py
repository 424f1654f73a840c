"""UMT-B/16 on one clip of 12 x 224 x 224, random weights: plain, merged, and the machine's own limit.

    python benchmarks/umt_b16.py --repeats 7

Compared in one run, alternating: plain and merged (600,200,100), attention one head at a time and dense. Next to them
stands the bound: the multiply-accumulates that were counted, at the rate of this machine's own matrix product (the
projection shape, measured in the same run). Peak resident memory comes from one fresh process per variant.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import record
from vidtldr_jax import ops
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.measure import measure_models
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models import VideoViT, get_preset
from vidtldr_jax.reduction import count_macs

PRESET = "umt-b16"
SCHEDULE = "600,200,100"
VARIANTS: dict[str, tuple[str | None, ops.AttentionForm]] = {
    "plain": (None, "by_head"),
    "merged": (SCHEDULE, "by_head"),
    "plain_dense": (None, "dense"),
    "merged_dense": (SCHEDULE, "dense"),
}


def make_models(names: list[str]) -> dict[str, VideoModel]:
    """Makes the variants with the same random weights."""
    config = get_preset(PRESET)
    clip = jax.ShapeDtypeStruct((1, config.num_frames, config.image_size, config.image_size, 3), jnp.float32)
    params = jax.jit(VideoViT(config).init)(jax.random.key(0), jnp.zeros(clip.shape))["params"]
    preprocessing = Preprocessing(num_frames=config.num_frames, image_size=config.image_size)
    return {
        name: VideoModel(
            params, config, preprocessing=preprocessing, schedule=VARIANTS[name][0], attention=VARIANTS[name][1]
        )
        for name in names
    }


def make_clip() -> np.ndarray:
    """Makes one normalised random clip."""
    config = get_preset(PRESET)
    shape = (1, config.num_frames, config.image_size, config.image_size, 3)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def measure_peak_memory(name: str) -> dict[str, int]:
    """Runs one variant in a fresh process; returns its resident memory before and at the peak, bytes."""
    command = [sys.executable, __file__, "--memory-of", name]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])


def report_peak_memory(name: str) -> None:
    """Runs in the fresh process: weights in place, program compiled, one run; prints resident memory as JSON."""
    model, clip = make_models([name])[name], jnp.asarray(make_clip())
    compiled = model.get_encode_function(clip.shape).lower(model.params, clip).compile()
    with open("/proc/self/statm") as statm:
        before = int(statm.read().split()[1]) * resource.getpagesize()
    # The counter of the peak starts again from here.
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")
    jax.block_until_ready(compiled(model.params, clip))
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    print(json.dumps({"resident_before": before, "resident_peak": peak}))


def run(repeats: int) -> dict[str, Any]:
    """Measures everything and returns plain data."""
    models = make_models(list(VARIANTS))
    rate = record.measure_matmul_rate(repeats)
    measured = measure_models(models, make_clip(), repeats=repeats)
    rate_after = record.measure_matmul_rate(repeats)
    rate = {key: max(rate[key], rate_after[key]) for key in rate}
    rows = {}
    for name, result in measured.items():
        cost = count_macs(models[name].config, models[name].schedule)
        memory = measure_peak_memory(name)
        rows[name] = {
            "schedule": models[name].schedule.text,
            "attention": VARIANTS[name][1],
            "tokens_out": models[name].schedule.tokens[-1],
            "gmacs": round(cost.gmacs, 1),
            "compile_seconds": round(result.compile_seconds, 2),
            "seconds": [round(value, 4) for value in result.seconds],
            "median_seconds": round(result.median, 4),
            "cpu_seconds": [round(value, 4) for value in result.cpu_seconds],
            "median_cpu_seconds": round(result.cpu_median, 4),
            "floor_seconds": round(cost.gmacs / rate["gmacs_per_second"], 4),
            "floor_cpu_seconds": round(cost.gmacs / rate["gmacs_per_cpu_second"], 4),
            "planned_bytes": result.memory_bytes,
            "activation_peak_bytes": memory["resident_peak"] - memory["resident_before"],
        }
    return {
        "preset": PRESET,
        "shape": list(make_clip().shape),
        "dtype": "float32",
        "repeats": repeats,
        "matmul": {key: round(value, 1) for key, value in rate.items()},
        "variants": rows,
    }


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory-of", choices=list(VARIANTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        report_peak_memory(arguments.memory_of)
        return
    print(record.write_result("umt_b16", run(arguments.repeats)))


if __name__ == "__main__":
    main()
