"""Scores -> MergePlan: tokens of a low score are dropped, or fused into one."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax.ops.checks import check_axes, check_count
from vidtldr_jax.ops.ranking import rank_highest
from vidtldr_jax.ops.saliency import check_protected
from vidtldr_jax.ops.state import MergePlan


class Fusion(NamedTuple):
    """How the tokens of low score become one.

    Attributes:
      plan: who is kept, and that all others are absorbed by the token of the lowest score among the kept ones.
      weight: `[B, N]` float32 in [0, 1], each token's score as a share of that token's; what is kept has 1.
    """

    plan: MergePlan
    weight: Float[Array, "B N"]


@jax.named_scope("select")
def keep_best(score: Float[Array, "B N"], *, r: int, num_protected: int = 0) -> MergePlan:
    """Drops the r tokens of lowest score; the others stay in their order.

    Args:
      score: of every token; those of protected tokens don't matter. On ties the first ones stay.
      r: how many tokens to drop. Static.
      num_protected: leading tokens (CLS) that stay. Static.

    Returns:
      A `MergePlan` in which nobody is absorbed.

    Raises:
      ValueError: score is not `[B, N]`, or r is traced, negative, or leaves no unprotected token.
    """
    check_axes("score", score, "B N")
    batch, num_tokens = score.shape
    r = _check_r(r, num_tokens, num_protected)
    _, best = rank_highest(score[:, num_protected:].astype(jnp.float32), num_tokens - num_protected - r)  # [B, M - P]
    none = jnp.zeros((batch, 0), jnp.int32)
    return MergePlan(_list_kept(best, num_protected), none, none)


@jax.named_scope("select")
def fuse_rest(score: Float[Array, "B N"], *, r: int, num_protected: int = 0) -> Fusion:
    """Fuses the r + 1 tokens of lowest score into one, weighted by their scores; the others stay in their order.

    Args:
      score: of every token, at least 0; those of protected tokens don't matter. On ties the first ones stay.
      r: how many tokens disappear. Static.
      num_protected: leading tokens (CLS) that stay and absorb nothing. Static.

    Returns:
      A `Fusion`. The fused token stands where the one of highest score among the r + 1 stood; where that score is 0,
      all of them weigh alike.

    Raises:
      ValueError: score is not `[B, N]`, or r is traced, negative, or leaves no unprotected token.

    Reference:
      EViT, arXiv 2202.07800, section 3.2.

    Deviation:
      The fused token is a mean (the weights are divided by their sum), so that its length is that of a token.
    """
    check_axes("score", score, "B N")
    num_tokens = score.shape[1]
    r = _check_r(r, num_tokens, num_protected)
    free = score[:, num_protected:].astype(jnp.float32)
    num_kept = num_tokens - num_protected - r
    ranked, order = rank_highest(free, num_tokens - num_protected)
    kept, holder, absorbed = order[:, :num_kept], order[:, num_kept - 1 : num_kept], order[:, num_kept:]
    place = num_protected + (kept < holder).sum(1, keepdims=True)  # [B, 1], the holder's among what is kept
    highest = ranked[:, num_kept - 1 : num_kept]  # [B, 1]
    share = jnp.where(highest > 0, free / jnp.where(highest > 0, highest, 1.0), 1.0)
    weight = jnp.concatenate([jnp.ones_like(score[:, :num_protected], jnp.float32), jnp.minimum(share, 1.0)], axis=1)
    plan = MergePlan(
        _list_kept(kept, num_protected),
        (num_protected + absorbed).astype(jnp.int32),
        jnp.broadcast_to(place, absorbed.shape).astype(jnp.int32),
    )
    return Fusion(plan, weight)


def _list_kept(best: Array, num_protected: int) -> Array:
    protected = jnp.broadcast_to(jnp.arange(num_protected), (best.shape[0], num_protected))
    return jnp.concatenate([protected, num_protected + jnp.sort(best, axis=1)], axis=1).astype(jnp.int32)


def _check_r(r: int, num_tokens: int, num_protected: int) -> int:
    check_protected(num_tokens, num_protected)
    r = check_count("r", r)
    num_free = num_tokens - num_protected
    if not 0 <= r < num_free:
        raise ValueError(
            f"r is from 0 to {num_free - 1} (all but one of {num_free} unprotected tokens); got {r}; "
            "resolve the schedule first, which clamps it."
        )
    return r
