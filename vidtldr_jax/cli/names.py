"""Names that `--help` and completion show and other rooms define, so that neither imports JAX.

tests/cli/test_names.py compares each with its room.
"""

from __future__ import annotations

from typing import Final

METHODS: Final = (
    "vidtldr", "vidtldr_uniform", "saliency_match", "tome", "tome_mean_keys", "drop_salient", "evit", "svitt",
    "representation_shift", "rlt", "random_merge", "random_drop",
)  # fmt: skip
DEFAULT_METHOD: Final = "vidtldr"
PRESETS: Final = (
    "umt-b16", "umt-l16", "videomae-s16", "videomae-b16", "videomae-l16", "videomae-h16", "vivit-b16x2",
    "vivit-b16x2-fe", "vivit-l16x2", "vivit-l16x2-fe", "vivit-h14x2", "vivit-h14x2-fe",
)  # fmt: skip
SHIPPED_MODELS: Final = ("moving-objects", "moving-objects-retrieval")
PUBLISHED_SIZES: Final = ("b16", "l16")
CONVERTED_FAMILIES: Final = (
    "umt_retrieval", "umt_qa", "umt_pretrained", "single_modality", "huggingface_videomae", "huggingface_vivit",
    "scenic_vivit", "huggingface_clip", "openai_clip",
)  # fmt: skip
CONVERTED_DTYPES: Final = ("float32", "bfloat16", "float16")
EXPORTED_OUTPUTS: Final = ("logits", "embedding", "pooled", "tokens", "size", "text_embedding")
PLATFORMS: Final = ("cpu", "cuda", "rocm", "tpu")
DEFAULT_PLATFORMS: Final = ("cpu", "cuda", "tpu")
AVERAGES: Final = ("probabilities", "logits")
QUESTIONS_PER_RUN: Final = 4
PAIRS_PER_RUN: Final = 64
K_TEST: Final = 128
MAX_TEXT_TOKENS: Final = 32
