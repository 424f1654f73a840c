"""The sharpness of every query row in plain XLA, beside attention whose map nobody sees, such as cuDNN's.

A block of rows of all heads is there at a time: their softmax, its mean over heads, and the entropy of that. Values
take no part. Shapes as in `ops.attention`.
"""

from __future__ import annotations

from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax.ops.attention_blocks import ROWS_OF_ALL_HEADS, exponentiate, pad_tokens
from vidtldr_jax.ops.blocks import balance_blocks
from vidtldr_jax.ops.platform import is_known
from vidtldr_jax.ops.saliency import negative_entropy

# Bytes of the map's rows that are there at a time, over all clips and heads, as far as FEWEST_ROWS allow.
MOST_BYTES: Final = 2**28
FEWEST_ROWS: Final = 16


def find_sharpness(
    query: Float[Array, "B N H K"], key: Float[Array, "B N H K"], *, block_size: int | None = None
) -> Float[Array, "B N"]:
    """Return the negative entropy of the head mean of the plain map, block of rows by block of rows.

    Args:
      query: not yet scaled.
      key: the same shape.
      block_size: rows of a block; None takes as many as stay below 256 MiB, from 16 to 128. Static.

    Returns:
      Float32, one number for each query row; large where a row looks sharply.
    """
    batch, num_tokens, num_heads, channels = query.shape
    num_blocks, rows = balance_blocks(num_tokens, block_size or choose_rows(batch, num_tokens, num_heads))
    blocks = pad_tokens(query, num_blocks * rows)
    blocks = blocks.reshape(batch, num_blocks, rows, num_heads, channels).swapaxes(0, 1)  # [blocks, B, rows, H, K]

    def find_of_rows(block: Float[Array, "B Q H K"]) -> Float[Array, "B Q"]:
        logits = jnp.einsum("bqhc,bkhc->bhqk", block, key, preferred_element_type=jnp.float32)
        exp = exponentiate(logits, channels)  # [B, H, Q, N]
        return negative_entropy(jnp.einsum("bhqk,bhq->bqk", exp, 1.0 / (num_heads * exp.sum(-1))))

    sharpness = jax.lax.map(find_of_rows, blocks)  # [blocks, B, rows]
    return sharpness.swapaxes(0, 1).reshape(batch, num_blocks * rows)[:, :num_tokens]


def choose_rows(batch: Any, num_tokens: int, num_heads: int) -> int:
    """Return how many rows of the map are there at a time; a batch size that is not known yet counts as small."""
    if not is_known(batch):
        return ROWS_OF_ALL_HEADS
    bytes_of_row = 4 * max(1, batch * num_heads * num_tokens)
    return min(ROWS_OF_ALL_HEADS, max(FEWEST_ROWS, MOST_BYTES // bytes_of_row))
