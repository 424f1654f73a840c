"""Makes the README's tables from the benchmarks' JSON.

python scripts/readme_tables.py           # writes them
python scripts/readme_tables.py --check   # exit code 1 if the README is not in step
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"


def make_speed_table(result: dict[str, Any]) -> str:
    """Writes the UMT-B/16 table: time, floor and memory of every variant."""
    machine, variants = result["machine"], result["variants"]
    plain, merged = variants["plain"], variants["merged"]
    names = {
        "plain": "plain, blocked attention",
        "merged": f"**merged {merged['schedule']}, blocked attention**",
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
        f"blocked attention needs {share:.0%} of the dense form's memory. The floor is the counted "
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


TABLES = {
    "speed": ("umt_b16.json", make_speed_table),
    "accuracy": ("moving_objects_accuracy.json", make_accuracy_table),
}


def fill_tables(text: str) -> str:
    """Replaces what stands between the markers of every table."""
    for name, (file, make) in TABLES.items():
        begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
        if begin not in text or end not in text:
            raise SystemExit(f"readme_tables: README.md has no markers {begin} and {end}; put them back.")
        head, rest = text.split(begin, 1)
        tail = rest.split(end, 1)[1]
        table = make(json.loads((RESULTS / file).read_text()))
        text = f"{head}{begin}\n{table}\n{end}{tail}"
    return text


def main() -> int:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the README is not in step")
    check = parser.parse_args().check
    before = README.read_text()
    after = fill_tables(before)
    if not check:
        README.write_text(after)
    elif after != before:
        print("readme_tables: README.md is not in step; run python scripts/readme_tables.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
