"""The table of where the time goes."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin

_NAMES = {
    "patches": "patch embedding",
    "projections": "projections (query, key, value, output)",
    "attention": "attention",
    "saliency": "saliency (attention with it less attention without)",
    "matching": "matching",
    "merging": "merging",
    "mlp": "MLP",
    "norms": "norms",
    "rest": "rest (the whole less the parts)",
    "whole": "**whole model**",
}


def make_floor_table(result: dict[str, Any]) -> str:
    """Writes each part's time, its bound, and its share of the time above the bound."""
    lines = [
        "| model | part | GMACs | ms | CPU-ms | at the matrix product rate | above | share of what is above |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in result["models"].values():
        schedule = "plain" if model["schedule"] == "none" else f"merged {model['schedule']}"
        for name, part in model["parts"].items():
            if part["cpu_seconds"] == 0:
                continue
            lines.append(
                f"| {schedule} | {_NAMES[name]} | {part['gmacs']:.1f} | {part['seconds'] * 1000:.1f} "
                f"| {part['cpu_seconds'] * 1000:.1f} | {part['floor_cpu_seconds'] * 1000:.1f} "
                f"| {part['cpu_seconds_above'] * 1000:.1f} | {part['share_of_time_above']:.0%} |"
            )
    lines += [
        "",
        f"{result['preset']}, {' x '.join(map(str, result['shape']))}, {result['dtype']}, medians of "
        f"{result['repeats']} rounds in which every part and both models run once; matrix product "
        f"{result['matmul']['gmacs_per_cpu_second']:.0f} GMAC per CPU-second; "
        f"{name_origin(result, 'benchmarks/floor.py')}",
    ]
    return "\n".join(lines)
