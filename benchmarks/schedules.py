"""Does every published schedule bring the time that its multiply-accumulates promise?

    python benchmarks/schedules.py --preset umt-b16      # writes results/schedules_umt-b16.json
    python benchmarks/schedules.py --preset umt-l16

One clip of 12 x 224 x 224 through the plain model and through each published schedule, random weights that all share,
float32. All are compiled ahead of time; every round runs each once. Tasks with the same schedule are one row.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks import record
from benchmarks.models import Published, choose_config, read_published, scale_schedule
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import Measurement, make_random_model, make_random_video, measure_models
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.reduction.cost import count_macs


def describe(published: Published, model: VideoModel, measured: Measurement) -> dict[str, Any]:
    """Returns what one schedule costs and took, as plain data."""
    return {
        "names": list(published.names),
        "schedule": model.schedule.text,
        "tokens_out": model.schedule.tokens[-1],
        "published_gmacs": published.gmacs,
        "gmacs": round(count_macs(model.config, model.schedule).gmacs, 4),
        "compile_seconds": round(measured.compile_seconds, 2),
        "seconds": [round(value, 4) for value in measured.seconds],
        "cpu_seconds": [round(value, 4) for value in measured.cpu_seconds],
        "median_seconds": round(measured.median, 4),
        "median_cpu_seconds": round(measured.cpu_median, 4),
    }


def compare(plain: dict[str, Any], row: dict[str, Any]) -> dict[str, float]:
    """Says how much less a schedule costs and how much faster it is than the plain model."""
    mac_reduction = plain["gmacs"] / row["gmacs"]
    speedup = plain["median_seconds"] / row["median_seconds"]
    by_round = statistics.median(a / b for a, b in zip(plain["seconds"], row["seconds"], strict=True))
    return {
        "mac_reduction": round(mac_reduction, 4),
        "speedup": round(speedup, 4),
        "speedup_by_round": round(by_round, 4),
        "cpu_speedup": round(plain["median_cpu_seconds"] / row["median_cpu_seconds"], 4),
        "realised_share": round(speedup / mac_reduction, 4),
    }


def run(config: VideoViTConfig, preset: str, published: Sequence[Published], repeats: int) -> dict[str, Any]:
    """Measures published schedules, the plain model among them, and returns plain data."""
    plain = make_random_model(config)
    models = {
        ", ".join(entry.names): plain.with_schedule(scale_schedule(entry.r, config.num_tokens)) for entry in published
    }
    video = make_random_video(config)
    measured = measure_models(models, video, repeats=repeats)
    rows = [describe(entry, models[name], measured[name]) for entry, name in zip(published, models, strict=True)]
    without = next(row for row in rows if row["schedule"] == "none")
    return {
        "preset": preset,
        "shape": list(video.shape),
        "dtype": "float32",
        "repeats": repeats,
        "plain": without,
        "rows": [row | compare(without, row) for row in rows if row is not without],
    }


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--preset", choices=["umt-b16", "umt-l16"], default="umt-b16")
    arguments = parser.parse_args(words)
    config = choose_config(arguments.preset, is_smoke=arguments.smoke)
    published = read_published(arguments.preset)
    if arguments.smoke:
        published, arguments.repeats = published[:2], 1
    result = run(config, arguments.preset, published, arguments.repeats)
    record.finish(f"schedules_{arguments.preset}", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
