"""Models of random weights at full size or tiny, quickly made."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from benchmarks.models import read_published, scale_schedule
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.inference.load import build_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.presets import get_preset
from vidtldr_jax.models.vivit_config import ViViTConfig

EncoderConfig = VideoViTConfig | ViViTConfig
_SMALL: Final = {"image_size": 32, "patch_size": 8, "dim": 32, "depth": 3, "num_heads": 2, "mlp_dim": 64}
# Blocks are stacked in a rehearsal too, as they are on GPUs and TPUs by default.
_AS_ON_A_GPU: Final = {"scan_layers": True}
_SMALL_UNITS: Final = 4  # tubelets of a tiny clip: 64 tokens with 16 patches each


def choose_config(preset: str, *, is_rehearsal: bool) -> EncoderConfig:
    """Return the classifier of a preset, or a tiny model of its kind."""
    config = get_preset(preset)
    if isinstance(config, VideoViTConfig):
        config = dataclasses.replace(config, final_norm=False, embed_dim=None, num_classes=400)
    if is_rehearsal:
        config = dataclasses.replace(config, num_frames=_SMALL_UNITS * config.tubelet_size, **_SMALL)
    return config


def choose_schedule(preset: str, config: EncoderConfig) -> str:
    """Return the schedule published for MSR-VTT, UMT-B/16's for other models, as the same share of the tokens."""
    published = preset if preset.startswith("umt") else "umt-b16"
    r = next(entry.r for entry in read_published(published) if "msrvtt" in entry.names)
    return scale_schedule(r, config.num_tokens - config.num_protected)


def make_model(config: EncoderConfig, dtype: str, **options: Any) -> VideoModel:
    """Make a model of random weights, all from a million random numbers, since 300 million take seconds."""
    numbers = 0.02 * np.random.default_rng(0).standard_normal(2**20 + 7, np.float32)
    params = {}
    for place, (path, shape) in enumerate(find_param_shapes(config).items()):
        values = np.resize(np.roll(numbers, 9973 * place), shape)
        params[path] = np.ones(shape, np.float32) if path.endswith("scale") else values
    preprocessing = Preprocessing(num_frames=config.num_frames, image_size=config.image_size)
    return build_model(params, config, preprocessing=preprocessing, dtype=dtype, **_AS_ON_A_GPU, **options)


def change_model(model: VideoModel, **options: Any) -> VideoModel:
    """Make a model with the weights of another, which are shared, and other options of `VideoModel`."""
    same = {"preprocessing": model.preprocessing, "dtype": model.dtype, **_AS_ON_A_GPU}
    return build_model(model.weights, model.config, **same, **options)
