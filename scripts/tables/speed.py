"""Tables of time: the variants of one model, and rivals."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_speed_table(result: dict[str, Any]) -> str:
    """Writes the UMT-B/16 table: time, floor and memory of every variant."""
    variants = result["variants"]
    plain, merged = variants["plain"], variants["merged"]
    names = {
        "plain": "plain, attention head by head",
        "merged": f"**merged {merged['schedule']}, attention head by head**",
        "plain_dense": "plain, dense attention",
        "merged_dense": "merged, dense attention",
    }
    lines = [
        "| UMT-B/16, 12 x 224 x 224, float32 | GMACs | tokens out | seconds (median) | CPU-seconds | x floor "
        "| peak activations |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in variants.items():
        ratio = row["median_cpu_seconds"] / row["floor_cpu_seconds"]
        lines.append(
            f"| {names[name]} | {row['gmacs']} | {row['tokens_out']} | {row['median_seconds']:.2f} "
            f"({min(row['seconds']):.2f} to {max(row['seconds']):.2f}) | {row['median_cpu_seconds']:.2f} "
            f"| {ratio:.2f} | {row['activation_peak_bytes'] / 2**20:.0f} MiB |"
        )
    rate = result["matmul"]["gmacs_per_cpu_second"]
    speedup = plain["median_seconds"] / merged["median_seconds"]
    reduction = plain["gmacs"] / merged["gmacs"]
    share = merged["activation_peak_bytes"] / variants["merged_dense"]["activation_peak_bytes"]
    lines += [
        "",
        f"Merging is {speedup:.2f} times as fast as plain for {reduction:.2f} times fewer multiply-accumulates; "
        f"attention head by head needs {share:.0%} of the dense form's memory. The floor is the counted "
        f"multiply-accumulates at this machine's own matrix product rate ({rate:.0f} GMAC per CPU-second). "
        f"Random weights, batch 1, {result['repeats']} alternating runs on "
        f"{name_origin(result, 'benchmarks/umt_b16.py')}",
    ]
    return "\n".join(lines)


def make_rivals_table(*results: dict[str, Any]) -> str:
    """Writes ours against torch's fused attention and the official algorithm, one part per number of threads."""
    lines = [
        "| | threads | GMACs | seconds | CPU-seconds | x floor | ours merged is faster by |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        ours = result["rows"]["ours merged"]
        for name, row in result["rows"].items():
            ratio = row["median_seconds"] / ours["median_seconds"]
            lines.append(
                f"| {name} | {result['threads']} | {row['gmacs']} | {row['median_seconds']:.2f} "
                f"({min(row['seconds']):.2f} to {max(row['seconds']):.2f}) | {row['median_cpu_seconds']:.2f} "
                f"| {row['times_floor']:.2f} | {'' if row is ours else f'{ratio:.2f}'} |"
            )
    lines.append("")
    for result in results:
        command = f"benchmarks/vs_official.py --threads {result['threads']}"
        rows = result["rows"]
        speedup = rows["ours plain"]["median_seconds"] / rows["ours merged"]["median_seconds"]
        reduction = rows["ours plain"]["gmacs"] / rows["ours merged"]["gmacs"]
        lines.append(
            f"Threads: {result['threads']}. Merging {result['schedule']} makes ours {speedup:.2f} times as fast for "
            f"{reduction:.2f} times fewer multiply-accumulates. {result['preset']}, 12 x 224 x 224, {result['dtype']}, "
            f"medians of {result['repeats']} alternating runs, torch {result['torch']}, "
            f"{name_origin(result, command)}\n"
        )
    return "\n".join(lines).rstrip()
