"""The table of every published schedule."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_schedules_table(*results: dict[str, Any]) -> str:
    """Writes what every published schedule of a model saves and brings, one part per model."""
    lines = [
        "| model | schedule | published for | tokens out | GMACs (published) | seconds | fewer MACs | faster "
        "| by round | share realised | compile, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        plain = result["plain"]
        lines.append(
            f"| {result['preset']} | none | | {plain['tokens_out']} | {_format_gmacs(plain)} | {_format_times(plain)} "
            f"| | | | | {plain['compile_seconds']:.1f} |"
        )
        lines += [
            f"| {result['preset']} | {row['schedule']} | {', '.join(row['names'])} | {row['tokens_out']} "
            f"| {_format_gmacs(row)} | {_format_times(row)} | {row['mac_reduction']:.2f} | {row['speedup']:.2f} "
            f"| {row['speedup_by_round']:.2f} | {row['realised_share']:.2f} | {row['compile_seconds']:.1f} |"
            for row in result["rows"]
        ]
    lines.append("")
    for result in results:
        command = f"benchmarks/schedules.py --preset {result['preset']}"
        shares = [row["realised_share"] for row in result["rows"]]
        lines.append(
            f"{result['preset']}: the speed-up is {min(shares):.2f} to {max(shares):.2f} of what the "
            f"multiply-accumulates promise. {' x '.join(map(str, result['shape']))}, {result['dtype']}, medians of "
            f"{result['repeats']} alternating runs, "
            f"{name_origin(result, command)}\n"
        )
    return "\n".join(lines).rstrip()


def _format_gmacs(row: dict[str, Any]) -> str:
    return f"{row['gmacs']:.1f} ({row['published_gmacs']:.1f})"


def _format_times(row: dict[str, Any]) -> str:
    return f"{row['median_seconds']:.2f} ({min(row['seconds']):.2f} to {max(row['seconds']):.2f})"
