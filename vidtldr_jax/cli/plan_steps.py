"""What `vidtldr plan` does between its options and its report: time, plan, calibrate, run what was chosen."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.output import print_note, show_progress, watch_progress
from vidtldr_jax.cli.plan_report import Outcome, Row
from vidtldr_jax.cli.runtime import open_cache_folder
from vidtldr_jax.evaluation.calibration import Calibration, calibrate_schedules
from vidtldr_jax.inference.latency_reach import check_reach
from vidtldr_jax.inference.latency_table import LatencyTable, measure_latency, plan_latency
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import Measurement, make_random_video, measure_models
from vidtldr_jax.models.architectures import Config
from vidtldr_jax.reduction.planner import Plan, Proposal, plan_schedule
from vidtldr_jax.trust.notes import tell_notices

_VERIFYING_RUNS: Final = 7
_UNSTEADY: Final = 1.3


class Budget(NamedTuple):
    """What may be spent.

    Attributes:
      kind: "max_gmacs", "keep", "speedup" or "latency_ms".
      number: how much.
    """

    kind: str
    number: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be planned.

    Attributes:
      name: of the model or preset.
      config: of the model.
      load: returns the model; a preset's is made, with random weights, when it is first run.
      is_preset: whether the weights are random.
      budget: of which kind, and how much.
      sweep: number of budgets, from the given one up to the plain model.
      method: how tokens are chosen.
      dtype: of the computation.
      frames: of a clip; None means the model's.
      batch_size: clips of one run.
      is_timed: whether pieces of the model are timed, so that seconds are known.
      is_timed_anew: whether kept times are not good enough.
      is_verified: whether what was chosen by time is run.
      videos: that schedules are compared on; None compares none.
      workers: processes that decode.
    """

    name: str
    config: Config
    load: Callable[[], VideoModel]
    is_preset: bool
    budget: Budget
    sweep: int
    method: str
    dtype: str
    frames: int | None
    batch_size: int
    is_timed: bool
    is_timed_anew: bool
    is_verified: bool
    videos: Sequence[Path] | None
    workers: int


def find_schedules(task: Task) -> Outcome:
    """Return the schedules that fit a budget, the chosen one first.

    Args:
      task: what is to be planned.

    Raises:
      CommandError: the budget is no number of its kind.
      ValueError: the budget is out of reach, or the model does not fit the other options.
    """
    table = _time_pieces(task) if task.is_timed else None
    plans = [_plan(task, table, step / task.sweep) for step in range(task.sweep)]
    rows = _make_rows(plans, table)
    calibration = None
    if task.videos is not None and not plans[0].schedule.is_plain:
        calibration = _calibrate(task, rows, task.videos)
        rows = _rank(rows, calibration)
    return Outcome(
        name=task.name,
        weights="random" if task.is_preset else "trained",
        dtype=task.dtype,
        method=task.method,
        budget=plans[0].budget,
        frames=task.frames or task.config.num_frames,
        batch_size=task.batch_size,
        plain=plans[0].plain,
        rows=tuple(rows),
        table=table,
        calibration=calibration,
        verified=_run(task, rows[0].proposal) if task.is_timed and task.is_verified else None,
        max_seconds=plans[0].limit if _limits_seconds(task.budget, table) else None,
    )


def _limits_seconds(budget: Budget, table: LatencyTable | None) -> bool:
    """Whether a budget is one of time; a speed-up is where times are known, else it is one of GMACs."""
    return table is not None and budget.kind in ("latency_ms", "speedup")


def _time_pieces(task: Task) -> LatencyTable:
    model = task.load()
    begin = _refuse_early(task, model)
    with show_progress("compiling pieces of the model, then timing them", total=1) as progress:

        def show(done: int, total: int) -> None:
            # One step more is the timing; without it the clock would stand when all is compiled.
            progress.update(progress.task_ids[0], completed=done, total=total + 1)

        folder = open_cache_folder("latency", "measured times")
        table = measure_latency(
            model,
            batch_size=task.batch_size,
            num_frames=task.frames,
            cache=folder,
            renew=task.is_timed_anew,
            begin=begin,
            progress=show,
        )
    if table.spread > _UNSTEADY:
        print_note(
            "while the pieces were timed, runs of one model differed by a factor of "
            f"{table.spread:.2g}: other programs shared the cores; take --remeasure on an idle machine."
        )
    return table


def _refuse_early(task: Task, model: VideoModel) -> Callable[[], None]:
    """Refuses a budget that can't be met; what takes seconds itself is returned, to be called before all timing."""
    kind, number = task.budget
    reach = functools.partial(check_reach, model, batch_size=task.batch_size, num_frames=task.frames)
    if kind == "latency_ms":
        return functools.partial(reach, max_seconds=_check_milliseconds(number) / 1000)
    if kind == "speedup":
        return functools.partial(reach, speedup=_check_speedup(number))
    _plan_by_cost(task, kind, number)
    return lambda: None


def _check_milliseconds(number: float) -> float:
    if not 0 < number < math.inf:
        raise CommandError(f"--latency-ms is a number above 0; got {number:g}; give another.")
    return number


def _check_speedup(number: float) -> float:
    if not number >= 1:
        raise CommandError(f"--speedup is a number from 1 on; got {number:g}; give another.")
    return number


def _plan(task: Task, table: LatencyTable | None, share: float) -> Plan:
    """Plans for a budget, or for one that lies a share of the way from it to the plain model."""
    kind, number = task.budget
    if table is not None and _limits_seconds(task.budget, table):
        seconds = number / 1000 if kind == "latency_ms" else table.plain / _check_speedup(number)
        seconds += share * max(0.0, table.plain - seconds)
        return plan_latency(task.config, table, max_seconds=seconds, method=task.method, num_frames=task.frames)
    first = _plan_by_cost(task, kind, number)
    if share == 0:
        return first
    if kind == "keep":
        return _plan_by_cost(task, "keep", number + share * (1 - number))
    return _plan_by_cost(task, "max_gmacs", first.limit + share * (first.plain.gmacs - first.limit))


def _plan_by_cost(task: Task, kind: str, number: float) -> Plan:
    limit: dict[str, float] = {kind: number}
    return plan_schedule(task.config, **limit, method=task.method, num_frames=task.frames)


def _make_rows(plans: list[Plan], table: LatencyTable | None) -> list[Row]:
    """Lists what is proposed, each schedule once; what is within the budget comes first."""
    found: dict[tuple[int, ...], Row] = {}
    for number, one in enumerate(plans):
        for proposal in one.proposals:
            seconds = None if table is None else table.predict(proposal.schedule)
            found.setdefault(proposal.schedule.r, Row(proposal, number == 0, seconds, None))
    return list(found.values())


def _calibrate(task: Task, rows: list[Row], videos: Sequence[Path]) -> Calibration:
    model = task.load().with_one_view()
    if task.frames is not None:
        model = model.with_preprocessing(dataclasses.replace(model.preprocessing, num_frames=task.frames))
    schedules = [row.proposal.schedule for row in rows]
    notices: dict[str, Sequence[str]] = {}
    with watch_progress(f"plain and {len(rows)} schedules on videos", total=len(videos)) as advance:
        calibration = calibrate_schedules(
            *(model, schedules, videos),
            batch_size=task.batch_size,
            num_workers=task.workers,
            progress=advance,
            noting=notices.__setitem__,
        )
    tell_notices(notices)
    return calibration


def _rank(rows: list[Row], calibration: Calibration) -> list[Row]:
    """Puts the schedule that changes outputs least first, among those within the budget."""
    scored = sorted(
        zip(rows, calibration.scores, strict=True), key=lambda pair: (not pair[0].is_within, -pair[1].cosine)
    )
    return [row._replace(score=score) for row, score in scored]


def _run(task: Task, chosen: Proposal) -> dict[str, Measurement]:
    """Times whole runs of the plain model and of what was chosen, to compare with the prediction."""
    model = task.load()
    models = {"plain": model.with_schedule(None), "merged": model.with_schedule(chosen.schedule)}
    video = make_random_video(model.config, batch_size=task.batch_size, num_frames=task.frames)
    with show_progress(f"running plain and {chosen.schedule.text}"):
        return measure_models(models, video, repeats=_VERIFYING_RUNS)
