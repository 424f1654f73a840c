"""UMT fine-tuned for retrieval: a video encoder, a text encoder that can look at the video, and their heads."""

from __future__ import annotations

from typing import Final

import numpy as np

from checkpoints_convert.families import umt_text
from checkpoints_convert.families.family import Family
from checkpoints_convert.families.published import PUBLISHED_UMTS, UMT_INPUTS

_TEXT: Final = "text_encoder"

UMT_RETRIEVAL = Family(
    name="umt_retrieval",
    title="UMT retrieval model",
    saved_as={None: "umt_retrieval"},
    rules=(*umt_text.VISION_RULES, *umt_text.RETRIEVAL_RULES, *umt_text.name_bert_rules(_TEXT, "text")),
    leave_out=(*umt_text.TEACHER_KEYS, f"{_TEXT}.embeddings.position_ids"),
    lengths={**umt_text.VISION_LENGTHS, **umt_text.RETRIEVAL_LENGTHS, **umt_text.name_text_lengths(_TEXT)},
    counts={"depth": umt_text.DEPTH_KEYS, "text_depth": umt_text.name_layer_keys(_TEXT)},
    first_layers={"fusion_from_layer": umt_text.name_layer_keys(_TEXT, "crossattention")},
    presence={},
    choices={},
    config_names=umt_text.CONFIG_NAMES,
    config_values=umt_text.CONFIG_VALUES,
    constants=umt_text.CONSTANTS,
    known_inputs=UMT_INPUTS,
    published=PUBLISHED_UMTS,
    settable=("text_heads",),
    required=(*umt_text.REQUIRED, "embed_dim"),
    build_config=umt_text.build_umt,
    signature=("vision_encoder.*", f"{_TEXT}.encoder.layer.{{i}}.*"),
    read_preprocessing=umt_text.read_umt_preprocessing,
    original_classes=("UMT", ""),
    buffers={
        f"{_TEXT}.embeddings.position_ids": lambda config: np.arange(config.text.max_positions, dtype=np.int64)[None]
    },
)
