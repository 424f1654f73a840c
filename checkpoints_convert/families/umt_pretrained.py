"""UMT as pre-training leaves it: a retrieval model whose text encoder still has the head that guesses hidden words."""

from __future__ import annotations

import dataclasses
from typing import Final

from checkpoints_convert.families import umt_text
from checkpoints_convert.families.published import UMT_PRETRAINED_INPUTS
from checkpoints_convert.families.umt_retrieval import UMT_RETRIEVAL

_TEXT: Final = "text_encoder.bert"

UMT_PRETRAINED = dataclasses.replace(
    UMT_RETRIEVAL,
    name="umt_pretrained",
    title="UMT pre-training checkpoint",
    rules=(*umt_text.VISION_RULES, *umt_text.RETRIEVAL_RULES, *umt_text.name_bert_rules(_TEXT, "text")),
    leave_out=(*umt_text.TEACHER_KEYS, f"{_TEXT}.embeddings.position_ids", "text_encoder.cls.predictions.*"),
    lengths={**umt_text.VISION_LENGTHS, **umt_text.RETRIEVAL_LENGTHS, **umt_text.name_text_lengths(_TEXT)},
    counts={"depth": umt_text.DEPTH_KEYS, "text_depth": umt_text.name_layer_keys(_TEXT)},
    first_layers={"fusion_from_layer": umt_text.name_layer_keys(_TEXT, "crossattention")},
    known_inputs=UMT_PRETRAINED_INPUTS,
    signature=("vision_encoder.*", f"{_TEXT}.encoder.layer.{{i}}.*"),
    why_no_way_back="the head that guesses words was left out and can't be given back; the rest goes to umt_retrieval",
    buffers={},
)
