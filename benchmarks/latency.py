"""Is a schedule as fast as `vidtldr plan --latency-ms` predicts?

    python benchmarks/latency.py          # writes results/latency.json

The shipped model, UMT-B/16 and VideoMAE-B (random weights, float32), one clip a run and several. Pieces of each are
timed anew as `vidtldr plan` times them, then schedules of several shapes for two thirds of the plain model's
multiply-accumulates are run beside the plain model, in turn, for 20 seconds at least (51 rounds at most). "error" is of
seconds, lower quartiles as in a table; "relative error" of the time in units of the plain model's, which a drift of the
machine's speed between the two steps does not touch. Where the plain model itself, which is no prediction, drifted by
more than 5 % between them, both steps are repeated, three times at most; the try with the smallest drift counts, and
what the others gave is kept beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from benchmarks import record
from benchmarks.models import choose_config
from vidtldr_jax.inference.latency_table import LatencyTable, measure_latency
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import make_random_model, make_random_video, measure_models
from vidtldr_jax.reduction.planner import plan_schedule

SHIPPED: Final = "moving-objects"
_SPEEDUP: Final = 1.5
_STEADY: Final = 0.05
_MOST_TRIES: Final = 3
_SECONDS_OF_RUNS: Final = 20.0
_MOST_REPEATS: Final = 51


class Setting(NamedTuple):
    """A model and how many clips it gets in a run."""

    name: str
    batch_size: int


SETTINGS: Final = (
    Setting(SHIPPED, 1), Setting(SHIPPED, 16), Setting("umt-b16", 1), Setting("umt-b16", 2), Setting("videomae-b16", 1),
)  # fmt: skip


def open_model(name: str, *, is_smoke: bool) -> VideoModel:
    """Returns the model of a setting; its schedule is none."""
    if name == SHIPPED:
        return load_model(name)
    return make_random_model(choose_config(name, is_smoke=is_smoke))


def measure(setting: Setting, repeats: int, *, is_smoke: bool) -> dict[str, Any]:
    """Predicts and runs schedules of one setting, anew where the machine drifted; returns plain data."""
    model = open_model(setting.name, is_smoke=is_smoke)
    tries: list[dict[str, Any]] = []
    while not tries or (not is_smoke and len(tries) < _MOST_TRIES and tries[-1]["drift"] > _STEADY):
        tries.append(measure_once(model, setting, repeats, is_smoke=is_smoke))
        print(f"{setting.name}, {setting.batch_size} clips: plain drifted by {tries[-1]['drift']:.1%}", flush=True)
    chosen = min(tries, key=lambda one: one["drift"])
    others = [
        {"drift": one["drift"], "errors": [row["error"] for row in one["rows"]]} for one in tries if one is not chosen
    ]
    return {**chosen, "tries": len(tries), "other_tries": others}


def measure_once(model: VideoModel, setting: Setting, repeats: int, *, is_smoke: bool) -> dict[str, Any]:
    """Predicts and runs schedules of one setting; returns plain data."""
    start = time.perf_counter()
    table = measure_latency(model, batch_size=setting.batch_size)
    seconds = time.perf_counter() - start
    plan = plan_schedule(model.config, speedup=_SPEEDUP)
    chosen = plan.proposals[:1] if is_smoke else plan.proposals
    models = {"plain": model} | {one.shape: model.with_schedule(one.schedule) for one in chosen}
    video = make_random_video(model.config, batch_size=setting.batch_size)
    seconds_of_round = sum(table.predict(one.schedule) for one in models.values())
    if not is_smoke:  # a machine can be slow for seconds
        repeats = max(repeats, min(_MOST_REPEATS, math.ceil(_SECONDS_OF_RUNS / seconds_of_round)))
    measured = measure_models(models, video, repeats=repeats)
    plain = measured["plain"].lower_quartile
    rows = [
        {
            "shape": shape,
            "schedule": one.schedule.text,
            "predicted_seconds": table.predict(one.schedule),
            "seconds": list(measured[shape].seconds),
            "lower_quartile_seconds": measured[shape].lower_quartile,
            **compare(table, table.predict(one.schedule), measured[shape].lower_quartile, plain),
        }
        for shape, one in models.items()
    ]
    drift = round(abs(table.plain / plain - 1), 4)
    return {**setting._asdict(), "drift": drift, "table_seconds": seconds, "table": table.to_dict(), "rows": rows}


def compare(table: LatencyTable, predicted: float, seconds: float, plain: float) -> dict[str, float]:
    """Returns how far a prediction is off, in seconds and in units of the plain model's time."""
    return {
        "error": round(predicted / seconds - 1, 4),
        "relative_error": round(predicted / table.plain / (seconds / plain) - 1, 4),
    }


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--only", help="one model, such as umt-b16; its result is printed and not written")
    arguments = parser.parse_args(words)
    settings = [setting for setting in SETTINGS if arguments.only in (None, setting.name)]
    if arguments.smoke:
        settings, arguments.repeats = [Setting("umt-b16", 1)], 1
    found = []
    for setting in settings:
        found.append(measure(setting, arguments.repeats, is_smoke=arguments.smoke))
        if not arguments.smoke:
            print(*(f"{row['shape']}: {row['error']:+.1%}" for row in found[-1]["rows"]), sep="; ", flush=True)
    result = {"dtype": "float32", "repeats": arguments.repeats, "settings": found}
    record.finish("latency", result, is_smoke=arguments.smoke or arguments.only is not None)


if __name__ == "__main__":
    main()
