"""Hugging Face's ViViT: the names that transformers 5 has in memory, and those of files on the hub."""

from __future__ import annotations

import functools

from checkpoints_convert.families.family import Family, name_block_rules, name_norm_rules
from checkpoints_convert.families.huggingface_processor import read_processor
from checkpoints_convert.families.published import PUBLISHED_VIVITS, VIVIT_INPUTS
from checkpoints_convert.families.vivit_facts import build_vivit
from checkpoints_convert.rules import Rule

_TODAY = "layers.{i}"
_HUB = "encoder.layer.{i}"
_OURS = "encoder/block_{i}"
_PATCHES = "embeddings.patch_embeddings.projection"

HUGGINGFACE_VIVIT = Family(
    name="huggingface_vivit",
    title="Hugging Face ViViT",
    saved_as={None: "vivit"},
    rules=(
        Rule(f"{_PATCHES}.weight", ("patch_embed/kernel",), "conv3d"),
        Rule(f"{_PATCHES}.bias", ("patch_embed/bias",)),
        Rule("embeddings.cls_token", ("cls_token",), "drop_ones"),
        Rule("embeddings.position_embeddings", ("pos_embed",), "drop_batch"),
        *name_block_rules(
            _TODAY,
            {
                "attention.q_proj": "attn/query",
                "attention.k_proj": "attn/key",
                "attention.v_proj": "attn/value",
                "attention.o_proj": "attn/proj",
                "mlp.fc1": "mlp/fc1",
                "mlp.fc2": "mlp/fc2",
            },
        ),
        *name_norm_rules(
            {
                f"{_TODAY}.layernorm_before": f"{_OURS}/norm1",
                f"{_TODAY}.layernorm_after": f"{_OURS}/norm2",
                "layernorm": "encoder/norm",
            }
        ),
        # Names of files; after those of the class, which the way back takes.
        *name_block_rules(
            _HUB,
            {
                "attention.attention.query": "attn/query",
                "attention.attention.key": "attn/key",
                "attention.attention.value": "attn/value",
                "attention.output.dense": "attn/proj",
                "intermediate.dense": "mlp/fc1",
                "output.dense": "mlp/fc2",
            },
        ),
        *name_norm_rules(
            {
                f"{_HUB}.layernorm_before": f"{_OURS}/norm1",
                f"{_HUB}.layernorm_after": f"{_OURS}/norm2",
            }
        ),
        Rule("classifier.weight", ("head/kernel",), "transpose"),
        Rule("classifier.bias", ("head/bias",)),
    ),
    prefixes=("vivit.",),
    # The classifier reads the class token itself; the pooler is another head.
    leave_out=("pooler.dense.*",),
    lengths={
        "dim": (
            (f"{_PATCHES}.bias", 0),
            (f"{_TODAY}.layernorm_before.weight", 0),
            (f"{_HUB}.layernorm_before.weight", 0),
        ),
        "mlp_dim": ((f"{_TODAY}.mlp.fc1.bias", 0), (f"{_HUB}.intermediate.dense.bias", 0)),
        "num_channels": ((f"{_PATCHES}.weight", 1),),
        "tubelet_size": ((f"{_PATCHES}.weight", 2),),
        "patch_size": ((f"{_PATCHES}.weight", 3),),
        "num_classes": (("classifier.bias", 0), ("classifier.weight", 0)),
        "num_positions": (("embeddings.position_embeddings", 1),),
    },
    presence={},
    choices={
        "qkv_bias": (
            (f"{_TODAY}.attention.q_proj.bias", "all"),
            (f"{_HUB}.attention.attention.query.bias", "all"),
            ("*", "none"),
        )
    },
    config_names={
        "dim": "hidden_size",
        "depth": "num_hidden_layers",
        "mlp_dim": "intermediate_size",
        "num_channels": "num_channels",
        "num_heads": "num_attention_heads",
        "num_frames": "num_frames",
        "image_size": "image_size",
        "gelu": "hidden_act",
        "norm_eps": "layer_norm_eps",
    },
    config_values={
        "gelu": {
            "gelu": "exact",
            "gelu_python": "exact",
            "gelu_new": "tanh",
            "gelu_fast": "tanh",
            "gelu_pytorch_tanh": "tanh",
        },
    },
    constants={"attention": "spacetime", "pooling": "cls", "num_extra_positions": 1},
    known_inputs=VIVIT_INPUTS,
    published=PUBLISHED_VIVITS,
    build_config=build_vivit,
    signature=("embeddings.cls_token", f"{_PATCHES}.weight"),
    # 32 frames 2 apart, as in the paper.
    read_preprocessing=functools.partial(read_processor, stride=2),
    hints={
        "norm_eps": "norm_eps=1e-6, transformers' default",
        "gelu": "gelu=tanh, transformers' default, or gelu=exact",
    },
    original_classes=("VivitForVideoClassification", "VivitModel(config, add_pooling_layer=False)"),
    export_prefix="vivit.",
    export_bare=("classifier.*",),
    is_prefixed_with_head_only=True,
)
