"""UMT's and VideoMAE's single-modality classifiers, as their fine-tuning scripts save them.

Container: `model`, `module` or bare. Keys may have the prefix of the encoder that pre-training wraps them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checkpoints_convert.families.family import Family, build_video_vit, name_block_rules, name_norm_rules
from checkpoints_convert.families.published import VIDEO_VIT_INPUTS
from checkpoints_convert.rules import Rule
from vidtldr_jax.models.config import VideoViTConfig

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_BLOCK = "encoder/block_{i}"

_RULES = (
    Rule("patch_embed.proj.weight", ("patch_embed/kernel",), "conv3d"),
    Rule("patch_embed.proj.bias", ("patch_embed/bias",)),
    Rule("pos_embed", ("pos_embed",), "drop_batch"),
    Rule(
        "blocks.{i}.attn.qkv.weight",
        tuple(f"{_BLOCK}/attn/{name}/kernel" for name in ("query", "key", "value")),
        "split_qkv",
    ),
    Rule(
        "blocks.{i}.attn.qkv.bias",
        tuple(f"{_BLOCK}/attn/{name}/bias" for name in ("query", "key", "value")),
        "split_qkv_bias",
    ),
    Rule("blocks.{i}.attn.q_bias", (f"{_BLOCK}/attn/query/bias",)),
    Rule("blocks.{i}.attn.v_bias", (f"{_BLOCK}/attn/value/bias",)),
    *name_block_rules("blocks.{i}", {"attn.proj": "attn/proj", "mlp.fc1": "mlp/fc1", "mlp.fc2": "mlp/fc2"}),
    *name_norm_rules(
        {
            "blocks.{i}.norm1": f"{_BLOCK}/norm1",
            "blocks.{i}.norm2": f"{_BLOCK}/norm2",
            "norm": "encoder/norm",
            "fc_norm": "pool_norm",
        }
    ),
    Rule("head.weight", ("head/kernel",), "transpose"),
    Rule("head.bias", ("head/bias",)),
)


def _read_preprocessing(facts: Mapping[str, Any], preprocessor: Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
    """Returns UMT's evaluation for single frames as tokens, VideoMAE's for tubelets of more."""
    if facts.get("tubelet_size") == 1:
        return {"sampling": "middle", "resize": "squash", "kernel": "bicubic", **_IMAGENET}, "UMT's evaluation"
    fields = {
        "sampling": "dense",
        "stride": 4,
        "resize": "shortest_edge",
        "shortest_edge": facts.get("image_size"),
        "kernel": "bilinear",  # OpenCV's
        "crop": "center",
    }
    return {**fields, **_IMAGENET}, "VideoMAE's evaluation, one view"


def _build(facts: Mapping[str, Any]) -> VideoViTConfig:
    """Builds the description; a classifier with a norm on all tokens and none on their mean reads the first token."""
    is_first = "num_classes" in facts and facts.get("final_norm") and not facts.get("pool_norm")
    return build_video_vit({**facts, "pooling": "first" if is_first else "mean"})


SINGLE_MODALITY = Family(
    name="single_modality",
    title="UMT or VideoMAE single-modality classifier",
    saved_as={1: "umt", None: "videomae"},
    rules=_RULES,
    prefixes=("backbone.", "encoder."),
    # The pre-training decoder and its mask token have no part in classification.
    leave_out=("decoder.*", "encoder_to_decoder.*", "mask_token", "clip_decoder.*", "clip_teacher.*"),
    lengths={
        "dim": (
            ("patch_embed.proj.bias", 0),
            ("blocks.{i}.norm1.weight", 0),
            ("blocks.{i}.norm2.weight", 0),
            ("blocks.{i}.mlp.fc2.bias", 0),
        ),
        "mlp_dim": (("blocks.{i}.mlp.fc1.bias", 0), ("blocks.{i}.mlp.fc1.weight", 0), ("blocks.{i}.mlp.fc2.weight", 1)),
        "num_channels": (("patch_embed.proj.weight", 1),),
        "tubelet_size": (("patch_embed.proj.weight", 2),),
        "patch_size": (("patch_embed.proj.weight", 3),),
        "num_classes": (("head.bias", 0), ("head.weight", 0)),
        "num_positions": (("pos_embed", 1),),
    },
    presence={
        "final_norm": ("norm.weight", "norm.bias"),
        "pool_norm": ("fc_norm.weight", "fc_norm.bias"),
    },
    choices={
        "positions": (("pos_embed", "learned"), ("*", "sincos")),
        "qkv_bias": (
            ("blocks.{i}.attn.q_bias", "query_value"),
            ("blocks.{i}.attn.v_bias", "query_value"),
            ("blocks.{i}.attn.qkv.bias", "all"),
            ("*", "none"),
        ),
    },
    config_names={"num_frames": "num_frames", "image_size": "input_size"},
    constants={"gelu": "exact", "norm_eps": 1e-6},
    build_config=_build,
    original_classes=("the classifier's own class", "the encoder's own class"),
    known_inputs=VIDEO_VIT_INPUTS,
    read_preprocessing=_read_preprocessing,
)
