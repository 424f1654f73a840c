"""UMT-B/16 on one clip of 12 x 224 x 224, random weights: plain, merged, and the machine's own limit.

    python benchmarks/umt_b16.py --repeats 7

Compared in one run, alternating: plain and merged (600,200,100), attention one head at a time and dense. Next to them
stands the bound: the multiply-accumulates that were counted, at the rate of this machine's own matrix product (the
projection shape, measured in the same run). Peak resident memory comes from one fresh process per variant.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from benchmarks import peak_memory, record
from benchmarks.models import MSRVTT, choose_config, scale_schedule
from vidtldr_jax import ops
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import make_random_model, make_random_video, measure_models
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.reduction import count_macs

PRESET = "umt-b16"
VARIANTS: dict[str, tuple[tuple[int, ...], ops.AttentionForm]] = {
    "plain": ((), "by_head"),
    "merged": (MSRVTT, "by_head"),
    "plain_dense": ((), "dense"),
    "merged_dense": (MSRVTT, "dense"),
}


def make_models(config: VideoViTConfig, names: Sequence[str]) -> dict[str, VideoModel]:
    """Makes the variants with the same random weights."""
    shared = make_random_model(config)
    models = {}
    for name in names:
        r, attention = VARIANTS[name]
        schedule = scale_schedule(r, config.num_tokens)
        models[name] = VideoModel(
            shared.weights, config, preprocessing=shared.preprocessing, schedule=schedule, attention=attention
        )
    return models


def measure_memory(config: VideoViTConfig, name: str) -> peak_memory.Peak:
    """Measures one variant in this process."""
    model = make_models(config, [name])[name]
    return peak_memory.measure_model(model, make_random_video(config))


def run(repeats: int, *, is_smoke: bool) -> dict[str, Any]:
    """Measures everything and returns plain data."""
    config = choose_config(PRESET, is_smoke=is_smoke)
    models, video = make_models(config, list(VARIANTS)), make_random_video(config)
    loops = 1 if is_smoke else 20
    before = record.measure_matmul_rate(repeats, loops=loops)
    measured = measure_models(models, video, repeats=repeats)
    rate = record.pick_faster(before, record.measure_matmul_rate(repeats, loops=loops))
    rows = {}
    for name, result in measured.items():
        cost = count_macs(models[name].config, models[name].schedule)
        memory = measure_memory(config, name) if is_smoke else peak_memory.run_fresh(__file__, "--memory-of", name)
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
            "activation_peak_bytes": memory.activation_bytes,
        }
    return {
        "preset": PRESET,
        "shape": list(video.shape),
        "dtype": "float32",
        "repeats": repeats,
        "matmul": rate,
        "variants": rows,
    }


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--memory-of", choices=list(VARIANTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.memory_of:
        peak_memory.report(measure_memory(choose_config(PRESET, is_smoke=arguments.smoke), arguments.memory_of))
        return
    result = run(1 if arguments.smoke else arguments.repeats, is_smoke=arguments.smoke)
    record.finish("umt_b16", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
