"""What an evaluation of a classifier found, as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidtldr_jax.cli.comparison import name_schedule
from vidtldr_jax.cli.output import format_macs, format_seconds, print_line, print_table


def print_result(result: Mapping[str, Any]) -> None:
    """Prints a result for people."""
    rows = [
        (f"{way} {head} {top.replace('_', '-')}", *_format_share(share))
        for way, found in result["ways"].items()
        for head, tops in found["accuracy"].items()
        for top, share in tops.items()
    ]
    print_table(("", "accuracy", "right", "of", "95 % interval"), rows)
    agreement = result["agreement"]
    if agreement is not None:
        lost, gained = agreement["right_only_plain"], agreement["right_only_merged"]
        print_line(
            f"both name the same on {agreement['same']} of {agreement['of']} videos; right only plain: {lost}, only "
            f"merged: {gained}"
        )
    print_line()
    for name, value in _list_facts(result):
        print_line(f"{name:<10}  {value}")


def _list_facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts, seconds = result["counts"], result["seconds"]
    videos = f"{counts['evaluated']} of {counts['listed']} listed"
    if counts["skipped_missing"]:
        videos += f"; {counts['skipped_missing']} that don't exist left out"
    if counts["unreadable_counted_as_wrong"]:
        videos += f"; {counts['unreadable_counted_as_wrong']} can't be read and count as wrong"
    if counts["with_notices"]:
        videos += f"; {counts['with_notices']} with notices, such as too few frames"
    rows = [("protocol", result["protocol"]), ("videos", videos)]
    for way, found in result["ways"].items():
        schedule = found["schedule"]
        clamped = f" ({'; '.join(schedule['clamps'])})" if schedule["clamps"] else ""
        cost = f"{format_macs(found['gmacs_per_view'] * 1e9)} GMACs per view, "
        cost += f"{format_macs(found['gmacs_per_video'] * 1e9)} per video"
        pace = found["computing_seconds_per_video"]
        cost += "" if pace is None else f", {format_seconds(pace)} of computing per video"
        rows.append((way, f"schedule {name_schedule(schedule)}{clamped}; {cost}"))
    rows.append(
        (
            "time",
            f"{format_seconds(seconds['total'])}, {format_seconds(seconds['per_video'] or 0)} per video with reading; "
            f"compiling {format_seconds(seconds['compiling_at_this_start'])}",
        )
    )
    rows.append(("device", f"{result['device']}, {result['dtype']}"))
    rows.append(("checkpoint", f"{result['checkpoint']}, SHA-256 {result['checkpoint_sha256']}"))
    return rows


def _format_share(share: Mapping[str, Any]) -> tuple[str, str, str, str]:
    if share["value"] is None:
        return "-", "0", "0", "-"
    low, high = share["interval_95"]
    return f"{share['value']:.2%}", str(share["right"]), str(share["of"]), f"{low:.2%} to {high:.2%}"
