"""What merging does to accuracy."""

from __future__ import annotations

from typing import Any


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
