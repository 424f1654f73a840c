"""The table of sending pixels instead of normalised floats."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_pixels_table(result: dict[str, Any]) -> str:
    """Writes bytes and times of a batch that is normalised on the host and of one normalised on the device."""
    parts = {"input": "preparing, sending, normalising", "model": f"the same and {result['model']}"}
    lines = [
        "| what | frames are sent as | MB per batch | milliseconds | CPU-milliseconds | x float32, of one run |",
        "|---|---|---|---|---|---|",
    ]
    for part, what in parts.items():
        rows = [row for row in result["rows"] if row["part"] == part]
        for row in rows:
            times = [1000 * seconds for seconds in row["seconds"]]
            faster = rows[0]["median_seconds"] / row["median_seconds"]
            lines.append(
                f"| {what} | {row['way']} | {row['bytes'] / 1e6:.1f} "
                f"| {1000 * row['median_seconds']:.1f} ({min(times):.1f} to {max(times):.1f}) "
                f"| {1000 * row['median_cpu_seconds']:.1f} | {faster:.2f} |"
            )
    lines += [
        "",
        "| mean and deviation of | float32 steps from the host, at most: as used | plain division by 255 |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {steps['used']} | {steps['divided']} |" for name, steps in result["steps"].items()]
    shape = " x ".join(map(str, result["shape"]))
    lines += [
        "",
        f"Batches of {shape}, {result['dtype']}, schedule {result['schedule']}, random weights, on a "
        f"{result['platform'].upper()}; medians of {result['repeats']} alternating runs. "
        f"{name_origin(result, 'benchmarks/pixels.py')}",
    ]
    return "\n".join(lines)
