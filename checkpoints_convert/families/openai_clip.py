"""CLIP's vision tower as OpenAI's code and those after it name it: `visual.*` beside the text tower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checkpoints_convert.families.clip_facts import CONSTANTS, REQUIRED, build_clip
from checkpoints_convert.families.family import Family, name_block_rules, name_norm_rules
from checkpoints_convert.families.published_clips import MEAN, PUBLISHED_CLIPS, STD
from checkpoints_convert.rules import Rule

_LAYER = "visual.transformer.resblocks.{i}"
_OURS = "encoder/block_{i}"
_PARTS = ("query", "key", "value")


def _read_preprocessing(facts: Mapping[str, Any], preprocessor: Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
    fields = {
        "sampling": "middle",
        "resize": "shortest_edge",
        "shortest_edge": facts.get("image_size"),
        "kernel": "bicubic_antialias",
        "crop": "center",
        "mean": MEAN,
        "std": STD,
    }
    return fields, "CLIP's evaluation"


OPENAI_CLIP = Family(
    name="openai_clip",
    title="OpenAI CLIP vision tower",
    saved_as={None: "clip"},
    rules=(
        Rule("visual.conv1.weight", ("patch_embed/kernel",), "conv2d"),
        Rule("visual.class_embedding", ("cls_token",)),
        Rule("visual.positional_embedding", ("pos_embed",)),
        Rule(f"{_LAYER}.attn.in_proj_weight", tuple(f"{_OURS}/attn/{part}/kernel" for part in _PARTS), "split_qkv"),
        Rule(f"{_LAYER}.attn.in_proj_bias", tuple(f"{_OURS}/attn/{part}/bias" for part in _PARTS), "split_qkv_bias"),
        *name_block_rules(_LAYER, {"attn.out_proj": "attn/proj", "mlp.c_fc": "mlp/fc1", "mlp.c_proj": "mlp/fc2"}),
        *name_norm_rules(
            {
                "visual.ln_pre": "pre_norm",
                f"{_LAYER}.ln_1": f"{_OURS}/norm1",
                f"{_LAYER}.ln_2": f"{_OURS}/norm2",
                "visual.ln_post": "pool_norm",
            }
        ),
        Rule("visual.proj", ("projection/kernel",)),
    ),
    # The text tower, below `text.` in open_clip's CustomTextCLIP, and three numbers that describe the model.
    leave_out=(
        *("text.*", "logit_bias"),
        *("transformer.*", "token_embedding.weight", "positional_embedding", "ln_final.*", "text_projection"),
        *("logit_scale", "input_resolution", "context_length", "vocab_size"),
    ),
    lengths={
        "dim": (("visual.class_embedding", 0), ("visual.ln_pre.weight", 0), (f"{_LAYER}.ln_1.weight", 0)),
        "mlp_dim": ((f"{_LAYER}.mlp.c_fc.bias", 0), (f"{_LAYER}.mlp.c_fc.weight", 0)),
        "num_channels": (("visual.conv1.weight", 1),),
        "patch_size": (("visual.conv1.weight", 2),),
        "embed_dim": (("visual.proj", 1),),
        "num_frame_positions": (("visual.positional_embedding", 0),),
    },
    presence={},
    choices={},
    constants=CONSTANTS,
    published=PUBLISHED_CLIPS,
    settable=("encoding",),
    required=REQUIRED,
    build_config=build_clip,
    signature=("visual.class_embedding", "visual.conv1.weight", "visual.ln_pre.weight"),
    read_preprocessing=_read_preprocessing,
    hints={"gelu": "gelu=quick for OpenAI's own weights, gelu=exact for most others"},
    why_no_way_back="its text tower was left out and can't be given back; the vision tower goes to huggingface_clip",
)
