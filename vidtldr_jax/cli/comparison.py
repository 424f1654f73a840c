"""Plain against merged on this machine: what both cost and took, as plain data and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vidtldr_jax.cli.output import format_bytes, format_macs, format_seconds

if TYPE_CHECKING:
    import numpy as np

    from vidtldr_jax.inference.model import VideoModel
    from vidtldr_jax.inference.predictions import Prediction
    from vidtldr_jax.inference.timing import Measurement

MEMORY_MEANING = "input, outputs and temporaries as the compiler planned them, without the weights"
FEWEST_FOR_CERTAINTY = 5


def compare_models(model: VideoModel, video: np.ndarray, *, repeats: int) -> dict[str, Any]:
    """Measures a model without and with its schedule.

    Args:
      model: with the schedule.
      video: `[B, T, Y, X, C]`, the batch.
      repeats: counted runs of each, in turn.

    Returns:
      "plain" and "merged" (see `describe_run`), "mac_ratio" and "speedup": plain over merged, and "pays": whether the
      merged model is the faster one, with "is_certain": there are enough runs, and their middle halves do not overlap.
    """
    import numpy as np

    from vidtldr_jax.inference.timing import measure_models

    models = {"plain": model.with_schedule(None), "merged": model}
    measured = measure_models(models, video, repeats=repeats)
    result: dict[str, Any] = {name: describe_run(models[name], video.shape, measured[name]) for name in models}
    plain, merged = measured["plain"], measured["merged"]
    result["mac_ratio"] = result["plain"]["gmacs"] / result["merged"]["gmacs"]
    result["speedup"] = plain.median / merged.median
    result["pays"] = merged.median < plain.median
    faster, slower = (merged, plain) if result["pays"] else (plain, merged)
    is_apart = bool(np.quantile(faster.seconds, 0.75) < np.quantile(slower.seconds, 0.25))
    result["is_certain"] = is_apart and repeats >= FEWEST_FOR_CERTAINTY
    return result


def name_schedule(schedule: Mapping[str, Any]) -> str:
    """Returns the title of a schedule from its plain data: its text, and the method where it matters."""
    from vidtldr_jax.reduction.methods import DEFAULT_METHOD

    is_usual = not any(schedule["r"]) or schedule["method"] == DEFAULT_METHOD.name
    return schedule["text"] if is_usual else f"{schedule['text']} by {schedule['method']}"


def describe_run(model: VideoModel, shape: tuple[int, ...], measured: Measurement) -> dict[str, Any]:
    """Returns what one model costs and took on a batch, as plain data; GMACs are per clip."""
    from vidtldr_jax.reduction.cost import count_macs

    schedule = model.schedule_for(shape)
    return {
        "schedule": schedule.to_dict(),
        "gmacs": count_macs(model.config, schedule, num_frames=shape[1]).gmacs,
        "compile_seconds": measured.compile_seconds,
        "median_seconds": measured.median,
        "min_seconds": min(measured.seconds),
        "max_seconds": max(measured.seconds),
        "seconds": list(measured.seconds),
        "memory_bytes": measured.memory_bytes,
    }


def list_rows(result: Mapping[str, Any], *, compile_label: str) -> list[tuple[str, str, str]]:
    """Lists name, plain and merged of everything in a comparison but predictions."""
    runs = [result["plain"], result["merged"]]
    cells = {
        "tokens per layer": [format_tokens(run["schedule"]["tokens"]) for run in runs],
        "GMACs per clip": [format_macs(run["gmacs"] * 1e9) for run in runs],
        "time, median": [format_seconds(run["median_seconds"]) for run in runs],
        f"  fastest to slowest of {len(runs[0]['seconds'])}": [
            f"{format_seconds(run['min_seconds'])} to {format_seconds(run['max_seconds'])}" for run in runs
        ],
        compile_label: [format_seconds(run["compile_seconds"]) for run in runs],
        "peak memory (planned)": [format_bytes(run["memory_bytes"]) for run in runs],
    }
    return [(name, plain, merged) for name, (plain, merged) in cells.items()]


def list_predictions(
    plain: Sequence[Prediction] | None, merged: Sequence[Prediction] | None
) -> list[tuple[str, str, str]]:
    """Lists name, plain and merged of the most probable classes; nothing without a classifier."""
    from vidtldr_jax.inference.predictions import format_percent

    def write(one: Prediction) -> str:
        return f"{one['label']} {format_percent(one)}"

    pairs = enumerate(zip(plain or (), merged or ()), start=1)
    return [(f"prediction {number}", write(first), write(second)) for number, (first, second) in pairs]


def summarise_gain(result: Mapping[str, Any]) -> str:
    """Says in one sentence what merging brought, next to what its multiply-accumulates promise."""
    macs, speed = result["mac_ratio"], result["speedup"]
    certainty = "" if result["is_certain"] else "; not certain, for the runs overlap or are few: take more --repeats"
    return f"merged: {macs:.2f} x fewer multiply-accumulates, {speed:.2f} x the speed{certainty}"


def warn_of_loss(result: Mapping[str, Any]) -> str | None:
    """Returns a warning where merging does not pay on this machine, or None."""
    if result["pays"]:
        return None
    return (
        f"merging does not pay here: {format_seconds(result['merged']['median_seconds'])} merged, "
        f"{format_seconds(result['plain']['median_seconds'])} plain; on so few tokens matching and merging cost more "
        "than they save; take a larger clip, batch or model, or a schedule that merges more in the first layers."
    )


def format_tokens(tokens: list[int]) -> str:
    """Writes the tokens that come into each layer and those that leave the last; long equal runs are counted."""
    runs: list[list[int]] = []
    for count in tokens[:-1]:
        if runs and runs[-1][0] == count:
            runs[-1][1] += 1
        else:
            runs.append([count, 1])
    if tokens[-1] != tokens[-2]:
        runs.append([tokens[-1], 1])
    return " > ".join(f"{count} (x{times})" if times > 1 else str(count) for count, times in runs)
