"""What few labels bring a converted model."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_few_labels_table(result: dict[str, Any]) -> str:
    """Writes accuracies before, after probing and after fine-tuning, on plain and merged models."""
    schedule, before = result["schedule"], result["before"]
    lines = [
        f"| labels per class | what is trained | accuracy, plain | gain, points | accuracy, merged ({schedule}) "
        "| gain, points |",
        "|---|---|---|---|---|---|",
        f"| 0 | nothing | {before['plain']['accuracy']:.1%} | | {before['merged']['accuracy']:.1%} | |",
    ]
    for row in result["rows"]:
        cells = [cell for name in ("plain", "merged") for cell in (_describe(row[name]), _describe_gain(row[name]))]
        lines.append(f"| {row['k']} | {_name(row)}, {row['steps']} steps | {' | '.join(cells)} |")
    low, high = before["plain"]["interval_95"]
    look = result["look"]
    lines += [
        "",
        f"{_describe_seeds(result['seeds'])} "
        f"{before['plain']['of']} held-out H.264 videos of {look['pixels']} x {look['pixels']} pixels in a look that "
        f"the model was not trained for; the plain model's {before['plain']['accuracy']:.1%} has a 95 % interval of "
        f"{low:.1%} to {high:.1%}. A gain is of the same videos, plain over plain and merged over merged, with its "
        f"95 % interval over videos and seeds. {name_origin(result, 'benchmarks/few_labels.py')}",
    ]
    return "\n".join(lines)


def _name(row: dict[str, Any]) -> str:
    if row["way"] == "probe":
        return "the classifier alone"
    schedule = row["schedule_in_training"]
    return "all" if schedule == "none" else f"all, merging {schedule} while training"


def _describe(accuracy: dict[str, Any]) -> str:
    mean, lowest, highest = (f"{accuracy[name]:.1%}" for name in ("mean", "lowest", "highest"))
    return mean if len(accuracy["by_seed"]) == 1 else f"{mean} ({lowest} to {highest})"


def _describe_gain(accuracy: dict[str, Any]) -> str:
    low, high = accuracy["gain_interval_95"]
    return f"{100 * accuracy['gain']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _describe_seeds(count: int) -> str:
    what = "labelled videos, orders and clips"
    if count == 1:
        return f"One seed, which chooses {what}; another one would choose others."
    return f"Mean, lowest and highest of {count} seeds: each chooses other {what}."
