"""Hugging Face's CLIP: the vision tower of a whole model, or alone, with or without its projection."""

from __future__ import annotations

import functools

from checkpoints_convert.families.clip_facts import CONSTANTS, REQUIRED, build_clip
from checkpoints_convert.families.family import Family, name_block_rules, name_norm_rules
from checkpoints_convert.families.huggingface_processor import read_processor
from checkpoints_convert.families.published_clips import PUBLISHED_CLIPS
from checkpoints_convert.rules import Rule

_LAYER = "encoder.layers.{i}"
_OURS = "encoder/block_{i}"
_POSITIONS = "embeddings.position_embedding.weight"
_PATCHES = "embeddings.patch_embedding.weight"


HUGGINGFACE_CLIP = Family(
    name="huggingface_clip",
    title="Hugging Face CLIP vision tower",
    saved_as={None: "clip"},
    rules=(
        Rule(_PATCHES, ("patch_embed/kernel",), "conv2d"),
        Rule("embeddings.class_embedding", ("cls_token",)),
        Rule(_POSITIONS, ("pos_embed",)),
        *name_block_rules(
            _LAYER,
            {
                "self_attn.q_proj": "attn/query",
                "self_attn.k_proj": "attn/key",
                "self_attn.v_proj": "attn/value",
                "self_attn.out_proj": "attn/proj",
                "mlp.fc1": "mlp/fc1",
                "mlp.fc2": "mlp/fc2",
            },
        ),
        *name_norm_rules(
            {
                "pre_layrnorm": "pre_norm",
                f"{_LAYER}.layer_norm1": f"{_OURS}/norm1",
                f"{_LAYER}.layer_norm2": f"{_OURS}/norm2",
                "post_layernorm": "pool_norm",
            }
        ),
        Rule("visual_projection.weight", ("projection/kernel",), "transpose"),
    ),
    prefixes=("vision_model.",),
    # The text tower, and a buffer of old files.
    leave_out=("text_model.*", "text_projection.weight", "logit_scale", "embeddings.position_ids"),
    lengths={
        "dim": (("embeddings.class_embedding", 0), ("pre_layrnorm.weight", 0), (f"{_LAYER}.layer_norm1.weight", 0)),
        "mlp_dim": ((f"{_LAYER}.mlp.fc1.bias", 0), (f"{_LAYER}.mlp.fc1.weight", 0)),
        "num_channels": ((_PATCHES, 1),),
        "patch_size": ((_PATCHES, 2),),
        "embed_dim": (("visual_projection.weight", 0),),
        "num_frame_positions": ((_POSITIONS, 0),),
    },
    presence={},
    choices={},
    config_root="vision_config",
    config_names={
        "dim": "hidden_size",
        "depth": "num_hidden_layers",
        "mlp_dim": "intermediate_size",
        "num_channels": "num_channels",
        "num_heads": "num_attention_heads",
        "image_size": "image_size",
        "patch_size": "patch_size",
        "gelu": "hidden_act",
        "norm_eps": "layer_norm_eps",
    },
    config_values={
        "gelu": {
            "quick_gelu": "quick",
            "gelu": "exact",
            "gelu_python": "exact",
            "gelu_new": "tanh",
            "gelu_fast": "tanh",
            "gelu_pytorch_tanh": "tanh",
        },
    },
    constants=CONSTANTS,
    published=PUBLISHED_CLIPS,
    settable=("encoding",),
    required=REQUIRED,
    build_config=build_clip,
    signature=("embeddings.class_embedding", _PATCHES, "pre_layrnorm.weight"),
    read_preprocessing=functools.partial(read_processor, sampling="middle", stride=1, kernel="bicubic_antialias"),
    hints={"gelu": "gelu=quick by default, or gelu=exact"},
    original_classes=("CLIPVisionModelWithProjection", "CLIPVisionModel"),
    export_prefix="vision_model.",
    export_bare=("visual_projection.weight",),
    is_prefixed_with_head_only=True,
)
