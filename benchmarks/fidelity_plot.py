"""What fidelity.json says, as a plot: cosine to the unmerged feature against cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.method_plot import Panel, Point, draw_panels
from vidtldr_jax.reduction.methods import METHODS


def draw_plot(result: dict[str, Any], path: Path) -> Path:
    """Draws cosines against measured time and multiply-accumulates: settings with several budgets, or the first one.

    Args:
      result: of the benchmark, with both stages.
      path: of the picture.

    Returns:
      The path.
    """
    settings = [setting for setting in result["settings"] if len({row["budget"] for row in setting["rows"]}) > 2]
    panels = [_make_panel(setting, result["times"]["rows"]) for setting in settings or result["settings"][:1]]
    return draw_panels(panels, path)


def _make_panel(setting: dict[str, Any], times: list[dict[str, Any]]) -> Panel:
    """Collects the points of one setting; a cell without a schedule, such as single frames, is no point of a line."""
    ratios = {
        (row["method"], row["budget"]): row["ratio"]
        for row in times
        if (row["encoder"], row["num_frames"]) == (setting["encoder"], setting["num_frames"])
    }
    plain, *rows = setting["rows"]
    points: dict[str, list[Point]] = {}
    for row in rows:
        if row["method"] not in METHODS:
            continue
        time = ratios.get((row["method"], row["budget"]))
        points.setdefault(row["method"], []).append(Point(row["cosine"], 0.0, row["gmacs"] / plain["gmacs"], time))
    title = f"{setting['encoder']} on {setting['num_clips']} real clips, {setting['num_frames']} frames"
    return Panel(title, "cosine to the unmerged feature", 1.0, points)
