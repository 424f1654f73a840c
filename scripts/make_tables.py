"""Makes the tables of the README and of docs/ from the benchmarks' JSON.

python scripts/make_tables.py           # writes them
python scripts/make_tables.py --check   # exit code 1 if a document is not in step
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def make_speed_table(result: dict[str, Any]) -> str:
    """Writes the UMT-B/16 table: time, floor and memory of every variant."""
    machine, variants = result["machine"], result["variants"]
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
        f"Random weights, batch 1, {result['repeats']} alternating runs on {machine['processor']}, "
        f"{machine['cores']} cores, jax {machine['jax']}, commit {result['commit']}, {result['date']}; "
        "`python benchmarks/umt_b16.py`.",
    ]
    return "\n".join(lines)


def make_accuracy_table(result: dict[str, Any]) -> str:
    """Writes what merging does to the shipped model's accuracy."""
    task, task_labels = result["task"], result["schedules"][0]["accuracy_by_label"]
    lines = ["| schedule | tokens | GMACs | accuracy | 95 % interval |", "|---|---|---|---|---|"]
    for row in result["schedules"]:
        low, high = row["accuracy_interval_95"]
        lines.append(
            f"| {row['schedule']} | {row['tokens'][0]} -> {row['tokens'][-1]} | {row['gmacs']:.4f} "
            f"| {row['accuracy']:.1%} | {low:.1%} to {high:.1%} |"
        )
    lines += [
        "",
        f"{result['clips']['count']} held-out clips of {len(task_labels)} motions, unseen photographs and digits; "
        f"chance is {task['chance']:.1%}, the plain model on the middle frame alone "
        f"{task['middle_frame_repeated']:.1%}, on the frames in random order {task['frames_in_random_order']:.1%}. "
        f"One trained model, float32, jax {result['versions']['jax']}; `python scripts/moving_objects/evaluate.py`.",
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
        rows, machine = result["rows"], result["machine"]
        speedup = rows["ours plain"]["median_seconds"] / rows["ours merged"]["median_seconds"]
        reduction = rows["ours plain"]["gmacs"] / rows["ours merged"]["gmacs"]
        lines.append(
            f"Threads: {result['threads']}. Merging {result['schedule']} makes ours {speedup:.2f} times as fast for "
            f"{reduction:.2f} times fewer multiply-accumulates. {result['preset']}, 12 x 224 x 224, {result['dtype']}, "
            f"medians of {result['repeats']} alternating runs, {machine['processor']}, jax {machine['jax']}, torch "
            f"{result['torch']}, commit {result['commit']}, {result['date']}; "
            f"`python benchmarks/vs_official.py --threads {result['threads']}`.\n"
        )
    return "\n".join(lines).rstrip()


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


def make_memory_table(result: dict[str, Any]) -> str:
    """Writes what converting a large checkpoint takes, from every container."""
    lines = ["| container | file | to | seconds | peak memory | of the file |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['container']} | {row['source_bytes'] / 1e9:.2f} GB | {row['dtype']} | {row['seconds']:.1f} "
        f"| {row['memory_bytes'] / 1e9:.2f} GB | {row['memory_per_source']:.2f} |"
        for row in result["rows"]
    ]
    machine = result["machine"]
    lines += [
        "",
        "Peak memory is the largest resident set of a process that converts and nothing else; the libraries alone take "
        f"about 0.2 GB, pages of a mapped file count. {machine['processor']}, {machine['cores']} cores, commit "
        f"{result['commit']}, {result['date']}; `python benchmarks/convert_memory.py`.",
    ]
    return "\n".join(lines)


# Document, marker -> files of benchmarks, what writes the table.
TABLES = {
    ("README.md", "speed"): (("umt_b16.json",), make_speed_table),
    ("README.md", "accuracy"): (("moving_objects_accuracy.json",), make_accuracy_table),
    ("docs/parity.md", "parity"): (("parity.json",), make_parity_table),
    ("docs/convert.md", "memory"): (("convert_memory.json",), make_memory_table),
    ("docs/performance.md", "rivals"): (
        ("vs_official_umt-b16_2.json", "vs_official_umt-b16_1.json"),
        make_rivals_table,
    ),
}


def fill_tables(document: str, text: str) -> str:
    """Replaces what stands between the markers of a document's tables."""
    for (place, name), (files, make) in TABLES.items():
        if place != document:
            continue
        begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
        if begin not in text or end not in text:
            raise SystemExit(f"make_tables: {document} has no markers {begin} and {end}; put them back.")
        head, rest = text.split(begin, 1)
        tail = rest.split(end, 1)[1]
        table = make(*(json.loads((RESULTS / file).read_text()) for file in files))
        text = f"{head}{begin}\n{table}\n{end}{tail}"
    return text


def main() -> int:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a document is not in step")
    check = parser.parse_args().check
    is_stale = False
    for document in dict.fromkeys(document for document, _ in TABLES):
        path = ROOT / document
        before = path.read_text()
        after = fill_tables(document, before)
        if not check:
            path.write_text(after)
        elif after != before:
            print(f"make_tables: {document} is not in step; run python scripts/make_tables.py", file=sys.stderr)
            is_stale = True
    return int(is_stale)


if __name__ == "__main__":
    sys.exit(main())
