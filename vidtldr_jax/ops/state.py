"""The two records that the operators pass along: what the tokens are, and who is absorbed by whom."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vidtldr_jax.ops.checks import check_axes, check_static


class MergeState(NamedTuple):
    """Tokens with their sizes and, when traced, where every original token went.

    Attributes:
      tokens: `[B, N, D]`, any float dtype. The residual stream.
      size: `[B, N]` float32, at least 1. How many original tokens a token stands for (the paper's mass).
      source: `[B, N0]` int32 or None. Index of the token that holds original token j now, -1 if it was dropped.
      source_weight: `[B, N0]` float32 or None. Product of the weights that token j met on its way, 0 if dropped.
    """

    tokens: Float[Array, "B N D"]
    size: Float[Array, "B N"]
    source: Int[Array, "B N0"] | None = None
    source_weight: Float[Array, "B N0"] | None = None


class MergePlan(NamedTuple):
    """Who is absorbed by whom. Its shapes depend on static numbers only. A token that is in neither list is dropped.

    Attributes:
      kept: `[B, M]` int32. Input position of every output token, in output order.
      absorbed: `[B, R]` int32. Input positions of the tokens that end inside another one.
      target: `[B, R]` int32. Output position of the token that absorbs each of them.
    """

    kept: Int[Array, "B M"]
    absorbed: Int[Array, "B R"]
    target: Int[Array, "B R"]


def init_merge_state(tokens: Float[Array, "B N D"], *, trace: bool = False) -> MergeState:
    """Starts a state in which every token stands for itself.

    Args:
      tokens: the residual stream before the first reduction.
      trace: also follow where every token goes. Static.

    Returns:
      A `MergeState` of size 1 everywhere.

    Raises:
      ValueError: tokens are not `[B, N, D]`, or trace is traced.
    """
    check_axes("tokens", tokens, "B N D")
    check_static("trace", trace)
    # Made like the tokens, all of it varies over a mesh axis as they do: loops over states run under shard_map.
    size = jax.lax.full_like(tokens, 1.0, jnp.float32, shape=tokens.shape[:2])  # [B, N]
    if not trace:
        return MergeState(tokens, size)
    source = jnp.zeros_like(size, jnp.int32) + jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]  # [B, N]
    return MergeState(tokens, size, source, jnp.ones_like(size))
