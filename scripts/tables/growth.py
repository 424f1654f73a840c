"""Tables of what grows with the clip: memory and time."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


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
    processes = "one process" if result["repeats"] == 1 else f"medians of {result['repeats']} processes"
    share = ours["median_activation_bytes"] / official["median_activation_bytes"]
    lines += [
        "",
        f"Ours merged needs {share:.0%} of the official algorithm's activations. {result['preset']}, batch 1, "
        f"{result['image_size']} x {result['image_size']}, {result['dtype']}, random weights; {processes} "
        f"each, with the weights and libraries in the last column; {name_origin(result, 'benchmarks/memory.py')}",
    ]
    return "\n".join(lines)


def make_scaling_table(result: dict[str, Any]) -> str:
    """Writes time over tokens and over batch, and the exponents that fit."""
    lines = [
        "| frames | batch | tokens | form | GMACs | seconds | CPU-seconds | runs | merged is faster by |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    plain_seconds: dict[tuple[int, int], float] = {}
    for row in result["rows"]:
        size, median = (row["frames"], row["batch"]), row["median_seconds"]
        plain = plain_seconds.setdefault(size, median)  # the plain model stands first at each size
        faster = "" if row["form"] == "plain" else f"{plain / median:.2f}"
        lines.append(
            f"| {row['frames']} | {row['batch']} | {row['tokens']} | {row['form']} | {row['gmacs']:.0f} "
            f"| {median:.2f} ({min(row['seconds']):.2f} to {max(row['seconds']):.2f}) "
            f"| {row['median_cpu_seconds']:.2f} | {row['repeats']}{'' if row['warm_up'] else ', no warm-up'} "
            f"| {faster} |"
        )
    lines += ["", "| exponent over | form | time | CPU time | GMACs |", "|---|---|---|---|---|"]
    lines += [
        f"| {fit['axis']} ({fit['points']} sizes) | {fit['form']} | {fit['median_seconds']:.2f} "
        f"| {fit['median_cpu_seconds']:.2f} | {fit['gmacs']:.2f} |"
        for fit in result["exponents"]
    ]
    lines += [
        "",
        f"{result['preset']}, {result['image_size']} x {result['image_size']}, {result['dtype']}, random weights, "
        f"medians; {name_origin(result, 'benchmarks/scaling.py')}",
    ]
    return "\n".join(lines)


def _find(rows: list[dict[str, Any]], who: str, form: str, frames: int) -> dict[str, Any]:
    return next(row for row in rows if (row["who"], row["form"], row["frames"]) == (who, form, frames))
