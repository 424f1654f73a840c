"""What evaluations of a UMT share: their options, their config, the model that is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from vidtldr_jax.cli.choices import FILE, FOLDER
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.options import (
    ModelType,
    cache_option,
    choose_mesh,
    devices_option,
    dtype_option,
    find_model,
    json_option,
    method_option,
    refuse_model,
    schedule_option,
    verbose_option,
)
from vidtldr_jax.cli.python_config import RUNS_CODE, run_config
from vidtldr_jax.cli.runtime import log_model
from vidtldr_jax.trust.nearest import describe_unknown_fields

if TYPE_CHECKING:
    from vidtldr_jax.data.preprocessing import Preprocessing
    from vidtldr_jax.inference.checkpoint import Checkpoint
    from vidtldr_jax.inference.text_model import TextModel
    from vidtldr_jax.models.umt_config import UMTConfig

Command = TypeVar("Command", bound=Callable[..., Any])

_PURPOSES: Final = {"retrieval": "evaluate retrieval", "question_answering": "evaluate qa"}
# The same for those who have no data set.
EVERYDAY: Final = {"retrieval": "search", "question_answering": "ask"}
# Field of a config's architecture -> where it is in a UMT's.
_ARCHITECTURE: Final[dict[str, Callable[[UMTConfig], Any]]] = {
    "dim": lambda config: config.vision.dim,
    "depth": lambda config: config.vision.depth,
    "num_heads": lambda config: config.vision.num_heads,
    "text_dim": lambda config: config.text.dim,
    "text_depth": lambda config: config.text.depth,
    "fusion_from_layer": lambda config: config.text.fusion_from_layer,
    "embed_dim": lambda config: config.vision.embed_dim,
}


class Setup(NamedTuple):
    """What is evaluated.

    Attributes:
      name: of the model as it was given.
      folder: where its weights are.
      model: ready to call.
      config: fields of the config file; empty without one.
    """

    name: str
    folder: Path
    model: TextModel
    config: Mapping[str, Any]

    def describe(self, config: str | None, devices: int) -> dict[str, Any]:
        """Return what a command knows of an evaluation beside its result.

        Args:
          config: place of the config file, or None.
          devices: over how many batches were split.
        """
        known = {name: self.config.get(name) for name in ("dataset", "split", "published")}
        return {"model": self.name, "config": config, "devices": devices, **known}


def umt_options(command: Command) -> Command:
    """Adds the options that evaluations of a UMT share."""
    options = (
        click.option(
            "--config", type=FILE, metavar="FILE.py:ARG",
            help=f"Data set and protocol. {RUNS_CODE} Needs the extra 'configs'.",
        ),
        click.option(
            "--model", type=ModelType(), metavar="FOLDER|NAME", help="Checkpoint folder.  [default: the config's]"
        ),
        click.option(
            "--annotation", type=FILE, metavar="FILE.json", help="Videos with their texts.  [default: the config's]",
        ),
        click.option("--videos", type=FOLDER, help="Folder of the videos.  [default: the annotation's folder]"),
        tokenizer_option,
        schedule_option("Without it: the config's, or no merging."),
        method_option,
        click.option(
            "--frames", type=click.IntRange(min=1),
            help="Frames per video.  [default: the config's or the model's]",
        ),
        click.option(
            "--first-seconds", type=click.FloatRange(min=0, min_open=True),
            help="Length of the beginning of a video that is used, in seconds.",
        ),
        click.option("--limit", type=click.IntRange(min=1), help="Number of videos to take from the start."),
        click.option(
            "--out", type=FILE, metavar="FILE.json", help="Result file; files beside it let a later start resume.",
        ),
        click.option("--restart", is_flag=True, help="Discard what is beside --out."),
        click.option("--skip-missing", is_flag=True, help="Leave out videos that don't exist, and say how many."),
        click.option("--batch-size", type=click.IntRange(min=1), default=4, show_default=True, help="Videos per run."),
        click.option(
            "--workers", type=click.IntRange(min=0), default=0, show_default=True,
            help="Number of decoding processes.",
        ),
        devices_option,
        dtype_option,
        json_option,
        cache_option,
        verbose_option,
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def tokenizer_option(command: Command) -> Command:
    """Adds --tokenizer."""
    text = "vocab.txt or tokenizer.json of the model.  [default: the checkpoint's]"
    return click.option("--tokenizer", type=FILE, metavar="FILE|FOLDER|hf://...", help=text)(command)


def prepare(
    config: str | None,
    name: str | None,
    *,
    task: str,
    schedule: str | None,
    method: str | None,
    frames: int | None,
    first_seconds: float | None,
    tokenizer: str | None,
    dtype: str,
    devices: int,
) -> Setup:
    """Loads what an evaluation needs.

    Args:
      config: place of a config file, or None.
      name: of the model, or None for the config's.
      task: "retrieval" or "question_answering".
      schedule: as it was written; None for the config's.
      method: how tokens are chosen; None for the config's, or vid-TLDR.
      frames: of a clip; None for the config's, or the model's.
      first_seconds: what of a video is looked at; None for the config's, or all.
      tokenizer: place of one; None for the checkpoint's.
      dtype: of the computation.
      devices: over how many to split batches.

    Returns:
      A `Setup`.

    Raises:
      CommandError: something is missing or does not fit.
    """
    fields = {} if config is None else _read_config(config, task)
    chosen = name or fields.get("checkpoint")
    if not chosen:
        raise click.UsageError("--model is needed: the checkpoint folder of a UMT.")
    folder = find_model(chosen)
    stored = open_umt(folder, chosen, task=task, tokenizer=tokenizer)
    _match_architecture(stored.config, fields.get("architecture") or {}, place=str(config))
    recipe = dataclasses.replace(
        stored.preprocessing.take_one_view(),
        num_frames=frames or fields.get("num_frames") or stored.preprocessing.num_frames,
        first_seconds=first_seconds or fields.get("first_seconds") or stored.preprocessing.first_seconds,
    )
    size = fields.get("image_size", recipe.image_size)
    if size != recipe.image_size:
        raise CommandError(
            f"a checkpoint's frames are as large as its config's; {config} has image_size = {size}, the checkpoint "
            f"{recipe.image_size}; take another checkpoint or another config."
        )
    written = schedule if schedule is not None else fields.get("schedule")
    model = build(
        stored, recipe, written, method or fields.get("method"), dtype, devices,
        config_place=config if schedule is None else None, frames_place="--frames" if frames else config,
    )  # fmt: skip
    return Setup(chosen, folder, model, fields)


def open_umt(
    folder: Path,
    name: str,
    *,
    task: str,
    tokenizer: str | None = None,
    commands: Mapping[str, str] = _PURPOSES,
) -> Checkpoint:
    """Reads the checkpoint of a UMT.

    Args:
      folder: what `find_model` returned.
      name: what the user calls it, for messages.
      task: what it must be for.
      commands: task -> the command for it, which the message names.
      tokenizer: place of another tokenizer than the checkpoint's.

    Returns:
      The checkpoint.

    Raises:
      CommandError: there is none, or it is for another task.
      TextError: the tokenizer is not the model's.
    """
    from vidtldr_jax.inference.checkpoint import read_checkpoint
    from vidtldr_jax.inference.hub import load_tokenizer
    from vidtldr_jax.models.umt_config import UMTConfig

    stored = read_checkpoint(folder)
    config = stored.config
    if not isinstance(config, UMTConfig) or config.task != task:
        what, hint = f"a {stored.family} model", ""
        if isinstance(config, UMTConfig):
            what, hint = f"a UMT for {config.task}", f"take vidtldr {commands[config.task]}, or "
        raise CommandError(f"a UMT for {task} is needed; {name!r} is {what}; {hint or 'take '}another checkpoint.")
    if tokenizer is not None:
        words = load_tokenizer(tokenizer)
        words.check_size(config.text.vocab_size)
        stored = stored._replace(tokenizer=words.to_json())
    return stored


def build(
    stored: Checkpoint,
    recipe: Preprocessing,
    schedule: str | None,
    method: str | None,
    dtype: str,
    devices: int,
    *,
    config_place: str | None = None,
    frames_place: str | None = "--frames",
) -> TextModel:
    """Makes a UMT for clips of a recipe's length.

    Args:
      stored: its checkpoint.
      recipe: how clips are made.
      schedule: as it was written.
      method: how tokens are chosen; None is vid-TLDR.
      dtype: of the computation.
      devices: over how many to split batches.
      config_place: the config that the schedule is from; None where it is from --schedule.
      frames_place: the option or config that the number of frames is from.

    Returns:
      The model.

    Raises:
      CommandError: schedule, frames or devices don't fit.
    """
    from vidtldr_jax.inference.checkpoint import check_params
    from vidtldr_jax.inference.load import make_model
    from vidtldr_jax.inference.text_model import TextModel
    from vidtldr_jax.models.umt_config import UMTConfig

    config = stored.config
    try:
        if isinstance(config, UMTConfig) and recipe.num_frames != config.num_frames:
            vision = dataclasses.replace(config.vision, num_frames=recipe.num_frames)
            config = dataclasses.replace(config, vision=vision)
            check_params(stored.params, config)  # a learned table is of one length
    except ValueError as error:
        raise CommandError(f"{frames_place}: {error}") from error
    try:
        model = make_model(
            stored._replace(config=config, preprocessing=recipe),
            schedule=schedule,
            method=method,
            dtype=dtype,
            mesh=choose_mesh(devices),
        )
    except ValueError as error:
        raise refuse_model(error, config=config_place) from error
    assert isinstance(model, TextModel)
    log_model(model)
    return model


def _read_config(place: str, task: str) -> dict[str, Any]:
    config = run_config(place)
    found = config.get("task")
    if found != task:
        hint = f"take {_PURPOSES[found]}" if found in _PURPOSES else "take configs/retrieval.py or configs/qa.py"
        raise CommandError(f"a config with task = {task!r} is needed; {place} has {found!r}; {hint}.")
    return dict(config.to_dict())


def _match_architecture(config: Any, wanted: Mapping[str, Any], *, place: str) -> None:
    there = {name: read(config) for name, read in _ARCHITECTURE.items()}
    faults = describe_unknown_fields(wanted, there)
    faults += [
        f"{name} = {there[name]!r}, not {value!r}"
        for name, value in wanted.items()
        if name in there and value is not None and there[name] != value
    ]
    if faults:
        raise CommandError(
            f"a checkpoint has the architecture of its config; that of {place} is another one: the checkpoint has "
            f"{'; '.join(faults)}; take another checkpoint or another config."
        )
