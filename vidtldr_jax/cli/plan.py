"""`vidtldr plan`: a budget in, a schedule out."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from vidtldr_jax.cli.choices import FILE
from vidtldr_jax.cli.evaluation_files import report_errors
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.kept_inputs import keep_inputs
from vidtldr_jax.cli.options import (
    DEFAULT_MODEL,
    cache_option,
    dtype_option,
    json_option,
    method_option,
    open_model,
    optional_model_option,
    preset_option,
    verbose_option,
)
from vidtldr_jax.cli.output import print_json, print_line, print_note, show_progress, watch_progress
from vidtldr_jax.cli.runtime import open_cache_folder
from vidtldr_jax.cli.video_list import take_videos
from vidtldr_jax.trust.notes import tell_notices

if TYPE_CHECKING:
    from vidtldr_jax.cli.plan_report import Outcome, Row
    from vidtldr_jax.evaluation.calibration import Calibration
    from vidtldr_jax.inference.latency_table import LatencyTable
    from vidtldr_jax.inference.model import VideoModel
    from vidtldr_jax.inference.timing import Measurement
    from vidtldr_jax.models.architectures import Config
    from vidtldr_jax.reduction.planner import Plan, Proposal

_VERIFYING_RUNS: Final = 7
_UNSTEADY: Final = 1.3
_BUDGETS: Final = {
    "max_gmacs": "--max-gmacs", "keep": "--keep", "speedup": "--speedup", "latency_ms": "--latency-ms",
}  # fmt: skip
_EPILOG: Final = """\b
Examples:
  vidtldr plan --preset umt-b16 --max-gmacs 178
  vidtldr plan --model checkpoints/mine --latency-ms 120
  vidtldr plan --speedup 1.8 --calibrate videos/ --plot front.png
  vidtldr plan --model checkpoints/mine --keep 0.5 --calibrate videos/ --write-config mine.py
  vidtldr classify clip.mp4 --schedule $(vidtldr plan --keep 0.5 --quiet)
"""


@click.command(epilog=_EPILOG)
@click.argument("videos", nargs=-1, metavar="[VIDEO...]", type=click.Path())
@optional_model_option
@preset_option
@click.option("--max-gmacs", type=float, help="Budget: 10^9 multiply-accumulates of the encoder per clip, at most.")
@click.option("--keep", type=float, help="Budget: share of the tokens that is left after the last layer, at most.")
@click.option("--speedup", type=float, help="Budget: times fewer GMACs than plain; times faster with --measure.")
@click.option("--latency-ms", type=float, help="Budget: milliseconds of one run on this machine, at most.")
@method_option
@click.option("--measure", is_flag=True, help="Time the model's pieces (once; kept) and predict seconds.")
@click.option("--remeasure", is_flag=True, help="Time the pieces anew.")
@click.option("--no-verify", is_flag=True, help="Don't run what was chosen by time to see whether it is as predicted.")
@click.option(
    "--calibrate", type=FILE, multiple=True, metavar="VIDEO|FOLDER", help="Choose by how little their outputs change."
)
@click.option("--sweep", type=click.IntRange(min=1), default=1, show_default=True, help="Budgets up to plain, to plot.")
@click.option(
    "--plot", type=FILE, metavar="FILE.png", help="Cost against change of outputs; needs --calibrate, extra 'plot'."
)
@click.option("--write-config", type=FILE, metavar="FILE.py", help="A config for vidtldr evaluate.")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Clips of one run.")
@click.option("--frames", type=click.IntRange(min=1), help="Frames per clip.  [default: the model's]")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes that decode.")
@click.option("--quiet", is_flag=True, help="Print the schedule and nothing else.")
@dtype_option
@json_option
@cache_option
@verbose_option
def plan(
    videos: tuple[str, ...],
    model: str | None,
    preset: str | None,
    max_gmacs: float | None,
    keep: float | None,
    speedup: float | None,
    latency_ms: float | None,
    method: str | None,
    measure: bool,
    remeasure: bool,
    no_verify: bool,
    calibrate: tuple[str, ...],
    sweep: int,
    plot: str | None,
    write_config: str | None,
    batch_size: int,
    frames: int | None,
    workers: int,
    quiet: bool,
    dtype: str,
    as_json: bool,
) -> int:
    """Proposes schedules for a budget. The first line of the output is the schedule, as every command takes it.

    Give one budget. Proposals differ in how tokens go over the layers: each layer loses half of what the one before
    does, as published schedules about do (the default), the same share, the same count, or all go in one layer. Each is
    as large as the budget allows. With --calibrate VIDEO... (no labels needed) the one is chosen under which the
    embeddings, or pooled tokens, of these videos stay nearest to the plain model's.

    --latency-ms and --measure time the pieces of the model on this machine, which takes minutes for a large one, and
    keep the times in the user's cache folder; a budget far out of reach is refused before that. What was chosen by time
    is then run, unless --no-verify.
    """
    from vidtldr_jax.cli.plan_config import check_config_place, save_config
    from vidtldr_jax.cli.plan_plot import check_plot_place, draw_front
    from vidtldr_jax.cli.plan_report import Outcome
    from vidtldr_jax.data.video_paths import FoundVideos
    from vidtldr_jax.reduction.methods import DEFAULT_METHOD

    given = {"max_gmacs": max_gmacs, "keep": keep, "speedup": speedup, "latency_ms": latency_ms}
    budget = _choose_budget({name: number for name, number in given.items() if number is not None})
    if model is not None and preset is not None:
        raise click.UsageError("give --model or --preset, not both.")
    if preset is not None and (calibrate or write_config):
        raise click.UsageError("--calibrate and --write-config need trained weights: --model, not --preset.")
    if (plot or sweep > 1 or videos) and not calibrate:
        raise click.UsageError("videos, --plot and --sweep belong to --calibrate VIDEO...; add it.")
    if quiet and as_json:
        raise click.UsageError("give --quiet or --json, not both.")
    if plot is not None:
        check_plot_place(plot)
    found = take_videos([*calibrate, *videos]) if calibrate else FoundVideos([], {}, [])
    written = {"--plot": plot, "--write-config": write_config}
    read: list[str | Path] = [*found.videos, *([model] if model is not None else [])]
    keep_inputs({option: [Path(path)] for option, path in written.items() if path is not None}, read)
    is_timed = measure or remeasure or budget.kind == "latency_ms"
    method = method or DEFAULT_METHOD.name
    name = preset or model or DEFAULT_MODEL
    loaded, config = _open(name, is_preset=preset is not None, is_run=is_timed, method=method, dtype=dtype)
    if write_config is not None:
        check_config_place(write_config)
    try:
        table = None
        if is_timed and loaded is not None:
            begin = _refuse_early(budget, loaded, method, frames, batch_size)
            table = _measure(loaded, batch_size, frames, renew=remeasure, begin=begin)
        plans = [_plan(budget, config, table, method, frames, step / sweep) for step in range(sweep)]
        rows = _make_rows(plans, table)
        calibration = None
        if calibrate and loaded is not None and not plans[0].schedule.is_plain:
            calibration = _calibrate(loaded, rows, found.videos, frames, batch_size, workers)
            rows = [row._replace(score=score) for row, score in zip(rows, calibration.scores, strict=True)]
            rows.sort(key=lambda row: (not row.is_within, -row.score.cosine))  # type: ignore[union-attr]  # all scored
        verified = None
        if is_timed and not no_verify and loaded is not None and table is not None:
            verified = _verify(loaded, rows[0].proposal, batch_size, frames)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if plot is not None and calibration is None:
        print_note("the plain model is within the budget: there is nothing to compare, and nothing is drawn.")
    outcome = Outcome(
        name=name, weights="random" if preset else "trained", dtype=dtype, method=method, budget=plans[0].budget,
        frames=frames or config.num_frames, batch_size=batch_size, plain=plans[0].plain, rows=tuple(rows), table=table,
        calibration=calibration, verified=verified, max_seconds=plans[0].limit if _is_of_time(budget, table) else None,
    )  # fmt: skip
    if plot is not None and calibration is not None:
        draw_front(Path(plot), outcome)
    if write_config is not None and loaded is not None:
        save_config(Path(write_config), loaded, outcome)
    _print(outcome, quiet=quiet, as_json=as_json)
    errors = found.errors | (calibration.errors if calibration is not None else {})
    report_errors(errors)
    return 1 if errors else 0


class _Budget(NamedTuple):
    """What may be spent: of which kind, and how much."""

    kind: str
    number: float


def _choose_budget(given: dict[str, float]) -> _Budget:
    if len(given) != 1:
        got = " and ".join(_BUDGETS[name] for name in given) or "none"
        raise click.UsageError(f"exactly one budget is needed: {', '.join(_BUDGETS.values())}; got {got}.")
    return _Budget(*next(iter(given.items())))


def _open(name: str, *, is_preset: bool, is_run: bool, method: str, dtype: str) -> tuple[VideoModel | None, Config]:
    """Loads a model; of a preset that is not run, only the description."""
    from vidtldr_jax.inference.timing import make_random_model
    from vidtldr_jax.models.presets import PRESETS

    if not is_preset:
        loaded = open_model(name, schedule=None, method=method, dtype=dtype)
        return loaded, loaded.config
    config = PRESETS[name]
    return (make_random_model(config, method=method, dtype=dtype) if is_run else None), config


def _is_of_time(budget: _Budget, table: LatencyTable | None) -> bool:
    return budget.kind == "latency_ms" or (budget.kind == "speedup" and table is not None)


def _refuse_early(
    budget: _Budget, model: VideoModel, method: str, frames: int | None, batch_size: int
) -> Callable[[], None]:
    """Refuses a budget that can't be met; what takes seconds itself is returned, to be called before all timing."""
    from vidtldr_jax.inference.latency_reach import check_reach
    from vidtldr_jax.reduction.planner import plan_schedule

    kind, number = budget
    if kind == "latency_ms":
        if not 0 < number < math.inf:
            raise CommandError(f"--latency-ms is a number above 0; got {number:g}; give another.")
        limit: dict[str, Any] = {"max_seconds": number / 1000}
    elif kind == "speedup":
        limit = {"speedup": _check_speedup(number)}
    else:
        plan_schedule(model.config, **{kind: number}, method=method, num_frames=frames)
        return lambda: None
    return functools.partial(check_reach, model, **limit, batch_size=batch_size, num_frames=frames)


def _measure(
    model: VideoModel, batch_size: int, frames: int | None, *, renew: bool, begin: Callable[[], None]
) -> LatencyTable:
    from vidtldr_jax.inference.latency_table import measure_latency

    with show_progress("compiling pieces of the model, then timing them", total=1) as progress:

        def show(done: int, total: int) -> None:
            # One step more is the timing; without it the clock would stand when all is compiled.
            progress.update(progress.task_ids[0], completed=done, total=total + 1)

        folder = open_cache_folder("latency", "measured times")
        table = measure_latency(
            model, batch_size=batch_size, num_frames=frames, cache=folder, renew=renew, begin=begin, progress=show
        )
    if table.spread > _UNSTEADY:
        print_note(
            "while the pieces were timed, runs of one model differed by a factor of "
            f"{table.spread:.2g}: other programs shared the cores; take --remeasure on an idle machine."
        )
    return table


def _plan(
    budget: _Budget, config: Config, table: LatencyTable | None, method: str, frames: int | None, share: float
) -> Plan:
    """Plans for a budget, or for one that lies a share of the way from it to the plain model."""
    from vidtldr_jax.inference.latency_table import plan_latency
    from vidtldr_jax.reduction.planner import plan_schedule

    kind, number = budget
    if table is not None and _is_of_time(budget, table):
        seconds = number / 1000 if kind == "latency_ms" else table.plain / _check_speedup(number)
        seconds += share * max(0.0, table.plain - seconds)
        return plan_latency(config, table, max_seconds=seconds, method=method, num_frames=frames)
    make: Callable[..., Plan] = plan_schedule
    options: dict[str, Any] = {"method": method, "num_frames": frames}
    if share == 0:
        return make(config, **{kind: number}, **options)
    if kind == "keep":
        return make(config, keep=number + share * (1 - number), **options)
    first = make(config, **{kind: number}, **options)
    return make(config, max_gmacs=first.limit + share * (first.plain.gmacs - first.limit), **options)


def _check_speedup(number: float) -> float:
    if not number >= 1:
        raise CommandError(f"--speedup is a number from 1 on; got {number:g}; give another.")
    return number


def _make_rows(plans: list[Plan], table: LatencyTable | None) -> list[Row]:
    """Lists what is proposed, each schedule once; what is within the budget comes first."""
    from vidtldr_jax.cli.plan_report import Row

    found: dict[tuple[int, ...], Row] = {}
    for number, one in enumerate(plans):
        for proposal in one.proposals:
            seconds = None if table is None else table.predict(proposal.schedule)
            found.setdefault(proposal.schedule.r, Row(proposal, number == 0, seconds, None))
    return list(found.values())


def _calibrate(
    model: VideoModel, rows: list[Row], paths: list[Path], frames: int | None, batch_size: int, workers: int
) -> Calibration:
    from vidtldr_jax.evaluation.calibration import calibrate_schedules

    one_view = model.with_one_view()
    if frames is not None:
        one_view = one_view.with_preprocessing(dataclasses.replace(one_view.preprocessing, num_frames=frames))
    schedules = [row.proposal.schedule for row in rows]
    notices: dict[str, Sequence[str]] = {}
    with watch_progress(f"plain and {len(rows)} schedules on videos", total=len(paths)) as advance:
        calibration = calibrate_schedules(
            *(one_view, schedules, paths),
            batch_size=batch_size,
            num_workers=workers,
            progress=advance,
            noting=notices.__setitem__,
        )
    tell_notices(notices)
    return calibration


def _verify(model: VideoModel, chosen: Proposal, batch_size: int, frames: int | None) -> dict[str, Measurement]:
    from vidtldr_jax.inference.timing import make_random_video, measure_models

    models = {"plain": model.with_schedule(None), "merged": model.with_schedule(chosen.schedule)}
    video = make_random_video(model.config, batch_size=batch_size, num_frames=frames)
    with show_progress(f"running plain and {chosen.schedule.text}"):
        return measure_models(models, video, repeats=_VERIFYING_RUNS)


def _print(outcome: Outcome, *, quiet: bool, as_json: bool) -> None:
    from vidtldr_jax.cli.plan_report import describe_outcome, print_outcome

    if as_json:
        print_json(describe_outcome(outcome))
    elif quiet:
        print_line(outcome.text)
    else:
        print_outcome(outcome)
