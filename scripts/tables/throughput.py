"""The table of decoding and computing at the same time."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_throughput_table(result: dict[str, Any]) -> str:
    """Writes videos per second of decoding, computing and both, for every model."""
    lines = [
        "| model | schedule | what | videos per second | CPU-seconds per video | seconds to the first video |",
        "|---|---|---|---|---|---|",
    ]
    count = result["videos"]["count"]
    for row in result["rows"]:
        first = row["median_first_seconds"]
        slowest, fastest = count / max(row["seconds"]), count / min(row["seconds"])
        lines.append(
            f"| {row['model']}, {row['frames']} x {row['image_size']} x {row['image_size']}, {row['gmacs']} GMACs "
            f"| {row['schedule']} | {row['variant']} | {row['videos_per_second']:.2f} ({slowest:.2f} to {fastest:.2f}) "
            f"| {row['cpu_seconds_per_video']:.3f} | {'' if first is None else f'{first:.2f}'} |"
        )
    videos = result["videos"]
    lines += [
        "",
        f"{videos['count']} H.264 videos of {videos['frames']} frames, {videos['width']} x {videos['height']}, "
        f"{videos['bytes'] / videos['count'] / 1e3:.0f} kB each; batch {result['batch_size']}, {result['dtype']}, the "
        f"preset with random weights; medians of {result['repeats']} rounds in turn. Workers and their start count. "
        f"{name_origin(result, 'benchmarks/throughput.py')}",
    ]
    return "\n".join(lines)
