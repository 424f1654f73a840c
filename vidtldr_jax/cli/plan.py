"""`vidtldr plan`: a budget in, a schedule out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
from vidtldr_jax.cli.output import print_json, print_line, print_note
from vidtldr_jax.cli.video_list import take_videos

if TYPE_CHECKING:
    from vidtldr_jax.cli.plan_report import Outcome
    from vidtldr_jax.cli.plan_steps import Budget
    from vidtldr_jax.inference.model import VideoModel
    from vidtldr_jax.models.architectures import Config

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
    "--calibrate",
    type=FILE,
    multiple=True,
    metavar="VIDEO|FOLDER",
    help="Choose the schedule that changes the outputs of these videos least.",
)
@click.option("--sweep", type=click.IntRange(min=1), default=1, show_default=True, help="Budgets up to plain, to plot.")
@click.option(
    "--plot", type=FILE, metavar="FILE.png", help="Cost against change of outputs; needs --calibrate, extra 'plot'."
)
@click.option("--write-config", type=FILE, metavar="FILE.py", help="A config for vidtldr evaluate.")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Clips of one run.")
@click.option("--frames", type=click.IntRange(min=1), help="Frames per clip.  [default: the model's]")
@click.option(
    "--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Number of decoding processes."
)
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
    from vidtldr_jax.cli.plan_steps import Task, find_schedules
    from vidtldr_jax.reduction.methods import DEFAULT_METHOD

    budget = _choose_budget(max_gmacs=max_gmacs, keep=keep, speedup=speedup, latency_ms=latency_ms)
    is_calibrated = bool(calibrate)
    _check_model_options(model, preset, is_calibrated=is_calibrated, is_written=write_config is not None)
    if not is_calibrated and (videos or plot or sweep > 1):
        raise click.UsageError("videos, --plot and --sweep belong to --calibrate VIDEO...; add it.")
    if quiet and as_json:
        raise click.UsageError("give --quiet or --json, not both.")
    if plot is not None:
        check_plot_place(plot)
    found = take_videos([*calibrate, *videos])
    written = {"--plot": plot, "--write-config": write_config}
    read: list[str | Path] = [*found.videos, *([model] if model is not None else [])]
    keep_inputs({option: [Path(path)] for option, path in written.items() if path is not None}, read)
    method = method or DEFAULT_METHOD.name
    name = preset or model or DEFAULT_MODEL
    config, load = _open(name, is_preset=preset is not None, method=method, dtype=dtype)
    if write_config is not None:
        check_config_place(write_config)
    task = Task(
        name=name, config=config, load=load, is_preset=preset is not None, budget=budget, sweep=sweep, method=method,
        dtype=dtype, frames=frames, batch_size=batch_size, is_timed=measure or remeasure or budget.kind == "latency_ms",
        is_timed_anew=remeasure, is_verified=not no_verify, videos=found.videos if is_calibrated else None,
        workers=workers,
    )  # fmt: skip
    try:
        outcome = find_schedules(task)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if plot is not None and outcome.calibration is None:
        print_note("the plain model is within the budget: there is nothing to compare, and nothing is drawn.")
    elif plot is not None:
        draw_front(Path(plot), outcome)
    if write_config is not None:
        save_config(Path(write_config), load(), outcome)
    _print(outcome, quiet=quiet, as_json=as_json)
    errors = found.errors | (outcome.calibration.errors if outcome.calibration is not None else {})
    report_errors(errors)
    return 1 if errors else 0


def _choose_budget(**numbers: float | None) -> Budget:
    from vidtldr_jax.cli.plan_steps import Budget

    given = [Budget(kind, number) for kind, number in numbers.items() if number is not None]
    if len(given) != 1:
        got = " and ".join(_BUDGETS[budget.kind] for budget in given) or "none"
        raise click.UsageError(f"exactly one budget is needed: {', '.join(_BUDGETS.values())}; got {got}.")
    return given[0]


def _check_model_options(model: str | None, preset: str | None, *, is_calibrated: bool, is_written: bool) -> None:
    if model is not None and preset is not None:
        raise click.UsageError("give --model or --preset, not both.")
    if preset is not None and (is_calibrated or is_written):
        raise click.UsageError("--calibrate and --write-config need trained weights: --model, not --preset.")


def _open(name: str, *, is_preset: bool, method: str, dtype: str) -> tuple[Config, Callable[[], VideoModel]]:
    """Returns a model's config, and what loads it; a preset's model is made when it is first run."""
    from vidtldr_jax.inference.timing import make_random_model
    from vidtldr_jax.models.presets import PRESETS

    if is_preset:
        config = PRESETS[name]
        return config, functools.cache(lambda: make_random_model(config, method=method, dtype=dtype))
    model = open_model(name, schedule=None, method=method, dtype=dtype)
    return model.config, lambda: model


def _print(outcome: Outcome, *, quiet: bool, as_json: bool) -> None:
    from vidtldr_jax.cli.plan_report import describe_outcome, print_outcome

    if as_json:
        print_json(describe_outcome(outcome))
    elif quiet:
        print_line(outcome.text)
    else:
        print_outcome(outcome)
