"""What a plan found, as plain data and for people."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from vidtldr_jax.cli.comparison import format_tokens
from vidtldr_jax.cli.output import format_macs, format_seconds, print_line, print_note, print_table
from vidtldr_jax.evaluation.calibration import Calibration, Score, find_front
from vidtldr_jax.inference.device import describe_device
from vidtldr_jax.inference.latency_table import LatencyTable
from vidtldr_jax.inference.timing import Measurement
from vidtldr_jax.reduction.methods import DEFAULT_METHOD
from vidtldr_jax.reduction.planner import Proposal

_WIDEST_SCHEDULE: Final = 40


class Row(NamedTuple):
    """One proposal and what is known of it.

    Attributes:
      proposal: the schedule.
      is_within: whether it meets the budget that was asked for; others are for the plot.
      seconds: predicted for one run; None where nothing was timed.
      score: of the calibration; None without one.
    """

    proposal: Proposal
    is_within: bool
    seconds: float | None
    score: Score | None


class Outcome(NamedTuple):
    """All that a plan found; the first row is what is chosen.

    Attributes:
      name: of the model.
      weights: "trained" or "random".
      dtype: of the computation.
      method: how tokens are chosen.
      budget: in words.
      frames: of a clip.
      batch_size: clips of one run.
      plain: the model without merging.
      rows: proposals, the chosen one first.
      table: times of the model's pieces; None where nothing was timed.
      calibration: None without one.
      verified: "plain" and "merged" as they ran; None where they did not.
      max_seconds: of one run; None where the budget is none of time.
    """

    name: str
    weights: str
    dtype: str
    method: str
    budget: str
    frames: int
    batch_size: int
    plain: Proposal
    rows: tuple[Row, ...]
    table: LatencyTable | None
    calibration: Calibration | None
    verified: dict[str, Measurement] | None
    max_seconds: float | None

    @property
    def chosen(self) -> Proposal:
        """What is proposed first."""
        return self.rows[0].proposal

    @property
    def text(self) -> str:
        """Its schedule as every command takes it."""
        return self.chosen.schedule.text

    @property
    def costs(self) -> list[float]:
        """Of each row: predicted seconds, or GMACs where nothing was timed."""
        return [row.proposal.gmacs if row.seconds is None else row.seconds for row in self.rows]

    @property
    def front(self) -> list[int]:
        """Rows that none beats in both cost and change of outputs, the cheapest first; empty without a calibration."""
        if self.calibration is None:
            return []
        return find_front(self.costs, [row.score.cosine for row in self.rows if row.score is not None])


def describe_outcome(outcome: Outcome) -> dict[str, Any]:
    """Returns a plan as plain data."""
    front = set(outcome.front)
    calibration = outcome.calibration
    return {
        "model": outcome.name,
        "weights": outcome.weights,
        "dtype": outcome.dtype,
        "device": describe_device(),
        "frames": outcome.frames,
        "batch_size": outcome.batch_size,
        "budget": outcome.budget,
        "method": outcome.method,
        "schedule": outcome.chosen.schedule.to_dict(),
        "plain": {
            "gmacs": outcome.plain.gmacs,
            "tokens": list(outcome.plain.schedule.tokens),
            "seconds": None if outcome.table is None else outcome.table.plain,
        },
        "proposals": [_describe_row(row, number in front) for number, row in enumerate(outcome.rows)],
        "calibration": None
        if calibration is None
        else {"videos": calibration.num_videos, "compared": calibration.compared, "errors": calibration.errors},
        "verified": _describe_verified(outcome),
    }


def _describe_row(row: Row, is_on_front: bool) -> dict[str, Any]:
    score = row.score
    return {
        "shape": row.proposal.shape,
        "schedule": row.proposal.schedule.to_dict(),
        "gmacs": row.proposal.gmacs,
        "predicted_seconds": row.seconds,
        "within_budget": row.is_within,
        "cosine": None if score is None else score.cosine,
        "least_cosine": None if score is None else score.least_cosine,
        "agreement": None if score is None else score.agreement,
        "on_front": is_on_front if score is not None else None,
    }


def _describe_verified(outcome: Outcome) -> dict[str, Any] | None:
    if outcome.verified is None:
        return None
    predicted = outcome.rows[0].seconds
    assert predicted is not None
    assert outcome.table is not None
    plain, merged = outcome.verified["plain"].lower_quartile, outcome.verified["merged"].lower_quartile
    return {
        "predicted_seconds": predicted,
        "measured_seconds": merged,
        "error": predicted / merged - 1,
        # Of the speed-up: what is left when the machine is as much slower or faster for both.
        "relative_error": predicted / outcome.table.plain / (merged / plain) - 1,
        "plain_seconds": plain,
        "speedup": plain / merged,
        "runs": {name: list(one.seconds) for name, one in outcome.verified.items()},
    }


def print_outcome(outcome: Outcome) -> None:
    """Prints the schedule on a line of its own, and then what is behind it."""
    print_line(outcome.text)
    print_line()
    clips = f"{outcome.batch_size} clip{'s' if outcome.batch_size > 1 else ''} of {outcome.frames} frames"
    print_line(f"model     {outcome.name}, {outcome.weights} weights, {outcome.dtype}; {clips}")
    print_line(f"budget    {outcome.budget}; plain {_describe_plain(outcome)}")
    if outcome.table is not None:
        print_line(f"device    {describe_device()}")
    if outcome.chosen.schedule.is_plain:
        print_line("chosen    no merging: the plain model is within the budget")
        return
    schedule = outcome.chosen.schedule
    by = "" if outcome.method == DEFAULT_METHOD.name else f" --method {outcome.method}"
    print_line(
        f"chosen    --schedule {schedule.text}{by} ({outcome.chosen.shape}): {format_tokens(list(schedule.tokens))}"
    )
    print_line()
    header, lines = _make_table(outcome)
    print_table(header, lines)
    print_line()
    if outcome.calibration is not None:
        print_line(_explain_calibration(outcome.calibration))
    for line in _explain_times(outcome):
        print_line(line)
    if outcome.verified is not None and outcome.max_seconds is not None:
        measured = outcome.verified["merged"].lower_quartile
        if measured > outcome.max_seconds:
            print_note(
                f"one run took {format_seconds(measured)}, and {format_seconds(outcome.max_seconds)} are the budget; "
                "other programs may share the cores: run it again, or ask for less."
            )


def _describe_plain(outcome: Outcome) -> str:
    parts = [f"{format_macs(outcome.plain.gmacs * 1e9)} GMACs", f"{outcome.plain.schedule.tokens[0]} tokens"]
    if outcome.table is not None:
        parts.append(format_seconds(outcome.table.plain))
    return ", ".join(parts)


def _make_table(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """Returns header and lines; columns that nothing is known for are left out."""
    front = set(outcome.front)
    header = ["shape", "schedule", "tokens out", "GMACs"]
    is_timed, is_scored = outcome.table is not None, outcome.calibration is not None
    has_answers = is_scored and all(row.score is not None and row.score.agreement is not None for row in outcome.rows)
    header += ["predicted"] * is_timed + ["cosine", "least"] * is_scored + ["same answer"] * has_answers
    header += ["front"] * is_scored
    lines = []
    for number, row in enumerate(outcome.rows):
        schedule = row.proposal.schedule
        line = [
            row.proposal.shape + ("" if row.is_within else " (beyond the budget)"),
            _shorten(schedule.text),
            str(schedule.tokens[-1]),
            format_macs(row.proposal.gmacs * 1e9),
        ]
        if row.seconds is not None:
            line.append(format_seconds(row.seconds))
        if row.score is not None:
            line += [f"{row.score.cosine:.4f}", f"{row.score.least_cosine:.4f}"]
            line += [f"{row.score.agreement:.1%}"] if row.score.agreement is not None else []
            line.append("*" if number in front else "")
        lines.append(line)
    return header, lines


def _shorten(text: str) -> str:
    """Cuts a long schedule; --json has all of it."""
    return text if len(text) <= _WIDEST_SCHEDULE else f"{text[: _WIDEST_SCHEDULE - 3]}..."


def _explain_calibration(calibration: Calibration) -> str:
    what = "embeddings" if calibration.compared == "embedding" else "pooled tokens"
    return (
        f"cosine: of {what} with and without merging, mean and least over {calibration.num_videos} videos; front: no "
        "other proposal is both cheaper and nearer"
    )


def _explain_times(outcome: Outcome) -> list[str]:
    found = _describe_verified(outcome)
    if found is None or outcome.table is None:
        return []
    predicted, measured = found["predicted_seconds"], found["measured_seconds"]
    return [
        f"run: {format_seconds(measured)}, predicted {format_seconds(predicted)} ({found['error']:+.1%})",
        f"beside it plain: {format_seconds(found['plain_seconds'])}, so {found['speedup']:.2f} x the speed, predicted "
        f"{outcome.table.plain / predicted:.2f} x ({-found['relative_error'] / (1 + found['relative_error']):+.1%})",
    ]
