"""The config of a planned schedule: a Python file with `get_config`, as `vidtldr evaluate --config` takes it."""

from __future__ import annotations

import dataclasses
import os
import pprint
from pathlib import Path
from typing import Any, Final

from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.output import print_note
from vidtldr_jax.cli.plan_report import Outcome
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.load import SHIPPED_MODELS
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.architectures import Config
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction.schedule import ResolvedSchedule
from vidtldr_jax.scenic_adapter.settings import read_architecture, read_preprocessing

_WIDTH: Final = 110
_COMMANDS: Final = {
    "retrieval": "evaluate retrieval --annotation FILE.json --videos FOLDER",
    "question_answering": "evaluate qa --annotation FILE.json --answers FILE.json --videos FOLDER",
    "classification": "evaluate classification --manifest val.csv",
}
# Our word -> Scenic's.
_ATTENTIONS: Final = {"spacetime": "spacetime", "factorized_encoder": "factorized_encoder"}
_CLASSIFIERS: Final = {
    "cls": "token", "first": "0", "max": "gmp",
    "mean": "gap", "mean_by_size": "gap", "sum": "gsp", "sum_by_size": "gsp",
}  # fmt: skip


def check_config_place(place: str, config: Config) -> None:
    """Makes sure that a config can be written, before any work.

    Args:
      place: where it is to go.
      config: of the model.

    Raises:
      CommandError: it is no Python file, is there already, or no evaluation reads configs of such a model.
    """
    path = Path(place)
    if path.suffix != ".py" or not path.parent.is_dir():
        raise CommandError(
            f"--write-config is a file that ends in .py in a folder that exists; {place!r} came; mend it."
        )
    if path.exists():
        raise CommandError(
            f"--write-config overwrites nothing; {place!r} is there; give another name, or move it away."
        )
    if not isinstance(config, UMTConfig | ViViTConfig):
        raise CommandError(
            "--write-config is for a ViViT or a UMT with its texts, whose configs vidtldr evaluate reads; the model is "
            f"a {config.architecture}; give vidtldr evaluate the schedule as --schedule."
        )


def save_config(path: Path, model: VideoModel, outcome: Outcome) -> None:
    """Writes the config of what was chosen.

    Args:
      path: of the file.
      model: that was planned for.
      outcome: of the plan.

    Raises:
      CommandError: the model can't be described in a config.
    """
    schedule, checkpoint = outcome.chosen.schedule, outcome.name
    if checkpoint not in SHIPPED_MODELS and Path(checkpoint).is_dir():
        checkpoint = os.path.abspath(checkpoint)
    config = model.config
    frames = outcome.frames
    if isinstance(config, UMTConfig):
        task = str(config.task)
        fields = _describe_umt(config, model.preprocessing, schedule, checkpoint, frames)
    else:
        assert isinstance(config, ViViTConfig)
        task = "classification"
        recipe = dataclasses.replace(model.preprocessing, num_frames=frames)
        fields = _describe_vivit(dataclasses.replace(config, num_frames=frames), recipe, schedule, checkpoint)
    body = pprint.pformat(fields, width=_WIDTH, sort_dicts=False).replace("\n", "\n    ")
    path.write_text(
        f'"""{outcome.name}: {outcome.budget}, planned by `vidtldr plan`.\n\n'
        f"    vidtldr {_COMMANDS[task]} --config {path.name}\n\n"
        f"{schedule.describe()}.\n"
        f'"""\n\nimport ml_collections\n\n\ndef get_config() -> ml_collections.ConfigDict:\n'
        f'    """Returns the config."""\n    return ml_collections.ConfigDict(\n    {body}\n    )\n',
        encoding="utf-8",
    )


def _describe_umt(
    config: UMTConfig, recipe: Preprocessing, schedule: ResolvedSchedule, checkpoint: str, frames: int
) -> dict[str, Any]:
    return {
        "task": config.task,
        "schedule": schedule.text,
        "method": schedule.method.name,
        "num_frames": frames,
        "image_size": recipe.image_size,
        "first_seconds": recipe.first_seconds,
        "checkpoint": checkpoint,
        "architecture": {
            "dim": config.vision.dim,
            "depth": config.vision.depth,
            "num_heads": config.vision.num_heads,
            "text_dim": config.text.dim,
            "text_depth": config.text.depth,
            "fusion_from_layer": config.text.fusion_from_layer,
            "embed_dim": config.vision.embed_dim,
        },
    }


def _describe_vivit(
    config: ViViTConfig, recipe: Preprocessing, schedule: ResolvedSchedule, checkpoint: str
) -> dict[str, Any]:
    """Describes a ViViT and its clips in Scenic's words, and makes sure that they are read back as they are."""
    over_time = config.temporal
    depths = {"num_layers": config.depth, "num_heads": config.num_heads, "mlp_dim": config.mlp_dim}
    model: dict[str, Any] = {
        "hidden_size": config.dim,
        "representation_size": config.representation_dim,
        "classifier": _CLASSIFIERS[config.pooling],
        "patches": {"size": (config.patch_size, config.patch_size, config.tubelet_size)},
        "temporal_encoding_config": {"method": "3d_conv"},
        "attention_config": {"type": _ATTENTIONS[config.attention]},
        "token_merging": {
            "schedule": schedule.text,
            "method": schedule.method.name,
            "pooling": "by_size" if config.pooling.endswith("_by_size") else "plain",
        },
    }
    if config.attention == "factorized_encoder":
        model["spatial_transformer"] = depths
        if over_time is None:
            model["attention_config"]["spatial_only_baseline"] = True
        else:
            model["temporal_transformer"] = {
                "num_layers": over_time.depth, "num_heads": over_time.num_heads, "mlp_dim": over_time.mlp_dim,
            }  # fmt: skip
    else:
        model |= depths
    data = {
        "num_classes": config.num_classes,
        "num_frames": config.num_frames,
        "stride": recipe.stride,
        "min_resize": recipe.shortest_edge or recipe.image_size,
        "crop_size": recipe.image_size,
        "zero_centering": recipe.mean == (0.5, 0.5, 0.5),
        "num_test_clips": recipe.num_clips,
        "do_three_spatial_crops": recipe.crop == "three_up",
    }
    fields = {
        "model_name": "vivit_classification_token_merging",
        "model": model,
        "dataset_configs": data,
        "evaluation": {"checkpoint": checkpoint, "manifest": ""},
    }
    try:
        there = read_architecture(fields)
    except ValueError as error:
        raise CommandError(f"--write-config: the model can't be described in Scenic's format: {error}") from error
    free = {"patch_init": config.patch_init, "position_grid": config.position_grid}
    there = dataclasses.replace(there, **free)  # type: ignore[arg-type]  # fields of its own class
    if over_time is not None:
        filled = {"temporal_num_heads": over_time.num_heads, "temporal_mlp_dim": over_time.mlp_dim}
        config = dataclasses.replace(config, **filled)  # type: ignore[arg-type]
    faults = _list_differences(config, there)
    if faults:
        raise CommandError(
            f"--write-config: Scenic's format has no word for {', '.join(faults)} of this model; give vidtldr "
            "evaluate the schedule as --schedule."
        )
    changed = _list_differences(recipe, read_preprocessing(fields))
    if changed:
        print_note(
            f"clips are made as Scenic makes them, which differs from the checkpoint's way in {', '.join(changed)}."
        )
    return fields


def _list_differences(wanted: Any, found: Any) -> list[str]:
    names = [field.name for field in dataclasses.fields(wanted)]
    return [name for name in names if getattr(wanted, name) != getattr(found, name)]
