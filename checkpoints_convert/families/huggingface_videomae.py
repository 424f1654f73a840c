"""Hugging Face's VideoMAE: files on the hub (`q_bias`, `v_bias`) and the names that transformers 5 has in memory."""

from __future__ import annotations

from checkpoints_convert.families.family import Family, name_block_rules, name_norm_rules
from checkpoints_convert.families.huggingface_processor import read_processor
from checkpoints_convert.rules import Rule

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
    presence={
        "final_norm": ("layernorm.weight", "layernorm.bias"),
        "pool_norm": ("fc_norm.weight", "fc_norm.bias"),
    },
    choices={
        "qkv_bias": (
            (f"{_THEIRS}.attention.attention.q_bias", "query_value"),
            (f"{_THEIRS}.attention.attention.v_bias", "query_value"),
            (f"{_THEIRS}.attention.attention.query.bias", "query_value"),
            (f"{_THEIRS}.attention.attention.value.bias", "query_value"),
            ("*", "none"),
        )
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
        "pooling": {True: "mean"},
    },
    # Their fc_norm leaves epsilon at torch's default, whatever layer_norm_eps says.
    constants={"positions": "sincos", "pool_norm_eps": 1e-5},
    read_preprocessing=read_processor,
    export_prefix="videomae.",
    export_bare=("fc_norm.*", "classifier.*"),
    is_prefixed_with_head_only=True,
)
