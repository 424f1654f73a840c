"""Flax Linen video transformers and their frozen configs."""

from vidtldr_jax.trust.versions import require_version

require_version("flax")  # before the imports that another version could break

from vidtldr_jax.models.architectures import init_variables, make_module
from vidtldr_jax.models.clip import CLIPVision
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.dropout import DropRates
from vidtldr_jax.models.encoder import ReductionStep, Trace
from vidtldr_jax.models.presets import PRESETS, get_preset
from vidtldr_jax.models.umt import UMT
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.models.video_vit import VideoOutput, VideoViT
from vidtldr_jax.models.vivit import ViViT
from vidtldr_jax.models.vivit_config import ViViTConfig

__all__ = [
    "PRESETS",
    "UMT",
    "CLIPConfig",
    "CLIPVision",
    "DropRates",
    "ReductionStep",
    "Trace",
    "UMTConfig",
    "ViViT",
    "ViViTConfig",
    "VideoOutput",
    "VideoViT",
    "VideoViTConfig",
    "get_preset",
    "init_variables",
    "make_module",
]
