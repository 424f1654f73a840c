"""One reduction step in one call: match, then merge."""

from __future__ import annotations

from jaxtyping import Array, Float

from vidtldr_jax.ops.checks import check_alike, check_axes, check_record
from vidtldr_jax.ops.matching import match_tokens
from vidtldr_jax.ops.merging import MergeForm, merge_tokens
from vidtldr_jax.ops.saliency import check_protected
from vidtldr_jax.ops.state import MergeState
from vidtldr_jax.reduction.schedule import resolve_r


def reduce_tokens(
    state: MergeState,
    features: Float[Array, "B N D"],
    saliency: Float[Array, "B N"] | None,
    *,
    r: int | float,
    num_protected: int = 0,
    form: MergeForm = "segment_sum",
) -> MergeState:
    """Absorbs r tokens into their most similar ones, weighted by saliency.

    Args:
      state: tokens and sizes before.
      features: what similarity is measured on; vid-TLDR takes the residual stream after the attention.
      saliency: weight in [0, 1] of every token, from `attention_saliency`; None weights all alike.
      r: a count, or a ratio in (0, 1) of the unprotected tokens; clamped to half of them; 0 changes nothing. Static.
      num_protected: leading tokens (CLS) that neither absorb nor are absorbed. Static.
      form: how the sum is computed, see `merge_tokens`. Static.

    Returns:
      The state after, with r fewer tokens.

    Raises:
      ValueError: state is no `MergeState`, r is traced, negative or no valid ratio, num_protected leaves no token, or
        tokens, features or saliency are not `[B, N, D]`, `[B, N, D]` and `[B, N]`.

    Reference:
      vid-TLDR, arXiv 2403.13347, section 4.
    """
    check_record("state", state, MergeState, "init_merge_state")
    check_axes("tokens", state.tokens, "B N D")
    check_alike("features", features, state.tokens.shape[:2], "B N D", "tokens")
    if saliency is not None:
        check_alike("saliency", saliency, state.tokens.shape[:2], "B N", "tokens")
    check_protected("reduce_tokens", features.shape[1], num_protected)
    count, _ = resolve_r(r, features.shape[1] - num_protected)
    if count == 0:
        return state
    plan = match_tokens(features, r=count, num_protected=num_protected)
    return merge_tokens(state, plan, saliency, form=form)
