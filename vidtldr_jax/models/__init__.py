"""Flax Linen video transformers and their frozen configs."""

from vidtldr_jax.trust.versions import require_version

require_version("flax")  # before the imports that another version could break

from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.encoder import ReductionStep, Trace
from vidtldr_jax.models.presets import PRESETS, get_preset
from vidtldr_jax.models.video_vit import VideoOutput, VideoViT

__all__ = ["PRESETS", "ReductionStep", "Trace", "VideoOutput", "VideoViT", "VideoViTConfig", "get_preset"]
