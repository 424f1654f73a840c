"""What accuracy.json says, as a plot and in sentences: where is vid-TLDR beaten, and by whom?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.method_plot import Panel, Point, draw_panels

TITLES = {"moving_objects": "Motions of two digits", "captioned_objects": "Captioned cut-outs"}
_MEASURES = {"moving_objects": "accuracy, %", "captioned_objects": "R@1, %"}


def draw_plot(result: dict[str, Any], path: Path) -> Path:
    """Draws accuracy against measured time and against multiply-accumulates, a row for each task; no controls.

    Args:
      result: of the benchmark, with both stages.
      path: of the picture.

    Returns:
      The path.
    """
    times = {(row["method"], row["budget"]): row["ratio"] for row in result["times"]["rows"]}
    panels = []
    for task in result["tasks"]:
        if task["name"] not in TITLES:
            continue
        plain, *rows = task["rows"]
        points: dict[str, list[Point]] = {}
        for row in rows:
            time = times.get((row["method"], row["budget"]))
            point = Point(100 * row["mean"], 100 * row["spread"], row["gmacs"] / plain["gmacs"], time)
            points.setdefault(row["method"], []).append(point)
        panels.append(Panel(TITLES[task["name"]], _MEASURES[task["name"]], 100 * plain["mean"], points))
    return draw_panels(panels, path)


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
