"""Pure functions of arrays: saliency, matching, merging, attention. No parameters, files, randomness or logging."""

from vidtldr_jax.trust.versions import require_version

require_version("jax")  # before the imports that another version could break

from vidtldr_jax.ops.attention import Attended, AttendedReceived, attend, attend_received
from vidtldr_jax.ops.attention_forms import AttentionForm
from vidtldr_jax.ops.matching import Pairs, absorb_pairs, match_tokens, normalise_features, pair_tokens
from vidtldr_jax.ops.merging import MergeForm, merge_tokens, source_matrix, unmerge_tokens
from vidtldr_jax.ops.pruning import Fusion, fuse_rest, keep_best
from vidtldr_jax.ops.saliency import attention_saliency, negative_entropy, normalise_sharpness
from vidtldr_jax.ops.state import MergePlan, MergeState, init_merge_state

__all__ = [
    "Attended",
    "AttendedReceived",
    "AttentionForm",
    "Fusion",
    "MergeForm",
    "MergePlan",
    "MergeState",
    "Pairs",
    "absorb_pairs",
    "attend",
    "attend_received",
    "attention_saliency",
    "fuse_rest",
    "init_merge_state",
    "keep_best",
    "match_tokens",
    "merge_tokens",
    "negative_entropy",
    "normalise_features",
    "normalise_sharpness",
    "pair_tokens",
    "source_matrix",
    "unmerge_tokens",
]
