"""From the name of a checkpoint to a model: a folder, a shipped one, or a copy from a hub.

model = load_model("checkpoints/umt-b16-msrvtt", schedule="600,200,100")
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
from jax.sharding import Mesh

from vidtldr_jax import ops
from vidtldr_jax.inference.checkpoint import Checkpoint, read_checkpoint
from vidtldr_jax.inference.hub import SCHEME, download_checkpoint
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.text_model import AnsweringModel, RetrievalModel
from vidtldr_jax.models.architectures import Config
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.reduction.methods import Method
from vidtldr_jax.reduction.schedule import Schedule

SHIPPED_MODELS: Final = {"moving-objects": "moving_objects", "moving-objects-retrieval": "moving_objects_retrieval"}


def load_model(
    checkpoint: str | os.PathLike[str],
    *,
    schedule: Schedule = None,
    method: str | Method | None = None,
    dtype: Any = jnp.float32,
    attention: ops.AttentionForm = "auto",
    scan_layers: bool | None = None,
    mesh: Mesh | None = None,
    verify: bool | None = None,
) -> VideoModel:
    """Load a model from a checkpoint folder, or one that ships with the package.

    Args:
      checkpoint: a folder with model.safetensors and config.json, one of `SHIPPED_MODELS` ("moving-objects" names
        motions, "moving-objects-retrieval" finds them by a sentence), or hf://owner/name of a repository with these two
        files, which needs huggingface_hub.
      schedule: tokens that each layer loses, in any form `parse_schedule` reads; None is the plain model.
      method: how they are chosen: a name in `reduction.METHODS`, or a `Method` of your own; None is vid-TLDR.
      dtype: computation dtype, float32 or bfloat16.
      attention: one of the forms of `ops.attend`.
      scan_layers: run the blocks after the last reduction under one scan; None chooses, see `VideoModel`.
      mesh: devices to spread the model over, see `make_mesh`; None is the default device.
      verify: compare the files with the digests in config.json while they are read; None does unless the environment
        has `VIDTLDR_CHECK_DIGESTS=0`.

    Returns:
      A `VideoModel`; one of a UMT can also encode texts or answer questions, see `make_model`.

    Raises:
      CheckpointError: the folder is missing, damaged, changed or does not fit.
      ValueError: the schedule, the method or the mesh does not fit the model.
    """
    stored = read_checkpoint(find_checkpoint(checkpoint), verify=verify)
    reducing: dict[str, Any] = {"schedule": schedule, "method": method}
    return make_model(stored, dtype=dtype, attention=attention, scan_layers=scan_layers, mesh=mesh, **reducing)


def make_model(stored: Checkpoint, **options: Any) -> VideoModel:
    """Makes the model of a checkpoint.

    Args:
      stored: what `read_checkpoint` returned, perhaps with another architecture or preprocessing put in.
      **options: of `VideoModel`: schedule, method, dtype, attention, scan_layers, mesh.

    Returns:
      A `RetrievalModel` or an `AnsweringModel` for a UMT of that task, else a `VideoModel`.

    Raises:
      ValueError: the schedule or the mesh does not fit the model.
    """
    return find_model_class(stored.config)(
        stored.params,
        stored.config,
        preprocessing=stored.preprocessing,
        labels=stored.labels,
        tokenizer=stored.tokenizer,
        source=stored.source,
        **options,
    )


def find_model_class(config: Config) -> type[VideoModel]:
    """Returns the class of model for an architecture."""
    if not isinstance(config, UMTConfig):
        return VideoModel
    return RetrievalModel if config.task == "retrieval" else AnsweringModel


def find_checkpoint(checkpoint: str | os.PathLike[str]) -> Path:
    """Returns the folder of a checkpoint: the path itself, that of a shipped model, or of a copy from a hub."""
    if str(checkpoint) in SHIPPED_MODELS and not Path(checkpoint).is_dir():
        return find_asset(SHIPPED_MODELS[str(checkpoint)])
    if str(checkpoint).startswith(SCHEME):
        return download_checkpoint(str(checkpoint))
    return Path(checkpoint)


def find_asset(name: str) -> Path:
    """Returns the path of a file or folder that ships with the package."""
    return Path(str(resources.files("vidtldr_jax") / "assets" / name))
