"""How does time grow with the tokens of a clip, and with the batch?

    python benchmarks/scaling.py          # writes results/scaling.json

UMT-B/16, 224 x 224, float32, random weights: 8, 16, 32 and 64 frames at batch 1, and batch 1 to 16 at 8 frames, plain
and merged (the same shares of the tokens as 600,200,100 of 2352), in turn at each size. Exponents are least-squares
slopes of log time over log size, beside those of the counted multiply-accumulates. Sizes that take long run less often;
every row says how often, and whether there was a warm-up before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks import record
from benchmarks.models import MSRVTT, choose_config, scale_schedule
from vidtldr_jax.inference.timing import make_random_model, make_random_video, measure_models
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.reduction.cost import count_macs

PRESET: Final = "umt-b16"
# GMACs of a whole batch from which on there are at most so many runs; the last have no warm-up either.
FEWER_FROM: Final = ((700.0, 3), (2200.0, 2))


class Point(NamedTuple):
    """One size.

    Attributes:
      axis: what the point belongs to: "tokens", "batch", or "both".
      frames: of a clip.
      batch: clips.
    """

    axis: str
    frames: int
    batch: int


def list_points(frames: Sequence[int], batches: Sequence[int]) -> list[Point]:
    """Lists the sizes; the smallest belongs to both axes."""
    first = Point("both", frames[0], batches[0])
    longer = [Point("tokens", count, batches[0]) for count in frames[1:]]
    return [first, *longer, *(Point("batch", frames[0], count) for count in batches[1:])]


def plan_runs(gmacs: float, repeats: int) -> tuple[int, int]:
    """Returns counted runs and warm-ups of a batch of so many GMACs."""
    few = [at_most for start, at_most in FEWER_FROM if gmacs >= start]
    return min([repeats, *few]), 0 if len(few) == len(FEWER_FROM) else 1


def measure_point(config: VideoViTConfig, point: Point, repeats: int) -> list[dict[str, Any]]:
    """Measures plain and merged at one size."""
    video = make_random_video(config, batch_size=point.batch, num_frames=point.frames)
    tokens = config.count_tokens(*video.shape[1:4])
    plain = make_random_model(config)
    models = {"plain": plain, "merged": plain.with_schedule(scale_schedule(MSRVTT, tokens))}
    schedules = {form: model.schedule_for(video.shape) for form, model in models.items()}
    gmacs = {
        form: count_macs(config, schedule, num_frames=point.frames).gmacs * point.batch
        for form, schedule in schedules.items()
    }
    counted, warm_up = plan_runs(gmacs["plain"], repeats)
    measured = measure_models(models, video, repeats=counted, warm_up=warm_up)
    return [
        {
            **point._asdict(),
            "form": form,
            "tokens": tokens,
            "schedule": schedules[form].text,
            "gmacs": gmacs[form],
            "repeats": counted,
            "warm_up": warm_up,
            "compile_seconds": round(result.compile_seconds, 2),
            "seconds": [round(value, 4) for value in result.seconds],
            "cpu_seconds": [round(value, 4) for value in result.cpu_seconds],
            "median_seconds": round(result.median, 5),
            "median_cpu_seconds": round(result.cpu_median, 5),
        }
        for form, result in measured.items()
    ]


def fit_exponents(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fits time and counted cost over tokens and over batch.

    Args:
      rows: from `measure_point`.

    Returns:
      For each axis and form the exponents of "median_seconds", "median_cpu_seconds" and "gmacs".
    """
    fits = []
    for axis in ("tokens", "batch"):
        for form in ("plain", "merged"):
            points = [row for row in rows if row["axis"] in (axis, "both") and row["form"] == form]
            sizes = np.log([row[axis] for row in points])
            slopes = {
                name: round(float(np.polyfit(sizes, np.log([row[name] for row in points]), 1)[0]), 3)
                for name in ("median_seconds", "median_cpu_seconds", "gmacs")
            }
            fits.append({"axis": axis, "form": form, "points": len(points), **slopes})
    return fits


def run(config: VideoViTConfig, points: Sequence[Point], repeats: int) -> dict[str, Any]:
    """Measures all sizes and returns plain data."""
    rows = []
    for point in points:
        rows += measure_point(config, point, repeats)
        medians = ", ".join(f"{row['form']} {row['median_seconds']:.2f} s" for row in rows[-2:])
        print(f"{point.frames} frames, batch {point.batch}: {medians}", flush=True)
    size = {"image_size": config.image_size, "dtype": "float32"}
    return {"preset": PRESET, **size, "repeats": repeats, "rows": rows, "exponents": fit_exponents(rows)}


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--frames", default="8,16,32,64", help="at the smallest batch [default: %(default)s]")
    parser.add_argument("--batches", default="1,2,4,8,16", help="at the fewest frames [default: %(default)s]")
    arguments = parser.parse_args(words)
    if arguments.smoke:
        arguments.frames, arguments.batches, arguments.repeats = "4,8", "1,2", 1
    frames, batches = ([int(n) for n in text.split(",")] for text in (arguments.frames, arguments.batches))
    config = choose_config(PRESET, is_smoke=arguments.smoke)
    record.finish("scaling", run(config, list_points(frames, batches), arguments.repeats), is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
