"""What is expected of UMT-L/16 in bfloat16 on a GPU, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

PRESET: Final = "umt-l16"
DTYPE: Final = "bfloat16"


class Goal(NamedTuple):
    """One goal.

    Attributes:
      text: what is measured.
      least: the smallest value that reaches it.
      measured: batch size -> value; empty where nothing was measured.
    """

    text: str
    least: float
    measured: dict[int, float]


def find_goals(result: Mapping[str, Any] | None) -> list[Goal]:
    """Find how far a result reaches the goals.

    Args:
      result: of the check; None where there is none.

    Returns:
      Every goal, with values for the batch sizes that were measured.
    """
    batches = {} if result is None else group_batches(result, PRESET, DTYPE)
    goals = {
        "merged: share of the measured rate of a matrix product": (0.5, "merged", None),
        "merged: times the clips per second of plain dense": (3.5, "merged", "plain dense"),
        "merged: times the clips per second of torch's SDPA, plain": (1.5, "merged", "torch SDPA plain"),
        "merged: share of the smaller MACs that is realised in time, against plain": (0.9, "merged", "plain"),
    }
    return [
        Goal(
            text,
            least,
            {size: value for size, rows in batches.items() if (value := _measure(rows, *names)) is not None},
        )
        for text, (least, *names) in goals.items()
    ]


def group_batches(result: Mapping[str, Any], preset: str, dtype: str) -> dict[int, dict[str, Mapping[str, Any]]]:
    """Group the throughput rows of a model: batch size -> variant -> row, of what was timed.

    The default forms are found under "plain" and "merged" as well; where the default was not timed, the fastest form.
    """
    batches: dict[int, dict[str, Mapping[str, Any]]] = {}
    for row in list_rows(result, "throughput"):
        if row.get("preset") == preset and row.get("dtype") == dtype and "clips_per_second" in row:
            batches.setdefault(row["batch_size"], {})[row["variant"]] = row
    for rows in batches.values():
        for kind in ("plain", "merged"):
            ours = [row for name, row in rows.items() if name.startswith(kind)]
            if ours:
                rows[kind] = max(ours, key=lambda row: (row.get("is_default", False), row["clips_per_second"]))
    return dict(sorted(batches.items()))


def list_rows(result: Mapping[str, Any], step: str) -> Sequence[Mapping[str, Any]]:
    """List the rows of a step; none where it did not run."""
    return next((part["rows"] for part in result["steps"] if part["name"] == step), ())


def _measure(rows: Mapping[str, Mapping[str, Any]], name: str, other: str | None) -> float | None:
    """Return a program's share of the product's rate, or how many times as fast it is as another one.

    Against "plain" the gain is counted in units of the gain that multiply-accumulates promise.
    """
    if name not in rows or (other is not None and other not in rows):
        return None
    if other is None:
        return rows[name]["of_product"]
    gain = rows[name]["clips_per_second"] / rows[other]["clips_per_second"]
    promised = rows[other]["gmacs_per_clip"] / rows[name]["gmacs_per_clip"] if other == "plain" else 1.0
    return gain / promised
