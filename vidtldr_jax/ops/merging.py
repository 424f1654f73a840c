"""MergeState + plan + weights -> MergeState, by segment sum or one-hot product; and the way back to the grid.

Absorbed tokens are summed by a scatter-add in the plan's order ("segment_sum"), by one in the order of their targets,
so that equal ones lie side by side ("sorted"), or by a matrix product with one-hot targets ("one_hot").
"""

from __future__ import annotations

import functools
from typing import Final, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vidtldr_jax.ops.checks import check_alike, check_axes, check_count, check_record, describe
from vidtldr_jax.ops.platform import find_platform
from vidtldr_jax.ops.state import MergePlan, MergeState

MergeForm = Literal["auto", "segment_sum", "sorted", "one_hot"]
MERGE_FORMS: Final = get_args(MergeForm)
# Platform -> form. A CPU is fastest with segment_sum; GPUs and TPUs were not timed.
_FORM_ON: Final[dict[str, MergeForm]] = {"cpu": "segment_sum", "gpu": "segment_sum", "tpu": "segment_sum"}


def choose_merge_form(form: MergeForm = "auto") -> MergeForm:
    """Return the form in which absorbed tokens are summed on `find_platform`'s answer; one that is named runs.

    Args:
      form: what was asked for.

    Returns:
      A form, never "auto".

    Raises:
      ValueError: the form is unknown.
    """
    if not isinstance(form, str) or form not in MERGE_FORMS:
        raise ValueError(
            f"form is one of {', '.join(MERGE_FORMS)}; got {describe(form)}; leave it out for the default."
        )
    return _FORM_ON.get(find_platform(), "segment_sum") if form == "auto" else form


@jax.named_scope("merge")
def merge_tokens(
    state: MergeState,
    plan: MergePlan,
    weight: Float[Array, "B N"] | None = None,
    *,
    form: MergeForm = "auto",
) -> MergeState:
    """Absorbs tokens into others: a mean weighted by size and, for the absorbed ones, by saliency.

    Args:
      state: tokens and sizes before.
      plan: who is absorbed by whom.
      weight: saliency in [0, 1] of every token; only absorbed tokens are weighted, and one of weight 0 disappears
        together with its size. None means 1 everywhere.
      form: how absorbed tokens are summed: "segment_sum", "sorted" by where they go before that, or "one_hot", a matrix
        product; "auto" is what `choose_merge_form` says. All are equal to within rounding. Static.

    Returns:
      The state after, with M tokens in the plan's order. Tokens keep their dtype; sizes are float32. A token that
      absorbed nothing is passed on unchanged, to the bit.

    Raises:
      ValueError: form is none of these, state or plan is something else, or tokens, sizes or weights are not
        `[B, N, D]`, `[B, N]` and `[B, N]`.

    Reference:
      vid-TLDR, section 4.3; sizes as in ToMe, section 3.
    """
    form = choose_merge_form(form)
    check_record("state", state, MergeState, "init_merge_state")
    check_record("plan", plan, MergePlan, "match_tokens")
    tokens, size = state.tokens, state.size
    check_axes("tokens", tokens, "B N D")
    check_alike("size", size, tokens.shape[:2], "B N", "tokens")
    if weight is not None:
        check_alike("weight", weight, tokens.shape[:2], "B N", "tokens")
    batch, num_tokens, _ = tokens.shape
    num_kept = plan.kept.shape[1]

    merged = _take(tokens, plan.kept)  # [B, M, D]
    new_size = jnp.take_along_axis(size, plan.kept, axis=1)  # [B, M]
    absorbed_weight = jnp.ones(plan.absorbed.shape, jnp.float32)
    if weight is not None:
        absorbed_weight = jnp.take_along_axis(weight.astype(jnp.float32), plan.absorbed, axis=1)  # [B, R]
    if plan.absorbed.shape[1]:
        mass = jnp.take_along_axis(size, plan.absorbed, axis=1) * absorbed_weight  # [B, R]
        absorbed = _take(tokens, plan.absorbed).astype(jnp.float32)  # [B, R, D]
        addends = jnp.concatenate([mass[..., None] * absorbed, mass[..., None]], axis=-1)  # [B, R, D + 1]
        added = _sum_by_target(addends, plan.target, num_kept, form)  # [B, M, D + 1]
        added_sum, added_mass = added[..., :-1], added[..., -1]
        kept, kept_size, new_size = merged, new_size, new_size + added_mass
        mean = (kept_size[..., None] * kept.astype(jnp.float32) + added_sum) / new_size[..., None]
        merged = jnp.where(added_mass[..., None] > 0, mean.astype(tokens.dtype), kept)  # [B, M, D]

    if state.source is None or state.source_weight is None:
        return MergeState(merged, new_size)
    rows = jnp.arange(batch)[:, None]
    # Who is neither kept nor absorbed stays -1.
    goes_to = jnp.full((batch, num_tokens), -1, jnp.int32)
    goes_to = goes_to.at[rows, plan.kept].set(jnp.arange(num_kept, dtype=jnp.int32))
    goes_to = goes_to.at[rows, plan.absorbed].set(jnp.where(absorbed_weight > 0, plan.target, -1))  # [B, N]
    passes = jnp.ones((batch, num_tokens), jnp.float32).at[rows, plan.absorbed].set(absorbed_weight)  # [B, N]
    held_by = jnp.maximum(state.source, 0)  # [B, N0]
    source = jnp.where(state.source < 0, -1, jnp.take_along_axis(goes_to, held_by, axis=1))
    source_weight = state.source_weight * jnp.take_along_axis(passes, held_by, axis=1)
    return MergeState(merged, new_size, source, jnp.where(source < 0, 0.0, source_weight))


def unmerge_tokens(
    tokens: Float[Array, "B M D"], source: Int[Array, "B N0"], *, fill: float | Float[Array, "#B #N0 #D"] = 0.0
) -> Float[Array, "B N0 D"]:
    """Spreads merged tokens back over the original positions.

    Args:
      tokens: what each token carries now (features, colours, a saliency as `[B, M, 1]`).
      source: index of the token that holds each original position, -1 if it was dropped.
      fill: value at dropped positions; an array is broadcast, such as the mean token as `[B, 1, D]`.

    Returns:
      A copy of the holding token at every original position.

    Raises:
      ValueError: tokens are not `[B, M, D]`, or source is not `[B, N0]`, whole numbers, one row for each example.
    """
    check_axes("tokens", tokens, "B M D")
    check_axes("source", source, "B N0")
    if source.shape[0] != tokens.shape[0] or not jnp.issubdtype(source.dtype, jnp.integer):
        raise ValueError(
            f"source has a row of whole numbers for each of {tokens.shape[0]} examples; got {describe(source)}, "
            f"{source.dtype}; pass the source of the state that the tokens are from."
        )
    spread = _take(tokens, jnp.maximum(source, 0))  # [B, N0, D]
    return jnp.where((source >= 0)[..., None], spread, jnp.asarray(fill, tokens.dtype))


def source_matrix(
    source: Int[Array, "B N0"], source_weight: Float[Array, "B N0"], *, num_tokens: int
) -> Float[Array, "B M N0"]:
    """Scatters a trace into the dense matrix whose row i says how much of each original token row i holds.

    Args:
      source: index of the token that holds each original position, -1 if it was dropped.
      source_weight: product of the weights on its way.
      num_tokens: M, how many tokens there are now. Static.

    Returns:
      Float32; each column has at most one entry other than 0.

    Raises:
      ValueError: source and source_weight are not `[B, N0]`, or num_tokens is traced or negative.
    """
    check_axes("source", source, "B N0")
    check_alike("source_weight", source_weight, source.shape, "B N0", "source")
    num_tokens = check_count("num_tokens", num_tokens, least=0)
    holds = source[:, None, :] == jnp.arange(num_tokens)[None, :, None]  # [B, M, N0]
    return jnp.where(holds, source_weight[:, None, :], 0.0)


def _take(tokens: Float[Array, "B N D"], index: Int[Array, "B M"]) -> Float[Array, "B M D"]:
    return jnp.take_along_axis(tokens, index[..., None], axis=1)


def _sum_by_target(
    addends: Float[Array, "B R C"], target: Int[Array, "B R"], num_targets: int, form: MergeForm
) -> Float[Array, "B M C"]:
    if form == "segment_sum":
        return jax.vmap(lambda a, t: jax.ops.segment_sum(a, t, num_targets))(addends, target)
    if form == "sorted":
        order = jnp.argsort(target, axis=-1)  # [B, R]
        sum_sorted = functools.partial(jax.ops.segment_sum, num_segments=num_targets, indices_are_sorted=True)
        return jax.vmap(sum_sorted)(_take(addends, order), jnp.take_along_axis(target, order, axis=-1))
    one_hot = jax.nn.one_hot(target, num_targets, dtype=jnp.float32)  # [B, R, M]
    return jnp.einsum("brm,brc->bmc", one_hot, addends, precision=jax.lax.Precision.HIGHEST)
