"""What is trained on what: a checkpoint and lists of videos in, everything that a run needs out, checked."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from vidtldr_jax.data.manifest import ManifestEntry, read_manifest
from vidtldr_jax.inference.checkpoint import WEIGHTS_NAME, Checkpoint, find_param_shapes, read_checkpoint
from vidtldr_jax.inference.load import find_checkpoint
from vidtldr_jax.models.architectures import Config, describe_config
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction.fitting import fit_schedule
from vidtldr_jax.reduction.methods import DEFAULT_METHOD
from vidtldr_jax.reduction.schedule import ResolvedSchedule
from vidtldr_jax.train.classes import Classes, find_classes
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.few_labels import select_few
from vidtldr_jax.train.optimizer import HEAD
from vidtldr_jax.train.recipe import Recipe
from vidtldr_jax.train.steps import StepSetup
from vidtldr_jax.trust.digests import hash_bytes, hash_file

_HEAD_SPREAD: Final = 0.01  # of a new classifier's weights
_HEAD_STREAM: Final = 12
_MOST_NAMED: Final = 10


class Setup(NamedTuple):
    """Everything that a run needs.

    Attributes:
      stored: the checkpoint that it starts from.
      config: the architecture that is trained; its classifier may be a new one.
      classes: of the run.
      params: flat path -> float32 array, before the first step.
      train: the videos that are trained on.
      val: the videos that are evaluated on; empty for none.
      recipe: how.
      schedule: what is merged in training.
      num_steps: of the whole run.
      description: all that decides the result, as plain data.
      notes: what a user should know before it starts.
    """

    stored: Checkpoint
    config: Config
    classes: Classes
    params: dict[str, np.ndarray]
    train: list[ManifestEntry]
    val: list[ManifestEntry]
    recipe: Recipe
    schedule: ResolvedSchedule
    num_steps: int
    description: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def step_setup(self) -> StepSetup:
        """What a step is compiled for."""
        is_plain = self.schedule.is_plain  # without merging every method is the same
        return StepSetup(
            config=self.config,
            preprocessing=self.stored.preprocessing,
            recipe=self.recipe.strip(),
            r=() if is_plain else self.schedule.r,
            method=DEFAULT_METHOD if is_plain else self.schedule.method,
            num_steps=self.num_steps,
            num_classes=self.classes.num_classes,
            takes_features=self.recipe.probe and not self.recipe.is_random,
        )


def prepare(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    recipe: Recipe,
    *,
    val: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Setup:
    """Reads and checks everything; trains nothing.

    Args:
      model: folder of a checkpoint, or another name that `load_model` takes; its classifier is replaced where
        `recipe.new_head` asks for it.
      data: list of training videos, see `data.manifest`.
      recipe: how to train.
      val: list of videos to evaluate on, with the same classes.
      root: what paths are relative to; None for each list's own folder.

    Returns:
      A `Setup`.

    Raises:
      TrainError: the model has no classifier and can't get one, a label means none of its classes and no new classifier
        is asked for, a video does not exist, or a schedule does not fit.
      ValueError: a list has faults, or a class fewer videos than `recipe.few`.
      CheckpointError: the checkpoint can't be read.
    """
    place = find_checkpoint(model)
    stored = read_checkpoint(place)
    architecture = _check_architecture(stored)
    classes = find_classes(
        data, model_names=stored.labels, model_count=stored.config.num_classes, new_head=recipe.new_head
    )
    options: dict[str, Any] = {"root": root, "class_names": [classes.names], "num_classes": [classes.num_classes]}
    listed = read_manifest(data, **options)
    chosen = listed
    if recipe.few is not None:
        # Of a model's own classes some may have no video here, and a note says so.
        wanted = range(classes.num_classes) if classes.is_new else sorted({entry.labels[0] for entry in listed})
        chosen = select_few(listed, k=recipe.few, seed=recipe.seed, classes=wanted, class_names=classes.names)
    watched = [] if val is None else read_manifest(val, **options)
    _check_files([*chosen, *watched])
    config: Config = dataclasses.replace(architecture, num_classes=classes.num_classes)
    schedule = _resolve(recipe.schedule, config, recipe.method)
    _resolve(recipe.eval_schedule or recipe.schedule, config, recipe.method)
    num_steps = recipe.count_steps(len(chosen))
    description = {
        "recipe": recipe.to_dict(),
        "model": {
            "weights_sha256": hash_file(place / WEIGHTS_NAME),
            "architecture": describe_config(stored.config),
            "preprocessing": stored.preprocessing.to_dict(),
        },
        "classes": {"count": classes.num_classes, "names": classes.names and list(classes.names)},
        "train": _describe_videos(chosen),
        "val": _describe_videos(watched),
        "num_steps": num_steps,
    }
    params = _start_params(stored, config, classes, recipe.seed)
    notes = _collect_notes(classes, chosen, watched)
    return Setup(stored, config, classes, params, chosen, watched, recipe, schedule, num_steps, description, notes)


def _check_architecture(stored: Checkpoint) -> VideoViTConfig | ViViTConfig:
    config = stored.config
    if isinstance(config, CLIPConfig | UMTConfig):
        what = f"a UMT for {config.task}" if isinstance(config, UMTConfig) else "CLIP's vision tower"
        raise TrainError(
            f"a video transformer that has a classifier, or takes one, is trained (video_vit, vivit); got "
            f"{what}, which compares videos with texts; take another checkpoint."
        )
    return config


def _check_files(entries: Sequence[ManifestEntry]) -> None:
    missing = list(dict.fromkeys(str(entry.path) for entry in entries if not entry.path.exists()))
    if missing:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        raise TrainError(
            f"videos must exist; {len(missing)} of {len(entries)} don't: "
            f"{', '.join(missing[:_MOST_NAMED])}{more}; give --root, or take them off the list."
        )


def _resolve(schedule: str, config: Config, method: str) -> ResolvedSchedule:
    try:
        return fit_schedule(config, schedule, method=method)
    except ValueError as error:
        raise TrainError(f"the schedule must fit the model: {error}") from error


def _start_params(stored: Checkpoint, config: Config, classes: Classes, seed: int) -> dict[str, np.ndarray]:
    shapes = find_param_shapes(config)
    params = {path: np.asarray(value, np.float32) for path, value in stored.params.items()}
    if classes.is_new:
        rng = np.random.default_rng((seed, _HEAD_STREAM))
        kernel = f"{HEAD}kernel"
        params[kernel] = (_HEAD_SPREAD * rng.standard_normal(shapes[kernel])).astype(np.float32)
        params[f"{HEAD}bias"] = np.zeros(shapes[f"{HEAD}bias"], np.float32)
    return {path: params[path] for path in shapes}


def _describe_videos(entries: Sequence[ManifestEntry]) -> dict[str, Any]:
    """Tells one list of videos from another without reading them: names, classes, sizes of files."""
    lines = [
        [entry.name, list(entry.labels), entry.path.stat().st_size if entry.path.is_file() else None]
        for entry in entries
    ]
    return {"count": len(lines), "sha256": hash_bytes(json.dumps(lines).encode())}


def _collect_notes(classes: Classes, train: Sequence[ManifestEntry], val: Sequence[ManifestEntry]) -> tuple[str, ...]:
    notes = list(classes.notes)
    places = {os.path.abspath(entry.path) for entry in train}
    if both := sum(os.path.abspath(entry.path) in places for entry in val):
        notes.append(f"{both} of {len(val)} validation videos are trained on too: their accuracy says little")
    absent = sorted(set(range(classes.num_classes)) - {entry.labels[0] for entry in train})
    if absent:
        named = ", ".join(classes.names[label] if classes.names else str(label) for label in absent[:_MOST_NAMED])
        notes.append(f"{len(absent)} of {classes.num_classes} classes have no training video: {named}")
    return tuple(notes)
