"""What fidelity.json says, as a plot: cosine to the unmerged feature against cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.method_plot import Panel, Point, draw_panels


def draw_plot(result: dict[str, Any], path: Path) -> Path:
    """Draws the first setting's cosines against measured time and multiply-accumulates.

    Args:
      result: of the benchmark, with both stages.
      path: of the picture.

    Returns:
      The path.
    """
    setting = result["settings"][0]
    plain, *rows = setting["rows"]
    times = {
        (row["method"], row["budget"]): row["ratio"]
        for row in result["times"]["rows"]
        if (row["encoder"], row["num_frames"]) == (setting["encoder"], setting["num_frames"])
    }
    points: dict[str, list[Point]] = {}
    for row in rows:
        time = times.get((row["method"], row["budget"]))
        points.setdefault(row["method"], []).append(Point(row["cosine"], 0.0, row["gmacs"] / plain["gmacs"], time))
    title = f"{setting['encoder']} on {setting['num_clips']} real clips, {setting['num_frames']} frames"
    return draw_panels([Panel(title, "cosine to the unmerged feature", 1.0, points)], path)
