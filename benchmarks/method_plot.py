"""One look for the plots that compare methods: a measure against time and against multiply-accumulates."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vidtldr_jax.reduction.methods import METHODS

_CONTROLS = ("random_merge", "random_drop")
_COLOURS = (
    "#c1121f", "#f4845f", "#9d4edd", "#0353a4", "#61a5c2", "#7f5539", "#2d6a4f", "#74c69d", "#b08968", "#ffb703",
)  # fmt: skip


class Point(NamedTuple):
    """One method at one budget.

    Attributes:
      value: of the measure.
      spread: half the length of its bar; 0 for none.
      macs: share of the plain model's multiply-accumulates.
      time: share of the plain model's time; None where it was not measured.
    """

    value: float
    spread: float
    macs: float
    time: float | None


class Panel(NamedTuple):
    """What one row of the figure shows.

    Attributes:
      title: over both of its panels.
      measure: on the vertical axis.
      plain: the plain model's value.
      points: method -> its points, from the largest budget to the smallest.
    """

    title: str
    measure: str
    plain: float
    points: Mapping[str, Sequence[Point]]


def style_methods() -> dict[str, dict[str, Any]]:
    """Returns colour and dash of every method: those that merge are solid, those that drop dashed, controls dotted."""
    colours = itertools.cycle(_COLOURS)
    styles: dict[str, dict[str, Any]] = {}
    for name, method in METHODS.items():
        if name in _CONTROLS:
            styles[name] = {"color": "#343a40" if method.grows else "#adb5bd", "linestyle": ":"}
        else:
            styles[name] = {"color": next(colours), "linestyle": "-" if method.grows else "--"}
        styles[name] |= {"linewidth": 2.6, "zorder": 5} if name == "vidtldr" else {"linewidth": 1.4}
    return styles


def draw_panels(panels: Sequence[Panel], path: Path) -> Path:
    """Draws a row for each panel, measured time on the left and multiply-accumulates on the right.

    Args:
      panels: from top to bottom.
      path: of the picture.

    Returns:
      The path.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    size = (11, 4.2 * len(panels))
    figure, grid = plt.subplots(len(panels), 2, figsize=size, squeeze=False, sharey="row", layout="constrained")
    styles = style_methods()
    for (by_time, by_macs), panel in zip(grid, panels, strict=True):
        for name, style in styles.items():
            points = panel.points.get(name, ())
            values, bars = [point.value for point in points], [point.spread for point in points]
            look = {"marker": "o", "markersize": 3, "elinewidth": 0.5, "label": name, **style}
            if points and all(point.time is not None for point in points):
                by_time.errorbar([point.time for point in points], values, bars, **look)
            if points:
                by_macs.errorbar([point.macs for point in points], values, bars, **look)
        for axes, what in ((by_time, "measured time"), (by_macs, "multiply-accumulates")):
            axes.plot(1, panel.plain, "k*", markersize=11, zorder=6)
            axes.set(xlabel=f"{what}, share of the plain model's", title=panel.title)
            axes.grid(alpha=0.3)
        by_time.set(ylabel=panel.measure)
    handles, labels = grid[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return path
