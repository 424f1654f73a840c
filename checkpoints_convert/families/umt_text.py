"""What UMT's checkpoints share: rules of the video encoder and of BERT, facts, and the description they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from checkpoints_convert.families.family import VIDEO_FACTS, name_norm_rules
from checkpoints_convert.rules import Rule
from vidtldr_jax.models.bert_config import BertConfig
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.umt_config import UMTConfig

Patterns = tuple[tuple[str, int], ...]

_VISION: Final = "vision_encoder.encoder"
_BLOCK: Final = "vision/encoder/block_{i}"
_TABLES: Final = ("word", "position", "token_type")
# The teacher and the layers that copy it have no part after pre-training.
TEACHER_KEYS: Final = ("clip_teacher.*", "vision_encoder.clip_decoder.*")


def name_dense_rules(names: Mapping[str, str]) -> tuple[Rule, ...]:
    """Writes the rules of dense layers with a bias.

    Args:
      names: module in the source -> module here; {i} in both or neither.

    Returns:
      A weight rule (transposed) and a bias rule for each.
    """
    parts = (("weight", "kernel", "transpose"), ("bias", "bias", "copy"))
    return tuple(
        Rule(f"{theirs}.{their_part}", (f"{ours}/{our_part}",), transform)
        for theirs, ours in names.items()
        for their_part, our_part, transform in parts
    )


def name_bert_rules(source: str, target: str) -> tuple[Rule, ...]:
    """Writes the rules of a BERT whose layers may have cross-attention.

    Args:
      source: what stands before `embeddings` and `encoder` in the keys.
      target: the module here.

    Returns:
      Its rules.
    """
    layer, ours = f"{source}.encoder.layer.{{i}}", f"{target}/layer_{{i}}"
    dense = {f"{layer}.intermediate.dense": f"{ours}/mlp/fc1", f"{layer}.output.dense": f"{ours}/mlp/fc2"}
    norms = {
        f"{source}.embeddings.LayerNorm": f"{target}/embed_norm",
        f"{layer}.output.LayerNorm": f"{ours}/mlp_norm",
    }
    for kind, module, norm in (("attention", "attn", "attn_norm"), ("crossattention", "cross_attn", "cross_norm")):
        dense |= {f"{layer}.{kind}.self.{name}": f"{ours}/{module}/{name}" for name in ("query", "key", "value")}
        dense[f"{layer}.{kind}.output.dense"] = f"{ours}/{module}/proj"
        norms[f"{layer}.{kind}.output.LayerNorm"] = f"{ours}/{norm}"
    return (
        *(Rule(f"{source}.embeddings.{name}_embeddings.weight", (f"{target}/{name}_embed",)) for name in _TABLES),
        *name_dense_rules(dense),
        *name_norm_rules(norms),
    )


VISION_RULES: Final[tuple[Rule, ...]] = (
    Rule(f"{_VISION}.patch_embed.proj.weight", ("vision/patch_embed/kernel",), "conv3d"),
    Rule(f"{_VISION}.patch_embed.proj.bias", ("vision/patch_embed/bias",)),
    Rule(
        f"{_VISION}.blocks.{{i}}.attn.qkv.weight",
        tuple(f"{_BLOCK}/attn/{name}/kernel" for name in ("query", "key", "value")),
        "split_qkv",
    ),
    Rule(f"{_VISION}.blocks.{{i}}.attn.q_bias", (f"{_BLOCK}/attn/query/bias",)),
    Rule(f"{_VISION}.blocks.{{i}}.attn.v_bias", (f"{_BLOCK}/attn/value/bias",)),
    *name_dense_rules(
        {
            f"{_VISION}.blocks.{{i}}.attn.proj": f"{_BLOCK}/attn/proj",
            f"{_VISION}.blocks.{{i}}.mlp.fc1": f"{_BLOCK}/mlp/fc1",
            f"{_VISION}.blocks.{{i}}.mlp.fc2": f"{_BLOCK}/mlp/fc2",
        }
    ),
    *name_norm_rules(
        {
            f"{_VISION}.blocks.{{i}}.norm1": f"{_BLOCK}/norm1",
            f"{_VISION}.blocks.{{i}}.norm2": f"{_BLOCK}/norm2",
            f"{_VISION}.norm": "vision/encoder/norm",
        }
    ),
)
RETRIEVAL_RULES: Final[tuple[Rule, ...]] = (
    *name_norm_rules({"vision_encoder.pool_norm": "vision/pool_norm"}),
    *name_dense_rules({"vision_proj": "vision/projection", "text_proj": "text_projection", "itm_head": "match_head"}),
    Rule("temp", ("temperature",)),
)

VISION_LENGTHS: Final[dict[str, Patterns]] = {
    "dim": (
        (f"{_VISION}.patch_embed.proj.bias", 0),
        (f"{_VISION}.blocks.{{i}}.norm1.weight", 0),
        (f"{_VISION}.blocks.{{i}}.norm2.weight", 0),
    ),
    "mlp_dim": ((f"{_VISION}.blocks.{{i}}.mlp.fc1.bias", 0), (f"{_VISION}.blocks.{{i}}.mlp.fc2.weight", 1)),
    "num_channels": ((f"{_VISION}.patch_embed.proj.weight", 1),),
    "tubelet_size": ((f"{_VISION}.patch_embed.proj.weight", 2),),
    "patch_size": ((f"{_VISION}.patch_embed.proj.weight", 3),),
}
RETRIEVAL_LENGTHS: Final[dict[str, Patterns]] = {
    "embed_dim": (("vision_proj.bias", 0), ("text_proj.bias", 0), ("vision_proj.weight", 0), ("text_proj.weight", 0))
}
DEPTH_KEYS: Final = tuple(f"{_VISION}.blocks.{{i}}.{name}.weight" for name in ("norm1", "attn.qkv", "mlp.fc1"))


def name_text_lengths(source: str) -> dict[str, Patterns]:
    """Says where the weights show the lengths of a text encoder.

    Args:
      source: what stands before `embeddings` and `encoder` in the keys.

    Returns:
      Fact -> key patterns and axes.
    """
    layer = f"{source}.encoder.layer.{{i}}"
    return {
        "text_dim": (
            (f"{source}.embeddings.LayerNorm.weight", 0),
            (f"{layer}.attention.output.LayerNorm.weight", 0),
            (f"{layer}.output.LayerNorm.weight", 0),
        ),
        "text_mlp_dim": ((f"{layer}.intermediate.dense.bias", 0), (f"{layer}.output.dense.weight", 1)),
        "vocab_size": ((f"{source}.embeddings.word_embeddings.weight", 0),),
        "max_positions": ((f"{source}.embeddings.position_embeddings.weight", 0),),
        "num_token_types": ((f"{source}.embeddings.token_type_embeddings.weight", 0),),
    }


def name_layer_keys(source: str, kind: str = "attention") -> tuple[str, ...]:
    """Names the keys that number the layers of a BERT, or those of its cross-attention.

    Args:
      source: what stands before `encoder` in the keys.
      kind: "attention" or "crossattention".

    Returns:
      Patterns with {i}.
    """
    return tuple(
        f"{source}.encoder.layer.{{i}}.{kind}.{name}"
        for name in ("self.query.weight", "self.key.weight", "self.value.weight", "output.dense.weight")
    )


CONFIG_NAMES: Final[dict[str, str | tuple[str, ...]]] = {
    "num_heads": "model.vision_encoder.encoder_num_heads",
    "num_frames": ("model.vision_encoder.num_frames", "num_frames"),
    "image_size": "model.vision_encoder.img_size",
    "keep_temporal": "model.vision_encoder.keep_temporal",
}
# Pooling that keeps time apart has no meaning for merged tokens.
CONFIG_VALUES: Final[dict[str, Mapping[Any, Any]]] = {"keep_temporal": {False: False}}
CONSTANTS: Final[dict[str, Any]] = {"gelu": "exact", "norm_eps": 1e-6, "text_norm_eps": 1e-12}
TEXT_FACTS: Final = (
    *("text_dim", "text_depth", "text_heads", "text_mlp_dim", "vocab_size", "max_positions", "fusion_from_layer"),
)
REQUIRED: Final = (*VIDEO_FACTS, *TEXT_FACTS)


def build_umt(facts: Mapping[str, Any]) -> UMTConfig:
    """Builds the description of a UMT.

    Args:
      facts: fields of the video encoder under their own names, those of the text encoder as `text_*`, and
        `decoder_depth` and `decoder_fusion_from_layer` for question answering.

    Returns:
      The description.

    Raises:
      ValueError: fields don't fit each other.
    """
    fields = {field.name for field in dataclasses.fields(VideoViTConfig)}
    # No position_grid: the fixed table is made for whatever clip comes, one frame included.
    vision = VideoViTConfig(
        **{name: value for name, value in facts.items() if name in fields},
        image_positions="separate",
        final_norm=True,
    )
    text = BertConfig(
        vocab_size=facts["vocab_size"],
        max_positions=facts["max_positions"],
        num_token_types=facts.get("num_token_types", 2),
        dim=facts["text_dim"],
        depth=facts["text_depth"],
        num_heads=facts["text_heads"],
        mlp_dim=facts["text_mlp_dim"],
        fusion_from_layer=facts["fusion_from_layer"],
        context_dim=vision.dim,
        norm_eps=facts["text_norm_eps"],
    )
    if "decoder_depth" not in facts:
        return UMTConfig(task="retrieval", vision=vision, text=text)
    decoder = dataclasses.replace(
        text,
        depth=facts["decoder_depth"],
        fusion_from_layer=facts["decoder_fusion_from_layer"],
        context_dim=text.dim,
        is_causal=True,
    )
    return UMTConfig(task="question_answering", vision=vision, text=text, decoder=decoder)


def read_umt_preprocessing(
    facts: Mapping[str, Any], preprocessor: Mapping[str, Any] | None
) -> tuple[dict[str, Any], str]:
    """Returns what UMT's evaluation does to a clip.

    Args:
      facts: about the architecture; not needed.
      preprocessor: the checkpoint's own; UMT has none.

    Returns:
      Fields of a `Preprocessing`, and where they come from.
    """
    fields = {
        "sampling": "middle",
        "resize": "squash",
        "kernel": "bicubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    return fields, "UMT's evaluation"
