"""One reduction step in one call: choose, then merge."""

from __future__ import annotations

from jaxtyping import Array, Float

from vidtldr_jax.ops.checks import check_alike, check_axes, check_record
from vidtldr_jax.ops.merging import MergeForm, merge_tokens
from vidtldr_jax.ops.saliency import check_protected
from vidtldr_jax.ops.state import MergeState
from vidtldr_jax.reduction.methods import METHODS, Evidence, Method, get_method
from vidtldr_jax.reduction.schedule import count_entry


def reduce_tokens(
    state: MergeState,
    features: Float[Array, "B N D"],
    saliency: Float[Array, "B N"] | None = None,
    *,
    r: int | float,
    num_protected: int = 0,
    method: str | Method | None = None,
    received: Float[Array, "B N"] | None = None,
    keys: Float[Array, "B N H K"] | None = None,
    update: Float[Array, "B N D"] | None = None,
    novelty: Float[Array, "B N"] | None = None,
    form: MergeForm = "auto",
) -> MergeState:
    """Take r tokens out: absorb them into their most similar ones, weighted by saliency, or as another method does.

    Args:
      state: tokens and sizes before.
      features: what similarity is measured on; vid-TLDR takes the residual stream after the attention.
      saliency: weight in [0, 1] of every token, from `attention_saliency`; None weights all alike.
      r: a count, or a ratio in (0, 1) of the unprotected tokens; clamped to the most that the method can take out of
        one layer: half of them where it merges; 0 changes nothing. Static.
      num_protected: leading tokens (CLS) that stay as they are. Static.
      method: how tokens are chosen: a name in `reduction.METHODS`, or a `Method` of your own; None is vid-TLDR, without
        its weights where saliency is None. Static.
      received: attention that every token receives, for methods that need it, see `attend_received`.
      keys: the attention's keys, for methods that need them.
      update: what the attention added to the residual stream, for methods that need it.
      novelty: how far every token is from the moment before, for methods that need it.
      form: how the sum is computed, see `merge_tokens`. Static.

    Returns:
      The state after, with r fewer tokens.

    Raises:
      ValueError: state is no `MergeState`, r is traced, negative or no valid ratio, num_protected leaves no token, the
        method is unknown or lacks what it needs, or tokens, features or saliency are not `[B, N, D]`, `[B, N, D]` and
        `[B, N]`.

    Reference:
      vid-TLDR, arXiv 2403.13347, section 4.
    """
    check_record("state", state, MergeState, "init_merge_state")
    check_axes("tokens", state.tokens, "B N D")
    batch_and_tokens = state.tokens.shape[:2]
    check_alike("features", features, batch_and_tokens, "B N D", "tokens")
    given = {"saliency": saliency, "received": received, "novelty": novelty, "keys": keys, "update": update}
    axes = {"keys": "B N H K", "update": "B N D"}
    for name, array in given.items():
        if array is not None:
            check_alike(name, array, batch_and_tokens, axes.get(name, "B N"), "tokens")
    check_protected(features.shape[1], num_protected)
    chosen = _choose_method(method, has_saliency=saliency is not None)
    return apply_method(state, Evidence(features, **given), chosen, r=r, num_protected=num_protected, form=form)


def apply_method(
    state: MergeState,
    evidence: Evidence,
    method: Method,
    *,
    r: int | float,
    num_protected: int = 0,
    form: MergeForm = "auto",
) -> MergeState:
    """Take tokens out of a state as a method chooses them, clamped to the most that it can take out.

    Args:
      state: tokens and sizes before.
      evidence: what the method looks at.
      method: how tokens are chosen.
      r: a count, or a ratio in (0, 1) of the unprotected tokens. Static.
      num_protected: leading tokens (CLS) that stay as they are. Static.
      form: how the sum is computed, see `merge_tokens`. Static.

    Returns:
      The state after.

    Raises:
      ValueError: r is negative or no valid ratio, or the method lacks what it needs.
    """
    num_free = state.tokens.shape[1] - num_protected
    count = min(count_entry(r, num_free), method.find_limit(num_free)[0])
    if count == 0:
        return state
    choice = method.choose(evidence, r=count, num_protected=num_protected)
    return merge_tokens(state, choice.plan, choice.weight, form=form)


def _choose_method(method: str | Method | None, *, has_saliency: bool) -> Method:
    if method is None:
        return METHODS["vidtldr" if has_saliency else "vidtldr_uniform"]
    return get_method(method)
