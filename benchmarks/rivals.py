"""The official algorithm and torch's fused attention on the weights of one of our classifiers. Needs torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from checkpoints_convert import FAMILIES
from checkpoints_convert.export import make_state_dict
from tests.reference.official_torch import Attention, encode
from vidtldr_jax.inference.checkpoint import flatten_params
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.positions import sincos_positions


def make_classifier_config(config: VideoViTConfig) -> VideoViTConfig:
    """Returns the same encoder as the classifier that the official algorithm is said again for."""
    return dataclasses.replace(config, final_norm=False, embed_dim=None, num_classes=400)


def make_tensors(model: VideoModel) -> dict[str, torch.Tensor]:
    """Returns a classifier's weights under the original's names, copied."""
    params = {path: np.asarray(values) for path, values in flatten_params(model.params).items()}
    state, _ = make_state_dict(params, model.config, FAMILIES["single_modality"])
    tensors = {key: torch.from_numpy(np.array(values)) for key, values in state.items()}
    tensors["pos_embed"] = torch.from_numpy(sincos_positions(model.config.grid, model.config.dim))[None]
    return tensors


def make_run(
    tensors: dict[str, torch.Tensor], config: VideoViTConfig, video: np.ndarray, r: Sequence[int], attention: Attention
) -> Callable[[], torch.Tensor]:
    """Makes what is timed.

    Args:
      tensors: from `make_tensors`.
      config: of the model.
      video: `[B, T, Y, X, C]`.
      r: tokens absorbed per layer; empty is the plain model.
      attention: "official" or "fused".

    Returns:
      A function that runs once and returns the logits.
    """
    frames = torch.from_numpy(np.ascontiguousarray(video.transpose(0, 4, 1, 2, 3)))

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return encode(tensors, frames, num_heads=config.num_heads, r=r, attention=attention).logits

    return run
