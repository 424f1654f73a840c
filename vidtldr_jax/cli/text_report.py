"""What evaluations of a UMT say alike: of the run as plain data, of data and costs as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vidtldr_jax.cli.comparison import describe_schedule, name_schedule
from vidtldr_jax.cli.output import format_macs, format_seconds
from vidtldr_jax.cli.runtime import describe_device
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.reduction.cost import count_macs


def describe_clips(recipe: Preprocessing) -> str:
    """Says in a few words what of a video is looked at."""
    within = "" if recipe.first_seconds is None else f" of the first {recipe.first_seconds:g} s"
    shape = "squashed to" if recipe.resize == "squash" else f"shortest edge {recipe.shortest_edge}, centre"
    size = f"{recipe.image_size} x {recipe.image_size}"
    return f"{recipe.num_frames} frames ({recipe.sampling}){within}, {shape} {size}, {recipe.kernel}"


def describe_run(
    model: VideoModel,
    *,
    protocol: str,
    counts: Mapping[str, int],
    seconds: Mapping[str, Any],
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
    errors: Mapping[str, str],
    skipped: Sequence[str],
) -> dict[str, Any]:
    """Returns what is known of an evaluation beside its outcome.

    Args:
      model: that was evaluated.
      protocol: in one line; numbers compare where it is the same.
      counts: of videos, texts and so on.
      seconds: by part of the work.
      config: fields of the config file; empty without one.
      facts: more to be written down, of no meaning here.
      errors: videos that give nothing.
      skipped: videos that don't exist and were left out.

    Returns:
      Plain data for JSON.
    """
    return {
        "protocol": protocol,
        "dataset": config.get("dataset"),
        "split": config.get("split"),
        "counts": dict(counts),
        "schedule": describe_schedule(model.schedule),
        "gmacs_per_video": count_macs(model.config, model.schedule).gmacs,
        "published": config.get("published"),
        "seconds_of_this_start": dict(seconds),
        "dtype": str(model.dtype),
        "device": describe_device(),
        "preprocessing": model.preprocessing.to_dict(),
        **facts,
        "errors": dict(errors),
        "skipped": list(skipped),
    }


def list_data(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lists what was evaluated on: data set and split where a config names them, and the annotation."""
    named = [("data set", f"{result['dataset']}, split {result['split']}")] if result["dataset"] else []
    return [*named, ("annotation", f"{result['annotation']}, SHA-256 {result['annotation_sha256']}")]


def list_costs(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lists what every evaluation of a UMT says of its costs: schedule, time, device, checkpoint."""
    schedule = result["schedule"]
    clamped = f" ({'; '.join(schedule['clamps'])})" if schedule["clamps"] else ""
    cost = f"{format_macs(result['gmacs_per_video'] * 1e9)} GMACs of the video encoder per video"
    times = [
        f"{part['done']} {name} in {format_seconds(part['seconds'])}"
        for name, part in result["seconds_of_this_start"].items()
        if part["done"]
    ]
    return [
        ("schedule", f"{name_schedule(schedule)}{clamped}; {cost}"),
        ("time", f"{', '.join(times) or 'nothing was left to do'}; reading and compiling are in it"),
        ("device", f"{result['device']}, {result['dtype']}"),
        ("checkpoint", f"{result['checkpoint']}, SHA-256 {result['checkpoint_sha256']}"),
    ]
