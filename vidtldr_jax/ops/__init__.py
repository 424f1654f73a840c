"""Pure functions of arrays: saliency, matching, merging, attention. No parameters, files, randomness or logging."""

from vidtldr_jax.ops.attention import Attended, attend
from vidtldr_jax.ops.attention_forms import AttentionForm
from vidtldr_jax.ops.matching import match_tokens, normalise_features
from vidtldr_jax.ops.merging import MergeForm, merge_tokens, source_matrix, unmerge_tokens
from vidtldr_jax.ops.saliency import attention_saliency, negative_entropy, normalise_sharpness
from vidtldr_jax.ops.state import MergePlan, MergeState, init_merge_state

__all__ = [
    "Attended",
    "AttentionForm",
    "MergeForm",
    "MergePlan",
    "MergeState",
    "attend",
    "attention_saliency",
    "init_merge_state",
    "match_tokens",
    "merge_tokens",
    "negative_entropy",
    "normalise_features",
    "normalise_sharpness",
    "source_matrix",
    "unmerge_tokens",
]
