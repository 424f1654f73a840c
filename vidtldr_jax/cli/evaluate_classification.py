"""`vidtldr evaluate classification`: top-1 and top-5 on a data set, with and without merging."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from vidtldr_jax.cli.choices import FILE, FOLDER, ChoiceType
from vidtldr_jax.cli.evaluation_files import check_result_place, name_options, report_errors
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.names import AVERAGES
from vidtldr_jax.cli.options import (
    DEFAULT_MODEL,
    cache_option,
    choose_mesh,
    devices_option,
    dtype_option,
    find_model,
    json_option,
    method_option,
    optional_model_option,
    refuse_model,
    schedule_option,
    verbose_option,
)
from vidtldr_jax.cli.output import print_json, watch_progress
from vidtldr_jax.cli.python_config import RUNS_CODE
from vidtldr_jax.cli.runtime import log_model

if TYPE_CHECKING:
    from vidtldr_jax.cli.classification_config import Experiment
    from vidtldr_jax.data.preprocessing import Preprocessing
    from vidtldr_jax.evaluation.heads import Average
    from vidtldr_jax.inference.model import VideoModel
    from vidtldr_jax.models.architectures import Config

_EPILOG: Final = """\b
Examples:
  vidtldr evaluate classification --manifest val.csv --schedule 100,40 --compare-plain
  vidtldr evaluate classification --config configs/scenic/k400_b16x2.py --model checkpoints/vivit-b16x2 \\
      --manifest kinetics400/val.csv --out results/k400.json --workers 8 --dtype bfloat16
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--config",
    type=FILE,
    metavar="FILE.py[:ARG]",
    help=f"Experiment in Scenic's format. {RUNS_CODE} Needs the extra 'configs'.",
)
@optional_model_option
@click.option("--manifest", type=FILE, help="CSV with a header, or JSON Lines: path, label.")
@click.option("--root", type=FOLDER, help="Folder that paths are relative to.  [default: the manifest's folder]")
@schedule_option("Without it: the config's, or no merging.")
@method_option
@click.option("--clips", type=click.IntRange(min=1), help="Clips per video.  [default: the config's or the model's]")
@click.option("--crops", type=ChoiceType(["1", "3"]), help="Crops per clip.  [default: the same]")
@click.option(
    "--average",
    type=ChoiceType(AVERAGES),
    help="What of the views is averaged.  [default: the config's, or probabilities]",
)
@click.option(
    "--class-embeddings", type=FILE, help="Zero-shot: .npz or .safetensors with embeddings [classes, E] and names."
)
@click.option("--compare-plain", is_flag=True, help="Run the plain model on the same views too.")
@click.option("--limit", type=click.IntRange(min=1), help="Number of videos to take from the start of the manifest.")
@click.option("--out", type=FILE, metavar="FILE.json", help="Result file; records beside it let a later start resume.")
@click.option("--restart", is_flag=True, help="Discard the records beside --out.")
@click.option("--skip-missing", is_flag=True, help="Leave out videos that don't exist, and say how many.")
@click.option("--batch-size", type=click.IntRange(min=1), default=4, show_default=True, help="Views per run.")
@click.option(
    "--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Number of decoding processes."
)
@devices_option
@dtype_option
@json_option
@cache_option
@verbose_option
def classification(
    config: str | None,
    model: str | None,
    manifest: str | None,
    root: str | None,
    schedule: str | None,
    method: str | None,
    clips: int | None,
    crops: str | None,
    average: Average | None,
    class_embeddings: str | None,
    compare_plain: bool,
    limit: int | None,
    out: str | None,
    restart: bool,
    skip_missing: bool,
    batch_size: int,
    workers: int,
    devices: int,
    dtype: str,
    as_json: bool,
) -> int:
    """Measures top-1 and top-5 accuracy on labelled videos.

    With --out every video is recorded as soon as it is answered; the same command goes on where it was broken off. A
    video that can't be read is named and counts as wrong; the exit code is then 1.
    """
    from vidtldr_jax.cli.classification_config import load_experiment
    from vidtldr_jax.cli.classification_report import print_result
    from vidtldr_jax.evaluation.classification import evaluate_classification

    experiment = load_experiment(config) if config else None
    setup = _prepare(
        experiment, config, model, schedule=schedule, method=method, clips=clips, crops=crops, dtype=dtype,
        devices=devices,
    )  # fmt: skip
    place = manifest or (experiment.manifest if experiment else None)
    if place is None:
        raise click.UsageError("--manifest is needed: a list of videos and their classes.")
    inputs: list[Any] = [place, setup.folder, *([class_embeddings] if class_embeddings else [])]
    with name_options(videos="--root"):
        result = evaluate_classification(
            setup.model,
            place,
            root or (experiment.root if experiment else None),
            heads=experiment.heads if experiment else None,
            average=average or (experiment.average if experiment else "probabilities"),
            class_embeddings=class_embeddings,
            compare_plain=compare_plain,
            limit=limit,
            skip_missing=skip_missing,
            out=None if out is None else check_result_place(Path(out), inputs),
            restart=restart,
            checkpoint=setup.folder,
            batch_size=batch_size,
            num_workers=workers,
            watch=watch_progress,
            about={"model": setup.name, "config": config, "devices": devices},
        )
    report_errors(result["errors"])
    if as_json:
        print_json(result)
    else:
        print_result(result)
    return 1 if result["errors"] else 0


class _Setup(NamedTuple):
    """What is evaluated: the model, and where its weights are."""

    name: str
    folder: Path
    model: VideoModel


def _prepare(
    experiment: Experiment | None,
    config: str | None,
    name: str | None,
    *,
    schedule: str | None,
    method: str | None,
    clips: int | None,
    crops: str | None,
    dtype: str,
    devices: int,
) -> _Setup:
    from vidtldr_jax.cli.classification_config import change_frames, match_architecture
    from vidtldr_jax.inference.checkpoint import read_checkpoint
    from vidtldr_jax.inference.load import make_model

    chosen = name or (experiment.checkpoint if experiment else DEFAULT_MODEL)
    if chosen is None:
        raise click.UsageError(f"--model is needed: {config} names no checkpoint.")
    folder = find_model(chosen)
    stored = read_checkpoint(folder)
    architecture: Config = stored.config
    recipe = stored.preprocessing
    reducing: dict[str, Any] = {"schedule": schedule, "method": method}
    if experiment is not None:
        reducing = {
            "schedule": schedule if schedule is not None else experiment.schedule,
            "method": method or experiment.method,
        }
        if experiment.architecture is not None:
            architecture = match_architecture(stored.config, experiment.architecture, place=str(config))
            recipe = experiment.preprocessing or recipe
    try:
        if experiment is not None and experiment.num_frames is not None:
            architecture, recipe = change_frames(architecture, recipe, experiment.num_frames)
    except ValueError as error:
        raise CommandError(f"{config}: {error}") from error
    try:
        stored = stored._replace(config=architecture, preprocessing=_change_views(recipe, clips, crops))
        model = make_model(stored, dtype=dtype, mesh=choose_mesh(devices), **reducing)
    except ValueError as error:
        raise refuse_model(error, config=config if schedule is None else None) from error
    log_model(model)
    return _Setup(chosen, folder, model)


def _change_views(recipe: Preprocessing, clips: int | None, crops: str | None) -> Preprocessing:
    changes: dict[str, Any] = {} if clips is None else {"num_clips": clips}
    if crops is not None and int(crops) != recipe.num_crops:
        three = "three_up" if recipe.sampling == "windows" else "three"
        changes["crop"] = three if crops == "3" else "center"
    return dataclasses.replace(recipe, **changes)
