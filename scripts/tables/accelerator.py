"""The table of what kernels and merging bring on a GPU or TPU."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_accelerator_table(result: dict[str, Any]) -> str:
    """Writes clips per second and the shares of the device's rates, case by case."""
    lines = [
        "| model | dtype | batch | variant | attention, without and with saliency | GMACs | clips per second "
        "| x plain dense | of the matrix product rate | of the peak |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in result["cases"]:
        dense = next(row for row in case["rows"] if row["variant"] == "plain dense")
        for row in case["rows"]:
            head = f"| {case['preset']} | {case['dtype']} | {case['batch_size']} | {row['variant']} "
            head += f"| {row['form']}, {row['form_where_merged']} | {row['gmacs_per_clip']} "
            if "failed" in row:
                lines.append(f"{head}| {row['failed'].split(':')[0]} | | | |")
                continue
            gain = f"{row['clips_per_second'] / dense['clips_per_second']:.2f}" if "failed" not in dense else ""
            peak = f"{row['of_peak']:.0%}" if "of_peak" in row else ""
            lines.append(f"{head}| {row['clips_per_second']:.1f} | {gain} | {row['of_product']:.0%} | {peak} |")
    lines += [
        "",
        f"{result['device']}, 12 x 224 x 224, random weights, medians of {result['repeats']} alternating runs; merged "
        f"as published for MSR-VTT. {name_origin(result, 'benchmarks/accelerator.py')}",
    ]
    return "\n".join(lines)
