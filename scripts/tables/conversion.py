"""Tables of conversions: how exact they are and what they take."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_parity_table(result: dict[str, Any]) -> str:
    """Writes how far every converted model is from its original."""
    lines = [
        "| model | family | weights from | compared with | outputs | furthest output | largest difference | relative "
        "| allowed | way back |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        cells = (
            *(row[name] for name in ("name", "family", "container", "compared_with", "num_outputs", "worst")),
            *(f"{row[name]:.1e}" for name in ("max_abs", "max_rel", "tolerance")),
            row["way_back"],
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    machine, versions = result["machine"], result["versions"]
    lines += [
        "",
        f"{len(result['rows'])} conversions on {result['date']}, {machine['processor']}, jax {machine['jax']}, flax "
        f"{machine['flax']}, torch {versions['torch']}, transformers {versions['transformers']}, commit "
        f"{result['commit']}; {result['precision']} matmul precision; `python benchmarks/parity.py`.",
    ]
    return "\n".join(lines)


def make_conversion_memory_table(result: dict[str, Any]) -> str:
    """Writes what converting a large checkpoint takes, from every container."""
    lines = ["| container | file | to | seconds | peak memory | of the file |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['container']} | {row['source_bytes'] / 1e9:.2f} GB | {row['dtype']} | {row['seconds']:.1f} "
        f"| {row['memory_bytes'] / 1e9:.2f} GB | {row['memory_per_source']:.2f} |"
        for row in result["rows"]
    ]
    lines += [
        "",
        "Peak memory is the largest resident set of a process that converts and nothing else; the libraries alone take "
        f"about 0.2 GB, pages of a mapped file count. {name_origin(result, 'benchmarks/convert_memory.py')}",
    ]
    return "\n".join(lines)
