"""Scenic's ViViT in its four forms. Keys are paths in Flax's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checkpoints_convert.families.family import VIDEO_FACTS, Family
from checkpoints_convert.families.published import PUBLISHED_VIVITS, VIVIT_INPUTS
from checkpoints_convert.families.vivit_facts import build_vivit
from checkpoints_convert.rules import Rule

_SPATIAL = ("Transformer", "SpatialTransformer")
_TEMPORAL = "TemporalTransformer"
_ATTENTION = "MultiHeadDotProductAttention"
_OVER_TIME = "Transformer/encoderblock_{i}/LayerNorm_time/scale"
# A block of most forms, and one with attention over time and over space in turn.
_ATTENTIONS = {f"{_ATTENTION}_0": "attn", f"{_ATTENTION}_time": "attn_time", f"{_ATTENTION}_space": "attn_space"}
_NORMS = {
    "LayerNorm_0": "norm1",
    "LayerNorm_1": "norm2",
    "LayerNorm_time": "norm_time",
    "LayerNorm_space": "norm_space",
    "LayerNorm_mlp": "norm2",
}
_MLPS = ("MlpBlock_0", "MlpBlock")


def _name_encoder_rules(theirs: str, ours: str) -> tuple[Rule, ...]:
    block, target = f"{theirs}/encoderblock_{{i}}", f"{ours}/block_{{i}}"
    rules = []
    for attention, module in _ATTENTIONS.items():
        rules += [
            Rule(f"{block}/{attention}/{name}/{part}", (f"{target}/{module}/{name}/{part}",), transform)
            for name in ("query", "key", "value")
            for part, transform in (("kernel", "join_heads_in"), ("bias", "join_heads_bias"))
        ]
        rules += [
            Rule(f"{block}/{attention}/out/kernel", (f"{target}/{module}/proj/kernel",), "join_heads_out"),
            Rule(f"{block}/{attention}/out/bias", (f"{target}/{module}/proj/bias",)),
        ]
    copied = {f"{norm}/{part}": f"{module}/{part}" for norm, module in _NORMS.items() for part in ("scale", "bias")}
    copied |= {
        f"{mlp}/Dense_{number}/{part}": f"mlp/fc{number + 1}/{part}"
        for mlp in _MLPS
        for number in (0, 1)
        for part in ("kernel", "bias")
    }
    rules += [Rule(f"{block}/{name}", (f"{target}/{path}",)) for name, path in copied.items()]
    rules += [Rule(f"{theirs}/encoder_norm/{part}", (f"{ours}/norm/{part}",)) for part in ("scale", "bias")]
    return tuple(rules)


def _read_preprocessing(facts: Mapping[str, Any], preprocessor: Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
    """Returns Scenic's evaluation with one view: every second frame, 256 pixels cut to 224, values of -1 to 1."""
    size = facts.get("image_size")
    fields = {
        "sampling": "windows",
        "stride": 2,
        "resize": "shortest_edge",
        "shortest_edge": None if size is None else size * 256 // 224,
        "kernel": "bilinear",
        "crop": "center",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
    return fields, "Scenic's evaluation, one view"


SCENIC_VIVIT = Family(
    name="scenic_vivit",
    title="Scenic ViViT",
    saved_as={None: "vivit"},
    rules=(
        Rule("embedding/kernel", ("patch_embed/kernel",)),
        Rule("embedding/bias", ("patch_embed/bias",)),
        Rule("cls", ("cls_token",), "drop_ones"),
        Rule("cls_SpatialTransformer", ("cls_token",), "drop_ones"),
        Rule("cls_TemporalTransformer", ("temporal_cls_token",), "drop_ones"),
        *(Rule(f"{theirs}/posembed_input/pos_embedding", ("pos_embed",), "drop_batch") for theirs in _SPATIAL),
        Rule(f"{_TEMPORAL}/posembed_input/pos_embedding", ("temporal_pos_embed",), "drop_batch"),
        *(rule for theirs in _SPATIAL for rule in _name_encoder_rules(theirs, "encoder")),
        *_name_encoder_rules(_TEMPORAL, "temporal_encoder"),
        Rule("pre_logits/kernel", ("pre_logits/kernel",)),
        Rule("pre_logits/bias", ("pre_logits/bias",)),
        Rule("output_projection/kernel", ("head/kernel",)),
        Rule("output_projection/bias", ("head/bias",)),
    ),
    lengths={
        "dim": (("embedding/bias", 0), *((f"{t}/encoderblock_{{i}}/LayerNorm_0/scale", 0) for t in _SPATIAL)),
        "mlp_dim": tuple((f"{t}/encoderblock_{{i}}/{m}/Dense_0/bias", 0) for t in _SPATIAL for m in _MLPS),
        "num_heads": tuple((f"{t}/encoderblock_{{i}}/{a}/query/kernel", 1) for t in _SPATIAL for a in _ATTENTIONS),
        "num_channels": (("embedding/kernel", 3),),
        "tubelet_size": (("embedding/kernel", 0),),
        "patch_size": (("embedding/kernel", 1),),
        "temporal_num_heads": ((f"{_TEMPORAL}/encoderblock_{{i}}/{_ATTENTION}_0/query/kernel", 1),),
        "temporal_mlp_dim": ((f"{_TEMPORAL}/encoderblock_{{i}}/{_MLPS[0]}/Dense_0/bias", 0),),
        "representation_dim": (("pre_logits/bias", 0), ("pre_logits/kernel", 1)),
        "num_classes": (("output_projection/bias", 0), ("output_projection/kernel", 1)),
        "num_extra_positions": (("cls", 0), ("cls_SpatialTransformer", 0)),
        "num_positions": (("Transformer/posembed_input/pos_embedding", 1),),
        "num_frame_positions": (("SpatialTransformer/posembed_input/pos_embedding", 1),),
        "num_moments": ((f"{_TEMPORAL}/posembed_input/pos_embedding", 1),),
    },
    counts={
        "depth": (*(f"{t}/encoderblock_{{i}}/LayerNorm_0/scale" for t in _SPATIAL), _OVER_TIME),
        "temporal_depth": (f"{_TEMPORAL}/encoderblock_{{i}}/LayerNorm_0/scale",),
    },
    presence={},
    choices={
        # With mean pooling the factorised dot product has the same keys as joint attention; with a class token it
        # does not exist. Which axis comes first in a block is in no file.
        "attention": (
            ("SpatialTransformer/encoder_norm/scale", "factorized_encoder"),
            (_OVER_TIME, "factorized_self_attention"),
            ("cls", "spacetime"),
        ),
        "attention_order": ((_OVER_TIME, None), ("*", "time_space")),
        # Scenic's default of what leaves no trace in the keys; max, sum and the first patch are to be said.
        "pooling": (("cls", "cls"), ("cls_SpatialTransformer", "cls"), ("*", "mean")),
    },
    constants={"gelu": "tanh", "norm_eps": 1e-6, "qkv_bias": "all"},
    known_inputs=VIVIT_INPUTS,
    published=PUBLISHED_VIVITS,
    settable=("attention", "attention_order", "pooling"),
    required=(*VIDEO_FACTS, "attention", "attention_order"),
    build_config=build_vivit,
    signature=("embedding/kernel",),
    read_preprocessing=_read_preprocessing,
    why_no_way_back="Scenic is no PyTorch; a joint model with a class token goes to huggingface_vivit",
)
