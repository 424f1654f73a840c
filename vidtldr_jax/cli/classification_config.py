"""A config, `FILE.py` or `FILE.py:argument`, as `vidtldr evaluate classification` understands it.

It is either one in Scenic's format, or a plain one: `task = "classification"`, and of the fields in `_PLAIN_FIELDS`
those in which an evaluation is to differ from the checkpoint, as `vidtldr plan --write-config` writes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.python_config import run_config
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.evaluation.heads import AVERAGES, Average, Head
from vidtldr_jax.models.architectures import Config
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, get_method
from vidtldr_jax.reduction.schedule import ScheduleEntry, parse_schedule
from vidtldr_jax.scenic_adapter.config_check import check_config
from vidtldr_jax.scenic_adapter.settings import read_architecture, read_preprocessing, read_token_merging
from vidtldr_jax.trust.nearest import describe_unknown_fields

# What does not change a trained model's answer.
_OF_NO_MATTER: Final = ("patch_init",)
_PLAIN_FIELDS: Final = (
    "task", "checkpoint", "schedule", "method", "num_frames", "average", "manifest", "root"
)  # fmt: skip


class Experiment(NamedTuple):
    """What a config says about an evaluation.

    Attributes:
      architecture: of the model; its pooling is by size where `token_merging.pooling` says so. None for that of the
        checkpoint.
      preprocessing: the clips and crops of a test; None for the checkpoint's.
      heads: groups of classes; None where the config has one and does not say of how many classes.
      schedule: entries to merge by; empty for none.
      method: how tokens are chosen.
      average: how views become one answer.
      checkpoint: `config.evaluation.checkpoint`, or None.
      manifest: `config.evaluation.manifest`, else that of the test split of the adapter's data set, or None.
      root: `config.dataset_configs.root`, or None.
      num_frames: of a clip where the checkpoint's architecture is taken; None for the checkpoint's.
    """

    architecture: ViViTConfig | None
    preprocessing: Preprocessing | None
    heads: tuple[Head, ...] | None
    schedule: tuple[ScheduleEntry, ...]
    method: str
    average: Average
    checkpoint: str | None
    manifest: str | None
    root: str | None
    num_frames: int | None = None


def load_experiment(place: str) -> Experiment:
    """Runs a config file and reads what matters here.

    Args:
      place: path of a Python file with `get_config`, perhaps with `:argument` behind it.

    Returns:
      An `Experiment`.

    Raises:
      CommandError: the file can't be run, needs a package that is missing, or asks for what can't be done here.
    """
    config = run_config(place)
    if config.get("task") is not None:
        return _read_plain(config.to_dict(), place)
    if config.get("model") is None or config.get("dataset_configs") is None:
        raise CommandError(
            f"get_config returns a ConfigDict with model and dataset_configs, as Scenic's do, or with task; that of "
            f"{place} does not; fix it, or take the command that it is for."
        )
    name = str(config.get("model_name", ""))
    if "multilabel" in name:
        raise CommandError(
            f"a classification has one right class per head; {place} has the model {name}; evaluate it through Scenic."
        )
    if config.get("model", {}).get("temporal_encoding_config", {}).get("method") == "temporal_sampling":
        raise CommandError(
            f"a model cuts tubelets out of all frames of a clip here; {place} has temporal_sampling; evaluate it "
            "through Scenic."
        )
    try:
        check_config(config, is_training=False, is_whole=False)
        architecture = read_architecture(config)
        merging = read_token_merging(config["model"])
        data = config["dataset_configs"]
        preprocessing = read_preprocessing(config)
    except ValueError as error:
        raise CommandError(f"{place}: {error}") from error
    evaluation, manifests = config.get("evaluation") or {}, data.get("manifests") or {}
    return Experiment(
        architecture,
        preprocessing,
        _read_heads(data, architecture.num_classes),
        merging.schedule if merging is not None else (),
        merging.method if merging is not None else DEFAULT_METHOD.name,
        "probabilities" if config.get("multicrop_softmax_logits", False) else "logits",
        evaluation.get("checkpoint") or None,
        evaluation.get("manifest") or manifests.get("test") or None,
        data.get("root") or None,
    )


def _read_plain(fields: Mapping[str, Any], place: str) -> Experiment:
    if fields["task"] != "classification":
        raise CommandError(
            f"a config with task = 'classification' is needed; {place} has {fields['task']!r}; take the command that "
            "it is for."
        )
    unknown = describe_unknown_fields(fields, _PLAIN_FIELDS)
    average: Any = fields.get("average") or "probabilities"
    if average not in AVERAGES:
        unknown.append(f"average = {average!r} is none of {', '.join(AVERAGES)}")
    if unknown:
        raise CommandError(f"{place}: {'; '.join(unknown)}; fields are {', '.join(_PLAIN_FIELDS)}; fix the config.")
    try:
        schedule = parse_schedule(fields.get("schedule"))
        method = get_method(fields.get("method") or DEFAULT_METHOD)
    except (ValueError, TypeError) as error:
        raise CommandError(f"{place}: {error}") from error
    return Experiment(
        architecture=None,
        preprocessing=None,
        heads=None,
        schedule=schedule,
        method=method.name,
        average=average,
        checkpoint=fields.get("checkpoint") or None,
        manifest=fields.get("manifest") or None,
        root=fields.get("root") or None,
        num_frames=fields.get("num_frames"),
    )


def match_architecture(found: Config, wanted: ViViTConfig, *, place: str) -> ViViTConfig:
    """Makes sure that a checkpoint is of the model that a config describes.

    Args:
      found: the checkpoint's.
      wanted: the config's.
      place: of the config, for the message.

    Returns:
      The checkpoint's, with the pooling that the config wants.

    Raises:
      CommandError: it is not; all fields that differ are named.
    """
    if not isinstance(found, ViViTConfig):
        raise CommandError(
            f"{place} describes a ViViT; the checkpoint is a {found.architecture}; take its own checkpoint or leave "
            "--config out."
        )
    there, here = _normalise(found), _normalise(wanted)
    if wanted.num_classes is None:
        here["num_classes"] = there["num_classes"]
    faults = [f"{name} = {there.get(name)!r}, not {here[name]!r}" for name in here if there.get(name) != here[name]]
    if faults:
        raise CommandError(
            f"a checkpoint has the architecture of its config; that of {place} is another one: the checkpoint has "
            f"{'; '.join(faults)}; take another checkpoint or fix the config."
        )
    return dataclasses.replace(found, pooling=wanted.pooling)


def change_frames(config: Config, recipe: Preprocessing, num_frames: int) -> tuple[Config, Preprocessing]:
    """Returns an architecture and its preprocessing for clips of another length; learned positions are interpolated.

    Args:
      config: the checkpoint's.
      recipe: the checkpoint's.
      num_frames: of a clip.

    Returns:
      Both, changed.

    Raises:
      ValueError: the length does not fit the model.
    """
    if num_frames == config.num_frames:
        return config, recipe
    changes: dict[str, Any] = {"num_frames": num_frames}
    if isinstance(config, ViViTConfig) or (isinstance(config, VideoViTConfig) and config.positions == "learned"):
        changes["position_grid"] = config.position_grid or config.grid
    return dataclasses.replace(config, **changes), dataclasses.replace(recipe, num_frames=num_frames)


def _normalise(config: ViViTConfig) -> dict[str, Any]:
    """Returns the fields, each in the one way that says the same."""
    fields = dataclasses.asdict(config)
    fields["position_grid"] = tuple(config.position_grid or config.grid)
    fields["pooling"] = config.pooling.removesuffix("_by_size")
    if config.temporal is not None:
        fields |= {"temporal_num_heads": config.temporal.num_heads, "temporal_mlp_dim": config.temporal.mlp_dim}
    if config.attention != "factorized_self_attention":
        del fields["attention_order"]
    return {name: value for name, value in fields.items() if name not in _OF_NO_MATTER}


def _read_heads(data: Any, num_classes: int | None) -> tuple[Head, ...] | None:
    splits = tuple(data.get("class_splits") or ())
    if len(splits) > 1:
        names = tuple(data.get("split_names") or [f"label_{number + 1}" for number in range(len(splits))])
        if len(names) != len(splits):
            raise CommandError(f"class_splits and split_names go together; got {splits} and {names}; fix the config.")
        return tuple(Head(name, count) for name, count in zip(names, splits))
    return None if num_classes is None else (Head("label", num_classes),)
