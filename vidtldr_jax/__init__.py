"""Training-free token reduction for video transformers in JAX and Flax.

    import vidtldr_jax as vt

    model = vt.load_model("moving-objects", schedule="100,40")
    clip = vt.read_clip("clip.mp4", model.preprocessing)
    out = model.encode_video(clip[None], trace=True)

Modules and variables for code of your own are a pair on every backend:

    module, variables = vt.load_module("moving-objects", schedule="100,40")
    logits = module.apply(variables, clip[None]).logits

`ops` has the operators for blocks of your own, `models` the Flax modules, `reduction` schedules and their cost,
`evaluation` evaluators, `search` the index of videos. `export`, `train` and `visualize` need the extras of their names,
`search` needs `retrieval`.

A name is imported when it is first asked for: the command line's help and completion, and processes that only decode
videos, don't wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vidtldr_jax import evaluation, export, models, ops, reduction, search, train, visualize  # noqa: F401
    from vidtldr_jax.data.clip import read_clip
    from vidtldr_jax.data.preprocessing import Preprocessing
    from vidtldr_jax.inference.checkpoint import read_checkpoint, save_checkpoint
    from vidtldr_jax.inference.load import find_sample_clip, find_sample_gallery, load_model, load_module
    from vidtldr_jax.inference.model import VideoModel
    from vidtldr_jax.inference.sharding import fetch_share, make_mesh
    from vidtldr_jax.inference.stream import encode_videos
    from vidtldr_jax.inference.text_model import AnsweringModel, RetrievalModel
    from vidtldr_jax.models.architectures import init_variables, make_module
    from vidtldr_jax.models.clip import CLIPVision
    from vidtldr_jax.models.clip_config import CLIPConfig
    from vidtldr_jax.models.config import VideoViTConfig
    from vidtldr_jax.models.dropout import DropRates
    from vidtldr_jax.models.presets import get_preset
    from vidtldr_jax.models.umt import UMT
    from vidtldr_jax.models.umt_config import UMTConfig
    from vidtldr_jax.models.video_vit import VideoOutput, VideoViT
    from vidtldr_jax.models.vivit import ViViT
    from vidtldr_jax.models.vivit_config import ViViTConfig
    from vidtldr_jax.reduction.cost import count_macs
    from vidtldr_jax.reduction.merging_attention import MergingAttention
    from vidtldr_jax.reduction.planner import plan_schedule
    from vidtldr_jax.reduction.schedule import resolve_schedule
    from vidtldr_jax.reduction.step import reduce_tokens

__version__ = "0.1.0"

__all__ = [
    "UMT",
    "AnsweringModel",
    "CLIPConfig",
    "CLIPVision",
    "DropRates",
    "MergingAttention",
    "Preprocessing",
    "RetrievalModel",
    "UMTConfig",
    "ViViT",
    "ViViTConfig",
    "VideoModel",
    "VideoOutput",
    "VideoViT",
    "VideoViTConfig",
    "count_macs",
    "encode_videos",
    "fetch_share",
    "find_sample_clip",
    "find_sample_gallery",
    "get_preset",
    "init_variables",
    "load_model",
    "load_module",
    "make_mesh",
    "make_module",
    "models",
    "ops",
    "plan_schedule",
    "read_checkpoint",
    "read_clip",
    "reduce_tokens",
    "reduction",
    "resolve_schedule",
    "save_checkpoint",
]

_ROOMS: Final = ("evaluation", "export", "search", "train", "visualize")  # not in `import *`: some need extras
_PACKAGES: Final = ("data", "inference", "models", "ops", "reduction", *_ROOMS)
_HOMES: Final = {
    "AnsweringModel": "inference.text_model",
    "CLIPConfig": "models.clip_config",
    "CLIPVision": "models.clip",
    "DropRates": "models.dropout",
    "MergingAttention": "reduction.merging_attention",
    "Preprocessing": "data.preprocessing",
    "RetrievalModel": "inference.text_model",
    "UMT": "models.umt",
    "UMTConfig": "models.umt_config",
    "ViViT": "models.vivit",
    "ViViTConfig": "models.vivit_config",
    "VideoModel": "inference.model",
    "VideoOutput": "models.video_vit",
    "VideoViT": "models.video_vit",
    "VideoViTConfig": "models.config",
    "count_macs": "reduction.cost",
    "encode_videos": "inference.stream",
    "fetch_share": "inference.sharding",
    "find_sample_clip": "inference.load",
    "find_sample_gallery": "inference.load",
    "get_preset": "models.presets",
    "init_variables": "models.architectures",
    "load_model": "inference.load",
    "load_module": "inference.load",
    "make_mesh": "inference.sharding",
    "make_module": "models.architectures",
    "plan_schedule": "reduction.planner",
    "read_checkpoint": "inference.checkpoint",
    "read_clip": "data.clip",
    "reduce_tokens": "reduction.step",
    "resolve_schedule": "reduction.schedule",
    "save_checkpoint": "inference.checkpoint",
}


if not TYPE_CHECKING:  # else a name that is nowhere would pass as one that is made here

    def __getattr__(name: str) -> Any:
        """Import what is asked for the first time."""
        if name in _PACKAGES:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS, "__version__"])
