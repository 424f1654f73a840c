"""The config of a planned schedule: a Python file with `get_config`, as `vidtldr evaluate --config` takes it."""

from __future__ import annotations

import os
import pprint
from pathlib import Path
from typing import Any, Final

from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.plan_report import Outcome
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.load import SHIPPED_MODELS
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.reduction.schedule import ResolvedSchedule
from vidtldr_jax.trust.harmless import make_harmless
from vidtldr_jax.trust.whole_files import write_whole

_WIDTH: Final = 110
_COMMANDS: Final = {
    "retrieval": "evaluate retrieval --annotation FILE.json --videos FOLDER",
    "question_answering": "evaluate qa --annotation FILE.json --answers FILE.json --videos FOLDER",
    "classification": "evaluate classification --manifest val.csv",
}


def check_config_place(place: str) -> None:
    """Makes sure that a config can be written, before any work.

    Args:
      place: where it is to go.

    Raises:
      CommandError: it is no Python file, or is there already.
    """
    path = Path(place)
    if path.suffix != ".py" or not path.parent.is_dir():
        raise CommandError(f"--write-config is a file that ends in .py in a folder that exists; got {place!r}; fix it.")
    if path.exists():
        raise CommandError(
            f"--write-config overwrites nothing; {place!r} is there; give another name, or move it away."
        )


def save_config(path: Path, model: VideoModel, outcome: Outcome) -> None:
    """Writes the config of what was chosen.

    Args:
      path: of the file.
      model: that was planned for.
      outcome: of the plan.
    """
    schedule, checkpoint = outcome.chosen.schedule, outcome.name
    if checkpoint not in SHIPPED_MODELS and Path(checkpoint).is_dir():
        checkpoint = os.path.abspath(checkpoint)
    config = model.config
    frames = outcome.frames
    task, fields = "classification", _describe_classifier(schedule, checkpoint, frames)
    if isinstance(config, UMTConfig):
        task = str(config.task)
        fields = _describe_umt(config, model.preprocessing, schedule, checkpoint, frames)
    body = pprint.pformat(fields, width=_WIDTH, sort_dicts=False).replace("\n", "\n    ")
    write_whole(
        path,
        f'"""{_quote(outcome.name)}: {outcome.budget}, planned by `vidtldr plan`.\n\n'
        f"    vidtldr {_COMMANDS[task]} --config {_quote(path.name)}\n\n"
        f"{schedule.describe()}.\n"
        f'"""\n\nimport ml_collections\n\n\ndef get_config() -> ml_collections.ConfigDict:\n'
        f'    """Returns the config."""\n    return ml_collections.ConfigDict(\n    {body}\n    )\n',
    )


def _quote(name: str) -> str:
    """Writes a name so that it stays within a docstring."""
    return make_harmless(name).replace("\\", "\\\\").replace('"', '\\"')


def _describe_classifier(schedule: ResolvedSchedule, checkpoint: str, frames: int) -> dict[str, Any]:
    return {
        "task": "classification",
        "checkpoint": checkpoint,
        "schedule": schedule.text,
        "method": schedule.method.name,
        "num_frames": frames,
    }


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
