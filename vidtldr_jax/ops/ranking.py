"""The highest of many scores, in an operation that every machine has."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vidtldr_jax.ops.platform import is_lowering


def rank_highest(score: Float[Array, "B N"], k: int) -> tuple[Float[Array, "B k"], Int[Array, "B k"]]:
    """Finds the k highest scores, the highest first, as `jax.lax.top_k` does.

    What is lowered for other machines sorts all of them: top-k is a young operation of StableHLO, which TensorFlow 2.21
    can't read.

    Args:
      score: what is ranked; on ties the first comes first.
      k: how many to find. Static.

    Returns:
      The scores and their places.
    """
    if not is_lowering():
        best, order = jax.lax.top_k(score, k)
        return best, order
    order = jnp.argsort(score, axis=-1, stable=True, descending=True)[:, :k]
    return jnp.take_along_axis(score, order, axis=-1), order
