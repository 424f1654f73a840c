"""From tokens to one vector per clip."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


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
