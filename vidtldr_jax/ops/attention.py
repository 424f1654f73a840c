"""Attention with a size bias on the keys, which can also return the saliency of the plain map.

Shapes: queries, keys, values `[B, N, H, K]` (as `jax.nn.dot_product_attention` has them), size `[B, N]`,
update `[B, N, H, K]`, saliency `[B, N]`. Softmax and entropy are float32 whatever the inputs are.

Two maps are wanted: the plain one, softmax(q k^T / sqrt(K)), for the saliency, and the one biased by log(size),
for the values. The exponential is paid once: with `e = exp(logits - max)` the plain map is `e / sum e`, and the
biased one applied to the values is `(e @ (size * v)) / (e @ size)`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax.ops.saliency import attention_saliency, check_protected, negative_entropy, normalise_sharpness

AttentionForm = Literal["blocked", "dense"]

# Rows of the map that are alive at a time, over all heads: 14 MB at 2352 keys and 12 heads. On a CPU, 64 to 256 rows
# are about equally fast, larger blocks up to a third slower.
_DEFAULT_BLOCK_SIZE = 128


class Attended(NamedTuple):
    """What attention returns.

    Attributes:
      update: `[B, N, H, K]`, the dtype of the values.
      saliency: `[B, N]` float32 in [0, 1], or None if it was not asked for.
    """

    update: Float[Array, "B N H K"]
    saliency: Float[Array, "B N"] | None


def attend(
    query: Float[Array, "B N H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None = None,
    *,
    with_saliency: bool = False,
    num_protected: int = 0,
    form: AttentionForm = "blocked",
    block_size: int | None = None,
) -> Attended:
    """Attends with log(size) on the keys; on demand also says which tokens look sharply.

    Args:
      query: not yet scaled; 1 / sqrt(K) is applied here.
      key: the same shape.
      value: the same shape.
      size: how many original tokens each key stands for, at least 1; None means 1 everywhere.
      with_saliency: also return the saliency, from the map *without* the size bias. Static.
      num_protected: leading tokens (CLS) left out of the saliency's minimum, mean and maximum. Static.
      form: "blocked" holds one block of query rows of the map at a time; "dense" holds all of `[B, H, N, N]` and is
        the reference. Static.
      block_size: query rows in a block; None chooses. Rows are balanced over the blocks. Static.

    Returns:
      An `Attended`.

    Raises:
      ValueError: shapes differ, form is unknown, or block_size is not positive.

    Reference:
      vid-TLDR, section 4.1; the size bias is ToMe's proportional attention, arXiv 2210.09461, equation 1.
    """
    if not query.shape == key.shape == value.shape or query.ndim != 4:
        raise ValueError(
            "attend: query, key and value have one shape [B, N, H, K]; "
            f"{query.shape}, {key.shape}, {value.shape} came; split the heads first."
        )
    if size is not None and size.shape != query.shape[:2]:
        raise ValueError(
            f"attend: size is [B, N] = {query.shape[:2]}; {size.shape} came; one size for each key is needed."
        )
    if block_size is not None and block_size < 1:
        raise ValueError(f"attend: block_size is at least 1; {block_size} came; leave it out for the default.")
    if with_saliency:
        check_protected("attend", query.shape[1], num_protected)
    if form == "dense":
        return _attend_dense(query, key, value, size, with_saliency, num_protected)
    if form == "blocked":
        return _attend_blocked(query, key, value, size, with_saliency, num_protected, block_size)
    raise ValueError(f'attend: form is "blocked" or "dense"; {form!r} came; leave it out for the default.')


def _attend_dense(
    query: Float[Array, "B N H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None,
    with_saliency: bool,
    num_protected: int,
) -> Attended:
    """The definition, written down: two softmaxes over the whole map."""
    logits = _logits(query, key)  # [B, H, N, N]
    saliency = attention_saliency(jax.nn.softmax(logits), num_protected=num_protected) if with_saliency else None
    if size is not None:
        logits = logits + jnp.log(size.astype(jnp.float32))[:, None, None, :]
    attention = jax.nn.softmax(logits).astype(value.dtype)
    update = jnp.einsum("bhqk,bkhc->bqhc", attention, value, preferred_element_type=jnp.float32)
    return Attended(update.astype(value.dtype), saliency)


def _attend_blocked(
    query: Float[Array, "B N H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None,
    with_saliency: bool,
    num_protected: int,
    block_size: int | None,
) -> Attended:
    """The same, one block of query rows at a time; exp is computed once for both maps."""
    batch, num_tokens, num_heads, channels = query.shape
    num_blocks = -(-num_tokens // (block_size or _DEFAULT_BLOCK_SIZE))
    rows = -(-num_tokens // num_blocks)
    padding = num_blocks * rows - num_tokens
    blocks = jnp.pad(query, ((0, 0), (0, padding), (0, 0), (0, 0)))
    blocks = blocks.reshape(batch, num_blocks, rows, num_heads, channels).swapaxes(0, 1)  # [blocks, B, rows, H, K]

    weight = None if size is None else size.astype(jnp.float32)[:, :, None]  # [B, N, 1]
    sized_value = value if weight is None else (value.astype(jnp.float32) * weight[..., None]).astype(value.dtype)

    def attend_rows(block: Float[Array, "B Q H K"]) -> tuple[Array, Array | None]:
        logits = _logits(block, key)  # [B, H, Q, N]
        exp = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
        plain_sum = exp.sum(-1)  # [B, H, Q]
        sized_sum = plain_sum if weight is None else jnp.einsum("bhqk,bk->bhq", exp, weight[:, :, 0])
        update = jnp.einsum("bhqk,bkhc->bqhc", exp.astype(value.dtype), sized_value, preferred_element_type=jnp.float32)
        update = (update / sized_sum.swapaxes(1, 2)[..., None]).astype(value.dtype)  # [B, Q, H, K]
        if not with_saliency:
            return update, None
        mean_attention = jnp.einsum("bhqk,bhq->bqk", exp, 1.0 / (num_heads * plain_sum))
        return update, negative_entropy(mean_attention)  # [B, Q]

    updates, sharpness = jax.lax.map(attend_rows, blocks)
    update = updates.swapaxes(0, 1).reshape(batch, num_blocks * rows, num_heads, channels)[:, :num_tokens]
    if sharpness is None:
        return Attended(update, None)
    sharpness = sharpness.swapaxes(0, 1).reshape(batch, num_blocks * rows)[:, :num_tokens]
    return Attended(update, normalise_sharpness(sharpness, num_protected=num_protected))


def _logits(query: Float[Array, "B Q H K"], key: Float[Array, "B N H K"]) -> Float[Array, "B H Q N"]:
    logits = jnp.einsum("bqhc,bkhc->bhqk", query, key, preferred_element_type=jnp.float32)
    return logits * query.shape[-1] ** -0.5
