"""The official algorithm and torch's fused attention on the weights of one of our classifiers. Needs torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from checkpoints_convert import FAMILIES
from checkpoints_convert.export import make_state_dict
from tests.reference.official_torch import Attention, encode
from vidtldr_jax.inference.checkpoint import flatten_params
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.positions import sincos_positions
from vidtldr_jax.models.vivit_config import ViViTConfig

EncoderConfig = VideoViTConfig | ViViTConfig


def make_classifier_config(config: EncoderConfig) -> EncoderConfig:
    """Returns the same encoder as the classifier that the official algorithm is said again for."""
    if isinstance(config, ViViTConfig):
        return config
    return dataclasses.replace(config, final_norm=False, embed_dim=None, num_classes=400)


def make_tensors(model: VideoModel) -> dict[str, torch.Tensor]:
    """Returns a classifier's weights under the original's names, copied."""
    params = {path: np.asarray(values, np.float32) for path, values in flatten_params(model.params).items()}
    if isinstance(model.config, ViViTConfig):
        return {key: torch.from_numpy(np.array(values)) for key, values in name_vivit(params, model.config).items()}
    state, _ = make_state_dict(params, model.config, FAMILIES["single_modality"])
    tensors = {key: torch.from_numpy(np.array(values)) for key, values in state.items()}
    tensors["pos_embed"] = torch.from_numpy(sincos_positions(model.config.grid, model.config.dim))[None]
    return tensors


def name_vivit(params: Mapping[str, np.ndarray], config: ViViTConfig) -> dict[str, np.ndarray]:
    """Name the weights of a ViViT over space and time as those of a VideoMAE classifier are named.

    Args:
      params: flat parameter path -> array.
      config: of the model.

    Returns:
      Key -> array, kernels as torch has them.
    """

    def name_layer(path: str, key: str) -> dict[str, np.ndarray]:
        return {f"{key}.weight": params[f"{path}/kernel"].T, f"{key}.bias": params[f"{path}/bias"]}

    def name_norm(path: str, key: str) -> dict[str, np.ndarray]:
        return {f"{key}.weight": params[f"{path}/scale"], f"{key}.bias": params[f"{path}/bias"]}

    state = {
        "patch_embed.proj.weight": params["patch_embed/kernel"].transpose(4, 3, 0, 1, 2),
        "patch_embed.proj.bias": params["patch_embed/bias"],
        "cls_token": params["cls_token"],
        "pos_embed": params["pos_embed"],
        **name_norm("encoder/norm", "norm"),
        **name_layer("head", "head"),
    }
    for layer in range(config.depth):
        block, key = f"encoder/block_{layer}", f"blocks.{layer}"
        parts = [f"{block}/attn/{part}" for part in ("query", "key", "value")]
        state[f"{key}.attn.qkv.weight"] = np.concatenate([params[f"{part}/kernel"] for part in parts], axis=1).T
        state[f"{key}.attn.qkv.bias"] = np.concatenate([params[f"{part}/bias"] for part in parts])
        for norm in ("norm1", "norm2"):
            state |= name_norm(f"{block}/{norm}", f"{key}.{norm}")
        for layer_name in ("attn/proj", "mlp/fc1", "mlp/fc2"):
            state |= name_layer(f"{block}/{layer_name}", f"{key}.{layer_name.replace('/', '.')}")
    return state


def make_run(
    tensors: Mapping[str, torch.Tensor],
    config: EncoderConfig,
    video: np.ndarray,
    r: Sequence[int],
    attention: Attention,
) -> Callable[[], torch.Tensor]:
    """Makes what is timed.

    Args:
      tensors: from `make_tensors`, on the device and in the dtype to compute in.
      config: of the model.
      video: `[B, T, Y, X, C]`.
      r: tokens absorbed per layer; empty is the plain model.
      attention: "official" or "fused".

    Returns:
      A function that runs once and returns the logits.
    """
    frames = torch.from_numpy(np.ascontiguousarray(video.transpose(0, 4, 1, 2, 3))).to(tensors["pos_embed"])
    gelu: Literal["none", "tanh"] = "tanh" if config.gelu == "tanh" else "none"

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return encode(tensors, frames, num_heads=config.num_heads, r=r, attention=attention, gelu=gelu).logits

    return run
