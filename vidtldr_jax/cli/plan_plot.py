"""The picture of a plan: what proposals cost against how near outputs stay to the plain model's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Final

from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.plan_report import Outcome
from vidtldr_jax.trust.harmless import make_harmless
from vidtldr_jax.trust.whole_files import write_aside

_INSTALL: Final = "pip install 'vidtldr-jax[plot]'"
_INCHES: Final = (8.0, 5.0)


def check_plot_place(place: str) -> None:
    """Makes sure that a plot can be drawn, before any work.

    Args:
      place: where it is to go.

    Raises:
      CommandError: it is no PNG, its folder is missing, or matplotlib is.
    """
    path = Path(place)
    if path.suffix.lower() != ".png" or path.is_dir() or not path.parent.is_dir():
        raise CommandError(f"--plot is a file that ends in .png in a folder that exists; got {place!r}; give another.")
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError(f"--plot needs the module matplotlib, which is not installed; {_INSTALL}.")


def draw_front(path: Path, outcome: Outcome) -> None:
    """Draws all proposals of a calibrated plan, the plain model, and the front of those that none beats.

    Args:
      path: of the PNG.
      outcome: with a calibration.
    """
    from matplotlib.figure import Figure

    is_timed = outcome.table is not None
    factor, unit = (1000.0, "predicted milliseconds of a run") if is_timed else (1.0, "GMACs of a clip")
    plain = outcome.plain.gmacs if outcome.table is None else 1000 * outcome.table.plain
    figure: Any = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots()
    points = [
        (factor * cost, row.score.cosine)
        for cost, row in zip(outcome.costs, outcome.rows, strict=True)
        if row.score is not None
    ]
    # Of one shape in one colour, along its budgets.
    shapes = dict.fromkeys(row.proposal.shape for row in outcome.rows)
    for shape in shapes:
        chosen = sorted(point for point, row in zip(points, outcome.rows, strict=True) if row.proposal.shape == shape)
        axes.plot(*zip(*chosen), marker="o", linewidth=0.8, alpha=0.8, label=shape)
    front = [points[number] for number in outcome.front] + [(plain, 1.0)]
    axes.plot(*zip(*front), color="black", linestyle="--", linewidth=1.2, label="front")
    axes.plot([plain], [1.0], color="black", marker="*", markersize=11, linestyle="", label="plain")
    axes.plot(*points[0], marker="o", markersize=14, fillstyle="none", color="black", linestyle="", label="chosen")
    axes.set_xlabel(unit)
    axes.set_ylabel(f"mean cosine of {'embeddings' if _has_embeddings(outcome) else 'pooled tokens'} with plain")
    title = make_harmless(f"{outcome.name}, {outcome.method}: {outcome.budget}")
    axes.set_title(title, parse_math=False)  # else "$" begins a formula
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with write_aside(path) as aside:
        figure.savefig(aside, dpi=120)


def _has_embeddings(outcome: Outcome) -> bool:
    return outcome.calibration is not None and outcome.calibration.compared == "embedding"
