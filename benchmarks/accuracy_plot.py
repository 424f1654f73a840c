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
    """Says for each task who is above vid-TLDR on average, by how much at most, and where that is sure.

    Args:
      result: of the benchmark.

    Yields:
      A sentence for each task.
    """
    for task in result["tasks"]:
        ahead: dict[str, list[dict[str, Any]]] = {}
        for row in task["rows"][1:]:
            if row["to_vidtldr"]["mean"] > 0:
                ahead.setdefault(row["method"], []).append(row)
        most = {name: max(rows, key=lambda row: row["to_vidtldr"]["mean"]) for name, rows in ahead.items()}
        said = []
        for name in sorted(most, key=lambda name: -most[name]["to_vidtldr"]["mean"]):
            text = f"{name} by up to {100 * most[name]['to_vidtldr']['mean']:.1f} points (at {most[name]['budget']} %)"
            sure = [str(row["budget"]) for row in ahead[name] if row["to_vidtldr"]["low"] > 0]
            said.append(text + (f", surely at {', '.join(sure)} %" if sure else ""))
        yield f"{task['name'].replace('_', ' ')}: {'; '.join(said) or 'nobody'}"
