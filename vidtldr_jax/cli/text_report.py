"""What evaluations of retrieval and answers say alike of data and costs, as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidtldr_jax.cli.comparison import name_schedule
from vidtldr_jax.cli.output import format_macs, format_seconds


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
