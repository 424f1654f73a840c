"""`vidtldr finetune`: a checkpoint and labelled videos in, a checkpoint for these videos out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from vidtldr_jax.cli.choices import FILE, FOLDER, ChoiceType
from vidtldr_jax.cli.convert import SettingType, collect_settings
from vidtldr_jax.cli.evaluation_files import report_errors
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.options import (
    ScheduleType,
    cache_option,
    check_model_name,
    json_option,
    method_option,
    model_option,
    verbose_option,
)
from vidtldr_jax.cli.output import print_json, print_note, print_table, watch_progress
from vidtldr_jax.cli.python_config import RUNS_CODE, run_config
from vidtldr_jax.cli.runtime import log_weights
from vidtldr_jax.trust.notes import tell_notices

if TYPE_CHECKING:
    from vidtldr_jax.train.recipe import Recipe

log = logging.getLogger("vidtldr_jax")

_EPILOG: Final = """\b
Examples:
  vidtldr finetune --data train.csv --val val.csv --model checkpoints/videomae-b16 --out runs/mine
  vidtldr finetune --data train.csv --val val.csv --out runs/few --config configs/finetune.py:few,k5
  vidtldr finetune --data mine.csv --out runs/mine-own-classes --new-head
  vidtldr finetune --data train.csv --val val.csv --out runs/probe --probe --few 20
  vidtldr finetune --data train.csv --out runs/merged --schedule 100,40 --epochs 30 --set label_smoothing=0.1
  vidtldr classify clip.mp4 --model runs/mine/model
"""
_TASK: Final = "finetune"
_PLACES: Final = ("data", "val", "root", "checkpoint")
# What suits a classifier alone; nothing is random, so that every video is encoded once.
PROBE: Final[dict[str, Any]] = {
    "probe": True,
    "random_time": False,
    "learning_rate": 1e-3,
    "layer_decay": 1.0,
    "weight_decay": 0.0,
    "epochs": 50.0,
    "batch_size": 32,
}


def _recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the fields of the recipe that are asked for most; None is what was not given."""
    options = (
        click.option(
            "--config", type=FILE, metavar="FILE.py:ARG",
            help=f"Recipe; options count more. {RUNS_CODE} Needs the extra 'configs'.",
        ),
        click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps, instead of --epochs."),
        click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="Passes over the training videos."),
        click.option("--batch-size", type=click.IntRange(min=1), help="Clips per step."),
        click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="Highest learning rate."),
        click.option("--few", type=click.IntRange(min=1), metavar="K", help="Number of training videos per class."),
        click.option("--new-head", is_flag=True, help="Train a new classifier, of the classes of the training videos."),
        click.option("--probe", is_flag=True, help="Train the classifier alone, on features that are computed once."),
        click.option("--schedule", type=ScheduleType(), metavar="TEXT", help="Schedule in training.  [default: none]"),
        click.option(
            "--eval-schedule", type=ScheduleType(), metavar="TEXT",
            help="Schedule in evaluation.  [default: the same]",
        ),
        method_option,
        click.option(
            "--evaluate-every", type=click.IntRange(min=1), metavar="STEPS",
            help="Steps between evaluations.  [default: one at the end]",
        ),
        click.option("--dtype", type=ChoiceType(["float32", "bfloat16"]), help="Computation dtype."),
        click.option(
            "--seed", type=click.IntRange(min=0),
            help="Seed of the order, the clips and a new classifier.  [default: 0]",
        ),
        click.option(
            "--set", "settings", type=SettingType(), multiple=True,
            help="Another field of the recipe: mixup=0.2, drop_path=0.1, remat=true, accumulation=4. Repeatable.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command(epilog=_EPILOG)
@click.option("--data", type=FILE, help="Training videos: CSV with a header, or JSON Lines: path, label.")
@click.option("--val", type=FILE, help="Videos to evaluate on, of the same classes.")
@model_option
@click.option("--out", required=True, type=FOLDER, help="The run; a killed one goes on with the same command.")
@click.option("--root", type=FOLDER, help="Folder that paths are relative to.  [default: each list's folder]")
@_recipe_options
@click.option(
    "--save-every",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Steps between states to resume from.  [default: 2 minutes]",
)
@click.option("--resume", is_flag=True, help="Refuse to begin a new run.")
@click.option("--restart", is_flag=True, help="Discard what is in --out.")
@click.option("--skip-unreadable", is_flag=True, help="Skip videos that can't be read, and name them.")
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard too, below --out.")
@click.option(
    "--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Number of decoding processes."
)
@json_option
@cache_option
@verbose_option
@click.pass_context
def finetune(
    ctx: click.Context,
    data: str | None,
    val: str | None,
    model: str,
    out: str,
    root: str | None,
    config: str | None,
    settings: tuple[tuple[str, str], ...],
    save_every: int | None,
    resume: bool,
    restart: bool,
    skip_unreadable: bool,
    tensorboard: bool,
    workers: int,
    as_json: bool,
    **fields: Any,
) -> int:
    """Trains a classifier on labelled videos, with merging or without, from a checkpoint.

    Labels are classes of the model, by name or else by number; with --new-head, or where the model has no classifier, a
    new one of the videos' own classes is trained. FOLDER/model is then a checkpoint folder that every command reads;
    FOLDER/metrics.jsonl has the losses. A video that can't be read ends the run, which goes on once it is fixed; with
    --skip-unreadable the exit code is 1 at the end instead.
    """
    from vidtldr_jax.inference.load import find_checkpoint
    from vidtldr_jax.reduction.schedule import ScheduleError

    if resume and restart:
        raise click.UsageError("--resume and --restart exclude each other.")
    places, from_config = _read_config(config) if config else ({}, {})
    places |= {name: place for name, place in {"data": data, "val": val, "root": root}.items() if place}
    from_set = {name: _parse(text) for name, text in collect_settings(settings).items()}
    if ctx.get_parameter_source("model") == click.core.ParameterSource.DEFAULT and places.get("checkpoint"):
        model = places["checkpoint"]
    if places.get("data") is None:
        raise click.UsageError("--data is needed: a list of videos and their classes.")
    check_model_name(model)
    try:
        from vidtldr_jax.train import finetune as train
        from vidtldr_jax.train import prepare
    except ModuleNotFoundError as error:
        raise CommandError(
            f"training needs {error.name}, which is not installed; pip install 'vidtldr-jax[train]'."
        ) from error
    recipe = _make_recipe([(config, from_config), (None, _collect_fields(from_config, fields)), ("--set", from_set)])
    try:
        folder = find_checkpoint(model)
        log_weights(model, folder)
        setup = prepare(
            folder, places["data"], recipe, val=places.get("val"), root=places.get("root"),
        )  # fmt: skip
        log.info("training with schedule: %s", setup.schedule.describe())
        with watch_progress("training", total=setup.num_steps) as progress:
            result = train(
                setup, out, restart=restart, must_resume=resume, save_every=save_every, num_workers=workers,
                skips=skip_unreadable, use_tensorboard=tensorboard, tell=print_note, progress=progress,
            )  # fmt: skip
    except ValueError as error:
        is_of_config = isinstance(error.__cause__, ScheduleError) and recipe.schedule == from_config.get("schedule")
        raise CommandError(f"{config}: {error}" if config and is_of_config else str(error)) from error
    result = {"started_from": model, **result}
    tell_notices(result["notices"])
    report_errors(result["unreadable"])
    if as_json:
        print_json(result)
    else:
        _print_result(result)
    return 1 if result["unreadable"] else 0


def _collect_fields(from_config: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Returns the recipe of a config with what options say in its place; a probe has defaults of its own."""
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    if "epochs" in given:
        given.setdefault("steps", None)
    defaults = PROBE if given.get("probe") else {}
    return defaults | from_config | given


def _read_config(place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the places and the recipe that a config names."""
    config = run_config(place)
    if config.get("task") != _TASK:
        raise CommandError(
            f"a config with task = {_TASK!r} is needed; {place} has {config.get('task')!r}; take configs/finetune.py."
        )
    recipe = config.get("recipe") or {}
    places = {name: config.get(name) or None for name in _PLACES}
    return places, dict(recipe.to_dict() if hasattr(recipe, "to_dict") else recipe)


def _make_recipe(parts: Sequence[tuple[str | None, Mapping[str, Any]]]) -> Recipe:
    """Make a recipe of what stands in several places, later ones first; a fault is named with the place it is from."""
    from vidtldr_jax.train.recipe import Recipe

    fields: dict[str, Any] = {}
    faults: list[str] = []
    for place, part in parts:
        fields |= part
        try:
            recipe = Recipe.from_dict(fields)
        except ValueError as error:
            faults.append(str(error) if place is None else f"{place}: {error}")
        else:
            faults = []
    if faults:
        raise CommandError(faults[0])
    return recipe


def _parse(text: str) -> Any:
    """Reads true, false, null and numbers; the rest is text."""
    try:
        return json.loads(text.lower())
    except ValueError:
        return text


def _print_result(result: Mapping[str, Any]) -> None:
    rows = [("videos", str(result["videos"])), ("classes", str(result["classes"]))]
    rows += [("merging in training", result["schedule"])]
    train = result["train"]
    if train is not None:
        rows.append(("last loss in training", f"{train['loss']:.4f}"))
    for name, title in (("val_before", "accuracy before"), ("val", f"accuracy at step {result['kept_step']}")):
        if result[name] is not None:
            counted = result[name]
            rows.append((title, f"{counted['accuracy']:.1%} ({counted['right']} of {counted['of']})"))
    rows.append(("model", result["model"]))
    print_table(("fine-tuned", f"{result['steps']} steps"), rows)
