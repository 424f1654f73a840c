"""What accuracy.json says, as a plot and in sentences: where is vid-TLDR beaten, and by whom?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

TITLES = {"moving_objects": "Motions of two digits: accuracy", "captioned_objects": "Captioned cut-outs: R@1"}
_STYLES = {  # colour and dash: methods that merge are solid, those that drop dashed, controls dotted
    "vidtldr": ("#c1121f", "-"),
    "vidtldr_uniform": ("#f4845f", "-"),
    "saliency_match": ("#9d4edd", "-"),
    "tome": ("#0353a4", "-"),
    "tome_mean_keys": ("#61a5c2", "-"),
    "drop_salient": ("#c1121f", "--"),
    "evit": ("#2d6a4f", "--"),
    "svitt": ("#74c69d", "--"),
    "representation_shift": ("#b08968", "--"),
    "rlt": ("#ffb703", "--"),
    "random_merge": ("#343a40", ":"),
    "random_drop": ("#adb5bd", ":"),
}


def draw_plot(result: dict[str, Any], path: Path) -> Path:
    """Draws accuracy against measured time and against multiply-accumulates, a row for each task; no controls.

    Args:
      result: of the benchmark, with both stages.
      path: of the picture.

    Returns:
      The path.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    times = {(row["method"], row["budget"]): row["ratio"] for row in result["times"]["rows"]}
    tasks = [task for task in result["tasks"] if task["name"] in TITLES]
    figure, grid = plt.subplots(len(tasks), 2, figsize=(11, 4.2 * len(tasks)), squeeze=False, layout="constrained")
    for (by_time, by_macs), task in zip(grid, tasks, strict=True):
        plain = find_row(task, "plain", 100)
        for name, (colour, dash) in _STYLES.items():
            rows = [row for row in task["rows"] if row["method"] == name]
            if not rows:
                continue
            scores, error = [100 * row["mean"] for row in rows], [100 * row["spread"] for row in rows]
            look = {"color": colour, "linestyle": dash, "marker": "o", "markersize": 3, "linewidth": 1.4}
            wide = {"linewidth": 2.6, "zorder": 5} if name == "vidtldr" else {}
            ratios = [times.get((name, row["budget"])) for row in rows]
            if None not in ratios:
                by_time.errorbar(ratios, scores, error, elinewidth=0.5, label=name, **(look | wide))
            macs = [row["gmacs"] / plain["gmacs"] for row in rows]
            by_macs.errorbar(macs, scores, error, elinewidth=0.5, label=name, **(look | wide))
        for axes, what in ((by_time, "measured time"), (by_macs, "multiply-accumulates")):
            axes.plot(1, 100 * plain["mean"], "k*", markersize=11, zorder=6)
            axes.set(xlabel=f"{what}, share of the plain model's", ylabel="%", title=TITLES[task["name"]])
            axes.grid(alpha=0.3)
    handles, labels = grid[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return path


def find_row(task: dict[str, Any], method: str, budget: int) -> dict[str, Any]:
    """Returns one row of a task."""
    return next(row for row in task["rows"] if (row["method"], row["budget"]) == (method, budget))


def tell_losses(result: dict[str, Any]) -> Iterator[str]:
    """Says for each task and budget who beats vid-TLDR, and with which certainty.

    Args:
      result: of the benchmark.

    Yields:
      A sentence for each.
    """
    for task in result["tasks"]:
        for budget in sorted({row["budget"] for row in task["rows"]} - {100}, reverse=True):
            rows = [row for row in task["rows"] if row["budget"] == budget]
            ours = next(row for row in rows if row["method"] == "vidtldr")
            better = sorted((row for row in rows if row["mean"] > ours["mean"]), key=lambda row: -row["mean"])
            names = [
                f"{row['method']} by {100 * row['to_vidtldr']['mean']:.1f} points"
                + (" (surely)" if row["to_vidtldr"]["low"] > 0 else "")
                for row in better
            ]
            said = "beaten by " + ", ".join(names) if names else "not beaten"
            yield f"{task['name']}, {budget} % of the tokens: vidtldr at {ours['mean']:.1%} is {said}"
