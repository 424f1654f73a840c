"""Hugging Face's VideoMAE: files on the hub (`q_bias`, `v_bias`) and the names that transformers 5 has in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checkpoints_convert.families.family import Family, build_video_vit, name_block_rules, name_norm_rules
from checkpoints_convert.families.huggingface_processor import read_processor
from checkpoints_convert.rules import Rule
from vidtldr_jax.models.config import VideoViTConfig

_THEIRS = "encoder.layer.{i}"
_OURS = "encoder/block_{i}"

_RULES = (
    Rule("embeddings.patch_embeddings.projection.weight", ("patch_embed/kernel",), "conv3d"),
    Rule("embeddings.patch_embeddings.projection.bias", ("patch_embed/bias",)),
    *name_block_rules(
        _THEIRS,
        {
            "attention.attention.query": "attn/query",
            "attention.attention.key": "attn/key",
            "attention.attention.value": "attn/value",
            "attention.output.dense": "attn/proj",
            "intermediate.dense": "mlp/fc1",
            "output.dense": "mlp/fc2",
        },
    ),
    # Names of files; after those of the class, which the way back takes.
    Rule(f"{_THEIRS}.attention.attention.q_bias", (f"{_OURS}/attn/query/bias",)),
    Rule(f"{_THEIRS}.attention.attention.v_bias", (f"{_OURS}/attn/value/bias",)),
    *name_norm_rules(
        {
            f"{_THEIRS}.layernorm_before": f"{_OURS}/norm1",
            f"{_THEIRS}.layernorm_after": f"{_OURS}/norm2",
            "layernorm": "encoder/norm",
            "fc_norm": "pool_norm",
        }
    ),
    Rule("classifier.weight", ("head/kernel",), "transpose"),
    Rule("classifier.bias", ("head/bias",)),
)


def _build(facts: Mapping[str, Any]) -> VideoViTConfig:
    """Builds the description: with mean pooling the norm comes after it, else on the tokens before.

    Without a classifier nothing of theirs pools, and the mean serves better than the first patch.
    """
    is_mean, has_head = facts.get("pooling") != "first", "num_classes" in facts
    norms = {"final_norm": not is_mean, "pool_norm": is_mean and has_head}
    return build_video_vit({**facts, **norms, "pooling": "mean" if is_mean or not has_head else "first"})


HUGGINGFACE_VIDEOMAE = Family(
    name="huggingface_videomae",
    title="Hugging Face VideoMAE",
    saved_as={None: "videomae"},
    rules=_RULES,
    prefixes=("videomae.",),
    # The pre-training decoder has no part in classification.
    leave_out=("decoder.*", "encoder_to_decoder.weight", "mask_token"),
    lengths={
        "dim": (
            ("embeddings.patch_embeddings.projection.bias", 0),
            (f"{_THEIRS}.layernorm_before.weight", 0),
            (f"{_THEIRS}.layernorm_after.weight", 0),
        ),
        "mlp_dim": ((f"{_THEIRS}.intermediate.dense.bias", 0), (f"{_THEIRS}.intermediate.dense.weight", 0)),
        "num_channels": (("embeddings.patch_embeddings.projection.weight", 1),),
        "tubelet_size": (("embeddings.patch_embeddings.projection.weight", 2),),
        "patch_size": (("embeddings.patch_embeddings.projection.weight", 3),),
        "num_classes": (("classifier.bias", 0), ("classifier.weight", 0)),
    },
    presence={},
    choices={
        "pooling": (("fc_norm.weight", "mean"), ("layernorm.weight", "first")),
        "qkv_bias": (
            (f"{_THEIRS}.attention.attention.q_bias", "query_value"),
            (f"{_THEIRS}.attention.attention.v_bias", "query_value"),
            (f"{_THEIRS}.attention.attention.query.bias", "query_value"),
            (f"{_THEIRS}.attention.attention.value.bias", "query_value"),
            ("*", "none"),
        ),
    },
    config_names={
        "dim": "hidden_size",
        "depth": "num_hidden_layers",
        "mlp_dim": "intermediate_size",
        "num_channels": "num_channels",
        "tubelet_size": "tubelet_size",
        "patch_size": "patch_size",
        "num_heads": "num_attention_heads",
        "num_frames": "num_frames",
        "image_size": "image_size",
        "gelu": "hidden_act",
        "norm_eps": "layer_norm_eps",
        "pooling": "use_mean_pooling",
    },
    config_values={
        "gelu": {
            "gelu": "exact",
            "gelu_python": "exact",
            "gelu_new": "tanh",
            "gelu_fast": "tanh",
            "gelu_pytorch_tanh": "tanh",
        },
        "pooling": {True: "mean", False: "first"},
    },
    # Their fc_norm leaves epsilon at torch's default, whatever layer_norm_eps says.
    constants={"positions": "sincos", "pool_norm_eps": 1e-5},
    build_config=_build,
    read_preprocessing=read_processor,
    hints={
        "norm_eps": "norm_eps=1e-12, transformers' default",
        "gelu": "gelu=exact, transformers' default, or gelu=tanh",
    },
    original_classes=("VideoMAEForVideoClassification", "VideoMAEModel"),
    export_prefix="videomae.",
    export_bare=("fc_norm.*", "classifier.*"),
    is_prefixed_with_head_only=True,
)
