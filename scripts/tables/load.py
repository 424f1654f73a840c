"""The table of what digests cost while a checkpoint is loaded."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_load_table(result: dict[str, Any]) -> str:
    """Write the seconds of each way of reading, and the ratio."""
    lines = [
        "| checkpoint | weights | compared, s | not compared, s | ratio | comparison, s/GB | the library alone, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        seconds = {name: way["cpu_seconds"] for name, way in row["ways"].items()}
        compared, plain = seconds["compared"], seconds["not compared"]
        lines.append(
            f"| {row['preset']} | {row['bytes'] / 1e9:.2f} GB | {compared:.2f} | {plain:.2f} | {compared / plain:.1f} "
            f"| {(compared - plain) / (row['bytes'] / 1e9):.2f} | {seconds['library']:.2f} |"
        )
    lines += [
        "",
        f"Seconds of the processor, medians of {result['repeats']} alternating runs, float32, files in the system's "
        "cache, SHA-256 by the processor's own instructions; "
        f"{name_origin(result, 'benchmarks/load.py')}",
    ]
    return "\n".join(lines)
