"""Tables of what the TPUs' compiler makes of models, their parts, and attention; no TPU has run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scripts.tables.origin import name_origin


def make_tpu_compile_table(result: dict[str, Any]) -> str:
    """Writes compile time and planned memory of each program on each TPU."""
    lines = [
        "| TPU | program | dtype | compile, s | CPU-s | temporary memory | arguments | output |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['device']} | {row['program']} | {row['dtype']} | {row['compile_seconds']:.1f} "
        f"| {row['compile_cpu_seconds']:.1f} | {_list_memory(row)} |"
        for row in result["rows"]
    ]
    loads = [row["load"] for row in result["rows"] if "load" in row]
    load = f" Load of the machine before each: {min(loads):.0f} to {max(loads):.0f}, on two cores." if loads else ""
    lines += [
        "",
        "*kernel* and *blocked*: one layer of UMT-B/16 with saliency, 2352 tokens; models: batch 1, merged as "
        f"published for MSR-VTT, blocks after the last reduction under one scan.{load} Compiled once each by libtpu "
        f"{result['libtpu']} on {name_origin(result, 'benchmarks/tpu_compile.py')}",
    ]
    return "\n".join(lines)


def make_tpu_parts_table(result: dict[str, Any]) -> str:
    """Writes what each part of a layer costs and how long it compiles."""
    lines = [
        "| TPU | clip | batch | part | tokens | absorbed | GFLOPs | MB moved | estimate, us | compile, s | CPU-s "
        "| temporary memory | arguments | output |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['device']} | {row['clip']} | {row['batch']} | {row['part']} | {row['num_tokens']} "
        f"| {row['r'] or ''} | {row['flops'] / 1e9:.2f} | {row['bytes'] / 1e6:.0f} | {row['seconds'] * 1e6:.0f} "
        f"| {row['compile_seconds']:.1f} | {row['compile_cpu_seconds']:.1f} | {_list_memory(row)} |"
        for row in result["rows"]
    ]
    lines += [
        "",
        f"{result['preset']}, bfloat16. Every figure is a compiler's estimate (XLA's cost analysis); nothing was run. "
        "Of *attention, kernel* it is a roofline of our own count, which the kernel declares (`pl.CostEstimate`), not "
        "of what was scheduled. Of *attention, blocked* the loop's repeats are added, and bytes that stay in on-chip "
        "memory count as moved. Of float32 products in full precision (*match*, *merge, one_hot*) operations count "
        f"once that take six passes. The machine was shared: a load of {result['load_at_start']:.0f} at the start and "
        f"{result['load_at_end']:.0f} at the end on two cores. libtpu {result['libtpu']}, "
        f"{name_origin(result, 'benchmarks/tpu_parts.py')}",
    ]
    return "\n".join(lines)


def make_tpu_models_table(result: dict[str, Any]) -> str:
    """Writes the sums of all layers' parts."""
    lines = [
        "| TPU | clip | model | attention | merging | GFLOPs | MB moved | estimate, ms | plain / this |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model in result["models"]:
        plain = _find_plain(result["models"], model)
        lines.append(
            f"| {model['device']} | {model['clip']} | {'merged' if model['is_merged'] else 'plain'} "
            f"| {_name_form(model['attention'])} | {_name_form(model['merging'])} | {model['flops'] / 1e9:.0f} "
            f"| {model['bytes'] / 1e6:.0f} | {model['seconds'] * 1e3:.2f} "
            f"| {plain['seconds'] / model['seconds']:.2f} |"
        )
    lines += [
        "",
        f"{result['preset']}, batch 1, bfloat16: sums of the parts below, a compiler's estimates as they are.",
    ]
    return "\n".join(lines)


def make_tpu_cycles_table(result: dict[str, Any]) -> str:
    """Writes the scheduled cycles of attention with saliency by form."""
    lines = [
        "| TPU | tokens | form | tile | cycles, thousands | of them sharpness | x blocked |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        where = (row["device"], row["num_tokens"])
        blocked = next(r for r in result["rows"] if (r["device"], r["num_tokens"], r["form"]) == (*where, "blocked"))
        sharpness = f"{row['sharpness'] / 1e3:.0f}" if "sharpness" in row else ""
        lines.append(
            f"| {row['device']} | {row['num_tokens']} | {row['form']} | {row.get('tile', '')} "
            f"| {row['cycles'] / 1e3:.0f} | {sharpness} | {row['cycles'] / blocked['cycles']:.2f} |"
        )
    lines += [
        "",
        f"One layer of {result['heads']} heads of {result['channels']} channels, batch 1, bfloat16, with saliency and "
        "sizes. A static profile of what the compiler scheduled, not a measurement: nothing waits for memory in it. "
        "Kernels are without the padding and transposing around them. "
        f"libtpu {result['libtpu']}, {name_origin(result, 'benchmarks/tpu_cycles.py')}",
    ]
    return "\n".join(lines)


def _find_plain(models: Sequence[dict[str, Any]], model: dict[str, Any]) -> dict[str, Any]:
    place = (model["device"], model["clip"], model["attention"])
    return next(m for m in models if (m["device"], m["clip"], m["attention"]) == place and not m["is_merged"])


def _name_form(part: str | None) -> str:
    return part.partition(", ")[2] if part else ""


def _list_memory(row: dict[str, Any]) -> str:
    return " | ".join(f"{row[f'{kind}_bytes'] / 2**20:.1f} MiB" for kind in ("temporary", "argument", "output"))
