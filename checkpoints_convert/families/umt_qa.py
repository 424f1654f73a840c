"""UMT fine-tuned for question answering: the text encoder reads the question, a decoder rates answers."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from checkpoints_convert.families import umt_text
from checkpoints_convert.families.family import name_norm_rules
from checkpoints_convert.families.umt_retrieval import UMT_RETRIEVAL

_TEXT: Final = "text_encoder"
_DECODER: Final = "text_decoder.bert"
_HEAD: Final = "text_decoder.cls.predictions"

UMT_QA = dataclasses.replace(
    UMT_RETRIEVAL,
    name="umt_qa",
    title="UMT question-answering model",
    saved_as={None: "umt_qa"},
    rules=(
        *umt_text.VISION_RULES,
        *umt_text.name_bert_rules(_TEXT, "text"),
        *umt_text.name_bert_rules(_DECODER, "decoder"),
        *umt_text.name_dense_rules({f"{_HEAD}.transform.dense": "lm_head/dense", f"{_HEAD}.decoder": "lm_head/output"}),
        *name_norm_rules({f"{_HEAD}.transform.LayerNorm": "lm_head/norm"}),
    ),
    leave_out=(
        *umt_text.TEACHER_KEYS,
        f"{_TEXT}.embeddings.position_ids",
        f"{_DECODER}.embeddings.position_ids",
        f"{_HEAD}.bias",  # decoder.bias a second time
    ),
    lengths={**umt_text.VISION_LENGTHS, **umt_text.name_text_lengths(_TEXT)},
    counts={**UMT_RETRIEVAL.counts, "decoder_depth": umt_text.name_layer_keys(_DECODER)},
    first_layers={
        **UMT_RETRIEVAL.first_layers,
        "decoder_fusion_from_layer": umt_text.name_layer_keys(_DECODER, "crossattention"),
    },
    presence={"pool_norm": ("vision_encoder.pool_norm.weight",)},
    required=(*umt_text.REQUIRED, "decoder_depth", "decoder_fusion_from_layer"),
    signature=(*UMT_RETRIEVAL.signature, f"{_DECODER}.encoder.layer.{{i}}.*"),
    buffers={
        f"{name}.embeddings.position_ids": lambda config: np.arange(config.text.max_positions, dtype=np.int64)[None]
        for name in (_TEXT, _DECODER)
    },
    copies={f"{_HEAD}.bias": f"{_HEAD}.decoder.bias"},
    original_classes=("UMT_QA", ""),
)
