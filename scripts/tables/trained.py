"""What each method costs in accuracy on the trained models, at every budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.accuracy_plot import tell_losses
from scripts.tables.origin import name_origin

_NAMES = {
    "moving_objects": "Motions",
    "captioned_objects": "Captions",
    "moving_objects_sparse": "Motions, control",
    "captioned_objects_sparse": "Captions, control",
}
_SUMMARY_BUDGETS = (70, 50, 30)


def make_trained_table(result: dict[str, Any]) -> str:
    """Writes every method's score at every budget, what it takes, and where vid-TLDR is beaten."""
    parts = [part for task in result["tasks"] for part in _write_task(task)]
    if "times" in result:
        parts += _write_times(result)
    parts += ["**Who is above vid-TLDR**, on average; surely where the interval leaves out 0:", ""]
    parts += [f"- {sentence}" for sentence in tell_losses(result)]
    return "\n".join([*parts, "", name_origin(result, "benchmarks/accuracy.py")])


def make_trained_summary(result: dict[str, Any]) -> str:
    """Writes the plain model, vid-TLDR, the best rival and a random choice at a few budgets."""
    lines = ["| task | tokens left | vidtldr | best other method | dropped at random |", "|---|---|---|---|---|"]
    tasks = [task for task in result["tasks"] if not task["name"].endswith("_sparse")]
    for task in tasks:
        plain = task["rows"][0]
        lines.append(f"| {_NAMES[task['name']]} | 100 % | {_format_score(plain)} (plain) | | |")
        for budget in _SUMMARY_BUDGETS:
            rows = {row["method"]: row for row in task["rows"] if row["budget"] == budget}
            best = max((row for name, row in rows.items() if name != "vidtldr"), key=lambda row: row["mean"])
            lines.append(
                f"| {_NAMES[task['name']]} | {budget} % | {_format_score(rows['vidtldr'])} "
                f"| {_format_score(best)} ({best['method']}) | {_format_score(rows['random_drop'])} |"
            )
    lines += ["", _describe_seeds(tasks)]
    return "\n".join(lines)


def _write_task(task: dict[str, Any]) -> list[str]:
    budgets = sorted({row["budget"] for row in task["rows"]} - {100}, reverse=True)
    plain = task["rows"][0]
    cells = {(row["method"], row["budget"]): row for row in task["rows"]}
    best = {budget: max(row["mean"] for row in task["rows"] if row["budget"] == budget) for budget in budgets}
    spread = ", mean and standard deviation over the seeds" if _has_seeds(task) else ", one model"
    lines = [
        f"**{_NAMES[task['name']]}**: {task['metric_in_words']}{spread}. Plain: {_format_score(plain)}.",
        "",
        f"| method | {' | '.join(f'{budget} %' for budget in budgets)} |",
        f"|---|{'---|' * len(budgets)}",
    ]
    for method in dict.fromkeys(row["method"] for row in task["rows"][1:]):
        rows = [cells[method, budget] for budget in budgets]
        scores = (_format_score(row, is_best=row["mean"] == best[row["budget"]]) for row in rows)
        lines.append(f"| {method} | {' | '.join(scores)} |")
    lines += ["", *_write_differences(task, budgets), ""]
    lines += _write_fates(task) if "fates" in task else []
    return [*lines, _describe_controls(task), ""]


def _write_differences(task: dict[str, Any], budgets: Sequence[int]) -> list[str]:
    over = "clips and seeds" if _has_seeds(task) else "clips"
    lines = [
        f"Points above vid-TLDR, with the 95 % interval over {over}; **bold** where it leaves out 0:",
        "",
        f"| method | {' | '.join(f'{budget} %' for budget in budgets)} |",
        f"|---|{'---|' * len(budgets)}",
    ]
    cells = {(row["method"], row["budget"]): row["to_vidtldr"] for row in task["rows"]}
    for method in dict.fromkeys(row["method"] for row in task["rows"][1:]):
        if method != "vidtldr":
            said = (_format_difference(cells[method, budget]) for budget in budgets)
            lines.append(f"| {method} | {' | '.join(said)} |")
    return lines


def _write_fates(task: dict[str, Any]) -> list[str]:
    fates = task["fates"]
    cells = {(row["method"], row["budget"]): row for row in fates["rows"]}
    budgets = sorted({budget for _, budget in cells}, reverse=True)
    lines = [
        f"Where the tokens go, in the first model on {fates['clips']} of the clips; {fates['object_share']:.0%} of all "
        "tokens show an object that the task is about. A cell: tokens left per token of an object / of the background; "
        "of the objects' tokens, those that share one with background, and those that vanished:",
        "",
        f"| method | {' | '.join(f'{budget} %' for budget in budgets)} |",
        f"|---|{'---|' * len(budgets)}",
    ]
    for method in dict.fromkeys(method for method, _ in cells):
        rows = (cells[method, budget] for budget in budgets)
        lines.append(f"| {method} | {' | '.join(_format_fate(row) for row in rows)} |")
    return [*lines, ""]


def _format_fate(row: dict[str, Any]) -> str:
    detail = f"{row['object_detail']:.2f} / {row['background_detail']:.2f}"
    return f"{detail}, {row['object_mixed']:.0%} mixed, {row['object_vanished']:.0%} gone"


def _write_times(result: dict[str, Any]) -> list[str]:
    times = result["times"]
    cells = {(row["method"], row["budget"]): row for row in times["rows"]}
    budgets = sorted({budget for _, budget in cells}, reverse=True)
    lines = [
        "**Time**: measured, as a share of the plain model's in the same rounds, and in brackets the "
        "multiply-accumulates' share.",
        "",
        f"| method | {' | '.join(f'{budget} %' for budget in budgets)} |",
        f"|---|{'---|' * len(budgets)}",
    ]
    plain = result["tasks"][0]["rows"][0]["gmacs"]
    for method in dict.fromkeys(method for method, _ in cells):
        rows = (cells[method, budget] for budget in budgets)
        lines.append(f"| {method} | {' | '.join(_format_time(row, plain) for row in rows)} |")
    return [
        *lines,
        "",
        f"Batch {times['batch']}, {times['dtype']}, medians of {times['repeats']} alternating runs, "
        f"{times['machine']['processor']}, {times['machine']['cores']} cores, commit {times['commit']}, "
        f"{times['date']}.",
        "",
    ]


def _describe_seeds(tasks: Sequence[dict[str, Any]]) -> str:
    parts = (
        f"{_NAMES[task['name']]}: {task['metric_in_words']}, {len(task['models'])} trained models, "
        f"{task['about']['clips']} held-out clips"
        for task in tasks
    )
    return "; ".join(parts) + ". Mean and standard deviation over the models; no training for fewer tokens."


def _describe_controls(task: dict[str, Any]) -> str:
    parts = (f"{name.replace('_', ' ')} {sum(values) / len(values):.1%}" for name, values in task["controls"].items())
    models = f"{len(task['models'])} models" if _has_seeds(task) else "1 model"
    return f"{task['about']['clips']} held-out clips, {models}. Controls: {', '.join(parts)}."


def _has_seeds(task: dict[str, Any]) -> bool:
    return len(task["models"]) > 1


def _format_score(row: dict[str, Any], *, is_best: bool = False) -> str:
    score = f"{100 * row['mean']:.1f}" + (f" ± {100 * row['spread']:.1f}" if len(row["scores"]) > 1 else "")
    return f"**{score}**" if is_best else score


def _format_time(row: dict[str, Any], plain_gmacs: float) -> str:
    return f"{row['ratio']:.2f} ({row['gmacs'] / plain_gmacs:.2f})"


def _format_difference(difference: dict[str, float]) -> str:
    mean, low, high = (100 * difference[name] for name in ("mean", "low", "high"))
    text = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"**{text}**" if low > 0 or high < 0 else text
