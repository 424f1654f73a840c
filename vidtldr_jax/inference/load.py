"""From the name of a checkpoint to a model: a folder, a shipped one, or a copy from a hub.

model = load_model("checkpoints/umt-b16-msrvtt", schedule="600,200,100")
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import flax.linen as nn
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

SAMPLE_CLIPS: Final = ("coming_together", "left", "turning_clockwise")
SHIPPED_MODELS: Final = {"moving-objects": "moving_objects", "moving-objects-retrieval": "moving_objects_retrieval"}


def load_model(
    checkpoint: str | os.PathLike[str],
    *,
    schedule: Schedule = None,
    method: str | Method | None = None,
    dtype: Any = jnp.float32,
    attention: ops.AttentionForm = "auto",
    merging: ops.MergeForm = "auto",
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
      merging: one of the forms of `ops.merge_tokens`.
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
    options: dict[str, Any] = {"schedule": schedule, "method": method, "attention": attention, "merging": merging}
    return make_model(stored, dtype=dtype, scan_layers=scan_layers, mesh=mesh, **options)


def load_module(
    checkpoint: str | os.PathLike[str],
    *,
    schedule: Schedule = None,
    method: str | Method | None = None,
    dtype: Any = jnp.float32,
    attention: ops.AttentionForm = "auto",
    merging: ops.MergeForm = "auto",
    scan_layers: bool = False,
    verify: bool | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Load a checkpoint as a Flax module and its variables, for code of your own.

        module, variables = vt.load_module("moving-objects", schedule="100,40")
        out = module.apply(variables, video)  # a VideoOutput

    The pair works under jit, grad, vmap, scan and shard_map. Its variables are named alike on every backend.

    Args:
      checkpoint: what `load_model` takes.
      schedule: tokens that each layer loses, resolved for clips of the checkpoint's size; None is the plain model.
      method: how they are chosen, see `load_model`.
      dtype: dtype of the computation and of the variables.
      attention: one of the forms of `ops.attend`.
      merging: one of the forms of `ops.merge_tokens`.
      scan_layers: stack the variables of all blocks along one axis and run the blocks after the last reduction under
        one scan, which compiles faster.
      verify: see `load_model`.

    Returns:
      The module, called with (video, trace=False, deterministic=True), and its variables {"params": ...}. For training,
      `module.clone(drop_rates=..., remat=True)` is the same module with dropout, see `models.DropRates`.

    Raises:
      CheckpointError: the folder is missing, damaged, changed or does not fit.
      ValueError: the schedule or the method does not fit the model.
    """
    model = load_model(
        checkpoint,
        schedule=schedule,
        method=method,
        dtype=dtype,
        attention=attention,
        merging=merging,
        scan_layers=scan_layers,
        verify=verify,
    )
    return model.module, model.variables


def make_model(stored: Checkpoint, **options: Any) -> VideoModel:
    """Makes the model of a checkpoint.

    Args:
      stored: what `read_checkpoint` returned, perhaps with another architecture or preprocessing put in.
      **options: of `VideoModel`: schedule, method, dtype, attention, merging, scan_layers, mesh.

    Returns:
      A `RetrievalModel` or an `AnsweringModel` for a UMT of that task, else a `VideoModel`.

    Raises:
      ValueError: the schedule or the mesh does not fit the model.
    """
    fields: dict[str, Any] = {
        "preprocessing": stored.preprocessing,
        "labels": stored.labels,
        "tokenizer": stored.tokenizer,
        "source": stored.source,
    }
    return build_model(stored.params, stored.config, **fields, **options)


def build_model(params: Mapping[str, Any], config: Config, **options: Any) -> VideoModel:
    """Build a model of the class that its architecture has: the one place that chooses it.

    Args:
      params: the parameters, flat or nested.
      config: the architecture.
      **options: of `VideoModel`, such as preprocessing, which is required.

    Returns:
      A `RetrievalModel` or an `AnsweringModel` for a UMT of that task, else a `VideoModel`.

    Raises:
      ValueError: the schedule, the method or the mesh does not fit the model.
    """
    kind = VideoModel
    if isinstance(config, UMTConfig):
        kind = RetrievalModel if config.task == "retrieval" else AnsweringModel
    return kind(params, config, **options)


def find_checkpoint(checkpoint: str | os.PathLike[str]) -> Path:
    """Returns the folder of a checkpoint: the path itself, that of a shipped model, or of a copy from a hub."""
    if str(checkpoint) in SHIPPED_MODELS and not Path(checkpoint).is_dir():
        return find_asset(SHIPPED_MODELS[str(checkpoint)])
    if str(checkpoint).startswith(SCHEME):
        return download_checkpoint(str(checkpoint))
    return Path(checkpoint)


def find_sample_clip(name: str = "coming_together") -> Path:
    """Return the path of a clip that ships with the package: moving digits over a photograph, 3 seconds.

    Args:
      name: one of `SAMPLE_CLIPS`: the motion that it shows.

    Returns:
      The path of an MP4 file.

    Raises:
      ValueError: there is no such clip.
    """
    if name not in SAMPLE_CLIPS:
        raise ValueError(f"sample clips are {', '.join(SAMPLE_CLIPS)}; got {name!r}; choose one of these.")
    return find_asset("clips") / f"{name}.mp4"


def find_sample_gallery() -> Path:
    """Return the folder of videos that ships with the package, to search by a sentence."""
    return find_asset("gallery")


def find_asset(name: str) -> Path:
    """Returns the path of a file or folder that ships with the package."""
    return Path(str(resources.files("vidtldr_jax") / "assets" / name))
