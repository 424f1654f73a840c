"""What few labels bring a converted model."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_few_labels_table(result: dict[str, Any]) -> str:
    """Writes accuracies before, after probing and after fine-tuning, on plain and merged models."""
    schedule, before = result["schedule"], result["before"]
    lines = [
        f"| labels per class | what is trained | accuracy, plain | accuracy, merged ({schedule}) | seconds |",
        "|---|---|---|---|---|",
        f"| 0 | nothing | {before['plain']['accuracy']:.1%} | {before['merged']['accuracy']:.1%} | |",
    ]
    for row in result["rows"]:
        cells = [f"{row[name]['mean']:.1%} ({row[name]['lowest']:.1%} to {row[name]['highest']:.1%})" for name in
                 ("plain", "merged")]  # fmt: skip
        seconds = sorted(row["seconds"])
        lines.append(
            f"| {row['k']} | {_name(row)}, {row['steps']} steps | {cells[0]} | {cells[1]} "
            f"| {f'{seconds[0]:.0f} to {seconds[-1]:.0f}' if seconds else ''} |"
        )
    low, high = before["plain"]["interval_95"]
    look = result["look"]
    lines += [
        "",
        f"Mean, lowest and highest of {result['seeds']} seeds: each chooses other labelled videos, orders and clips. "
        f"{before['plain']['of']} held-out H.264 videos of {look['pixels']} x {look['pixels']} pixels in a look that "
        f"the model was not trained for; the plain model's {before['plain']['accuracy']:.1%} has a 95 % interval of "
        f"{low:.1%} to {high:.1%}. Seconds are of one run from start to end, compiling included, on a machine that "
        f"others used too. {name_origin(result, 'benchmarks/few_labels.py')}",
    ]
    return "\n".join(lines)


def _name(row: dict[str, Any]) -> str:
    if row["way"] == "probe":
        return "the classifier alone"
    schedule = row["schedule_in_training"]
    return "all" if schedule == "none" else f"all, merging {schedule} while training"
