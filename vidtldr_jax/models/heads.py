"""From tokens to one vector per clip."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax import ops


def pool_tokens(tokens: Float[Array, "B M D"], size: Float[Array, "B M"] | None = None) -> Float[Array, "B D"]:
    """Averages tokens in float32.

    Args:
      tokens: what the encoder returned.
      size: weighs each token by how many it stands for; None weighs all alike, as the official code does.

    Returns:
      The mean, in the dtype of the tokens.
    """
    values = tokens.astype(jnp.float32)
    if size is None:
        return values.mean(1).astype(tokens.dtype)
    weight = size / size.sum(-1, keepdims=True)  # [B, M]
    return jnp.einsum("bmd,bm->bd", values, weight).astype(tokens.dtype)


def pool_surviving(state: ops.MergeState, pooling: str, *, num_tokens: int) -> Float[Array, "B D"]:
    """Makes one vector of each sequence, in float32, by one of ViViT's rules.

    Args:
      state: after the last block.
      pooling: "cls" or "first", the token in front; "mean", "max" or "sum" of the surviving tokens, whatever they stand
        for; "mean_by_size", weighted by how many each stands for; "sum_by_size", that mean times num_tokens. Static.
      num_tokens: of a sequence before anything was merged. Static.

    Returns:
      `[B, D]`, in the dtype of the tokens.

    Raises:
      ValueError: there is no such rule.
    """
    values = state.tokens.astype(jnp.float32)  # [B, M, D]
    match pooling:
        case "cls" | "first":
            return state.tokens[:, 0]
        case "mean" | "mean_by_size":
            return pool_tokens(state.tokens, state.size if pooling == "mean_by_size" else None)
        case "max":
            pooled = values.max(1)
        case "sum":
            pooled = values.sum(1)
        case "sum_by_size":
            pooled = num_tokens * pool_tokens(values, state.size)
        case _:
            raise ValueError(f"pooling is one of the rules that ViViTConfig lists; got {pooling!r}; take one of those.")
    return pooled.astype(state.tokens.dtype)
