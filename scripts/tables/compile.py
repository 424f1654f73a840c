"""The table of compile times."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_compile_table(result: dict[str, Any]) -> str:
    """Writes the seconds of each step, and of a first and a second start."""
    lines = [
        "| model | schedule | layers | trace, s | lower, s | compile, s | sum, s | first start, s | second start, s "
        "| its compile step, s | cache, MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        steps, starts = row["steps"], row["starts"]
        lines.append(
            f"| {row['preset']} | {row['schedule']} | {row['layers']} | {steps['trace']:.2f} | {steps['lower']:.2f} "
            f"| {steps['compile']:.2f} | {row['median_seconds']:.2f} ({min(row['seconds']):.2f} to "
            f"{max(row['seconds']):.2f}) | {starts['first']['first_result']:.1f} "
            f"| {starts['second']['first_result']:.1f} | {starts['second']['compile']:.2f} "
            f"| {starts['cache_bytes'] / 1e6:.1f} |"
        )
    lines += [
        "",
        f"{result['dtype']}; steps: medians of {result['repeats']} alternating runs without caches; starts: from the "
        "start of a process to its first result, imports and making random weights included, medians of "
        f"{result['num_starts']}; {name_origin(result, 'benchmarks/compile.py')}",
    ]
    return "\n".join(lines)
