"""Tables of what grows with the clip: memory and time."""

from __future__ import annotations

from typing import Any


def make_memory_table(result: dict[str, Any]) -> str:
    """Writes how much memory one run needs, ours beside rivals and over the tokens of a clip."""
    rows = result["rows"]
    official = _find(rows, "official", "merged", rows[0]["frames"])
    ours = _find(rows, "ours", "merged", rows[0]["frames"])
    lines = [
        "| | frames | tokens | schedule | activations, MiB | bytes per token | whole process, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['who']} {row['form']} | {row['frames']} | {row['tokens']} | {row['schedule']} "
        f"| {row['median_activation_bytes'] / 2**20:.0f} ({min(row['activation_bytes']) / 2**20:.0f} to "
        f"{max(row['activation_bytes']) / 2**20:.0f}) | {row['median_activation_bytes'] / row['tokens']:.0f} "
        f"| {row['median_peak_bytes'] / 2**20:.0f} |"
        for row in rows
    ]
    machine = result["machine"]
    share = ours["median_activation_bytes"] / official["median_activation_bytes"]
    lines += [
        "",
        f"Ours merged needs {share:.0%} of the official algorithm's activations. {result['preset']}, batch 1, "
        f"{result['image_size']} x {result['image_size']}, {result['dtype']}, random weights; medians of "
        f"{result['repeats']} processes each, with the weights and libraries in the last column; "
        f"{machine['processor']}, {machine['cores']} cores, jax {machine['jax']}, commit {result['commit']}, "
        f"{result['date']}; `python benchmarks/memory.py`.",
    ]
    return "\n".join(lines)


def _find(rows: list[dict[str, Any]], who: str, form: str, frames: int) -> dict[str, Any]:
    return next(row for row in rows if (row["who"], row["form"], row["frames"]) == (who, form, frames))
