"""Attention by blocks of query rows, in plain XLA: the whole map is never there, and exp is paid once.

With `e = exp(logits - max)` the plain map is `e / sum e`, and the map biased by log(size), applied to the values, is
`(e @ (size * v)) / (e @ size)`. Shapes as in `ops.attention`; what comes back beside the update is the sharpness of
every query row, `[B, N]` float32, or the attention that every key receives in the plain map, or None.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax.ops.blocks import balance_blocks
from vidtldr_jax.ops.platform import find_platform, is_known
from vidtldr_jax.ops.saliency import negative_entropy

# Rows of the map that are alive at a time, over all heads: 14 MB at 2352 keys and 12 heads. On a CPU, 64 to 256 rows
# are about equally fast, larger blocks up to a third slower.
ROWS_OF_ALL_HEADS: Final = 128
# Bytes of these rows that a TPU's on-chip memory holds beside all else. Where clips of a batch have more together, they
# are attended to in groups: the TPUs' compiler then places a block's map on the chip, else in the device's memory.
BYTES_ON_CHIP: Final = 2**25
# Rows of one head's map: 5.5 MB at 2352 keys. On a CPU, 294 to 1176 rows are equally fast within a tenth.
ROWS_OF_ONE_HEAD: Final = 588


def attend_all_heads(
    query: Float[Array, "B Q H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None,
    *,
    with_sharpness: bool,
    with_received: bool = False,
    block_size: int | None = None,
) -> tuple[Float[Array, "B Q H K"], Float[Array, "B Q"] | None]:
    """Attend to a block of rows with all heads at once, one block after the other; on a TPU a few clips at a time.

    Args:
      query: not yet scaled.
      key: as many as there are values, which need not be as many as queries.
      value: the same shape as the keys.
      size: of each key, or None.
      with_sharpness: also return the negative entropy of the head mean of the plain map. Static.
      with_received: instead return the mean of the plain map over heads and queries. Static.
      block_size: rows of a block; None chooses. Static.

    Returns:
      The update, and the sharpness, the attention received, or None.
    """
    attend = functools.partial(
        _attend_clips, with_sharpness=with_sharpness, with_received=with_received, block_size=block_size
    )
    num_clips = count_clips_at_once(query.shape, block_size)
    if num_clips is None:
        return attend(query, key, value, size)

    def split(array: Array) -> Array:
        return array.reshape(-1, num_clips, *array.shape[1:])

    groups = jax.lax.map(lambda group: attend(*group), jax.tree.map(split, (query, key, value, size)))
    return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), groups)


def count_clips_at_once(shape: tuple[Any, ...], block_size: int | None = None) -> int | None:
    """Return how many clips of a batch are attended to at a time, all heads at once, or None where all are.

    Args:
      shape: of the queries, `[B, N, H, K]`; B may be symbolic.
      block_size: rows of a block; None chooses.

    Returns:
      On a TPU the largest divisor of B of which a block's maps stay on the chip; else None.
    """
    batch, num_tokens, num_heads, _ = shape
    if find_platform() != "tpu" or not is_known(batch):
        return None
    _, rows = balance_blocks(num_tokens, block_size or ROWS_OF_ALL_HEADS)
    fitting = max(1, BYTES_ON_CHIP // (4 * num_heads * rows * num_tokens))
    largest = max((count for count in range(1, min(batch, fitting) + 1) if batch % count == 0), default=1)
    return None if largest >= batch else largest


def _attend_clips(
    query: Float[Array, "B Q H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None,
    *,
    with_sharpness: bool,
    with_received: bool,
    block_size: int | None,
) -> tuple[Float[Array, "B Q H K"], Float[Array, "B Q"] | None]:
    """Attend to blocks of rows of all clips and heads, one after the other."""
    batch, num_tokens, num_heads, channels = query.shape
    num_blocks, rows = balance_blocks(num_tokens, block_size or ROWS_OF_ALL_HEADS)
    blocks = pad_tokens(query, num_blocks * rows)
    blocks = blocks.reshape(batch, num_blocks, rows, num_heads, channels).swapaxes(0, 1)  # [blocks, B, rows, H, K]
    weight = None if size is None else size.astype(jnp.float32)
    sized_value = weigh_values(value, weight)

    def attend_rows(part: tuple[Float[Array, "B Q H K"], Float[Array, " Q"]]) -> tuple[Array, Array | None]:
        block, share = part
        logits = jnp.einsum("bqhc,bkhc->bhqk", block, key, preferred_element_type=jnp.float32)
        exp = exponentiate(logits, channels)  # [B, H, Q, N]
        plain_sum = exp.sum(-1)  # [B, H, Q]
        sized_sum = plain_sum if weight is None else jnp.einsum("bhqk,bk->bhq", exp, weight)
        update = jnp.einsum("bhqk,bkhc->bqhc", exp.astype(value.dtype), sized_value, preferred_element_type=jnp.float32)
        update = (update / sized_sum.swapaxes(1, 2)[..., None]).astype(value.dtype)  # [B, Q, H, K]
        if with_received:
            return update, jnp.einsum("bhqk,bhq->bk", exp, share[None, None] / (num_heads * plain_sum))  # [B, N]
        if not with_sharpness:
            return update, None
        mean_map = jnp.einsum("bhqk,bhq->bqk", exp, 1.0 / (num_heads * plain_sum))
        return update, negative_entropy(mean_map)  # [B, Q]

    updates, sharpness = jax.lax.map(attend_rows, (blocks, _share_rows(num_tokens, num_blocks, rows)))
    update = updates.swapaxes(0, 1).reshape(batch, num_blocks * rows, num_heads, channels)[:, :num_tokens]
    if sharpness is None:
        return update, None
    if with_received:
        return update, sharpness.sum(0)
    return update, sharpness.swapaxes(0, 1).reshape(batch, num_blocks * rows)[:, :num_tokens]


def attend_by_head(
    query: Float[Array, "B Q H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None,
    *,
    with_sharpness: bool,
    with_received: bool = False,
    block_size: int | None = None,
) -> tuple[Float[Array, "B Q H K"], Float[Array, "B Q"] | None]:
    """Attends to a block of rows with one head at a time: plain matrix products, which a CPU is fastest at.

    Heads come outermost where no sharpness is asked for; else they come inside a block, since the entropy is that of
    their mean, which is summed up head by head.

    Args:
      query: not yet scaled.
      key: as many as there are values, which need not be as many as queries.
      value: the same shape as the keys.
      size: of each key, or None.
      with_sharpness: also return the negative entropy of the head mean of the plain map. Static.
      with_received: instead return the mean of the plain map over heads and queries, one number for each key. Static.
      block_size: rows of a block; None chooses. Static.

    Returns:
      The update, and the sharpness, the attention received, or None.
    """
    batch, num_tokens, num_heads, channels = query.shape
    num_blocks, rows = balance_blocks(num_tokens, block_size or ROWS_OF_ONE_HEAD)
    blocks = pad_tokens(query, num_blocks * rows).reshape(batch, num_blocks, rows, num_heads, channels)
    weight = None if size is None else size.astype(jnp.float32)
    keys = key.transpose(0, 2, 3, 1)  # [B, H, K, N]
    values = weigh_values(value, weight).transpose(0, 2, 1, 3)  # [B, H, N, K]
    sharpness = None
    if with_received:
        by_head = blocks.transpose(0, 3, 1, 2, 4)  # [B, H, blocks, rows, K]
        share = _share_rows(num_tokens, num_blocks, rows)
        updates, received = jax.lax.map(
            lambda clip: _attend_heads_received(*clip, share=share), (by_head, keys, values, weight)
        )
        updates, sharpness = updates.transpose(0, 2, 3, 1, 4), received
    elif with_sharpness:
        by_block = blocks.transpose(0, 1, 3, 2, 4)  # [B, blocks, H, rows, K]
        attend_clip = _make_clip_attention(num_heads)
        updates, sharpness = jax.lax.map(lambda clip: attend_clip(*clip), (by_block, keys, values, weight))
        updates = updates.transpose(0, 1, 3, 2, 4)  # [B, blocks, rows, H, K]
        sharpness = sharpness.reshape(batch, num_blocks * rows)[:, :num_tokens]
    else:
        by_head = blocks.transpose(0, 3, 1, 2, 4)  # [B, H, blocks, rows, K]
        updates = jax.lax.map(_attend_heads, (by_head, keys, values, weight)).transpose(0, 2, 3, 1, 4)
    update = updates.reshape(batch, num_blocks * rows, num_heads, channels)[:, :num_tokens]
    return update.astype(value.dtype), sharpness


def weigh_values(value: Float[Array, "B N H K"], weight: Float[Array, "B N"] | None) -> Float[Array, "B N H K"]:
    """Multiplies values by the sizes of their tokens in float32; without sizes they stay."""
    if weight is None:
        return value
    return (value.astype(jnp.float32) * weight[:, :, None, None]).astype(value.dtype)


def pad_tokens(
    values: Float[Array, "B N H K"], num_tokens: int, channels: int | None = None
) -> Float[Array, "B M H C"]:
    """Appends tokens of zeros, and channels of zeros up to a number; these change no product."""
    more = 0 if channels is None else channels - values.shape[3]
    return jnp.pad(values, ((0, 0), (0, num_tokens - values.shape[1]), (0, 0), (0, more)))


def _make_clip_attention(num_heads: int) -> Callable[..., tuple[Array, Array]]:
    def attend_clip(blocks: Array, keys: Array, values: Array, weight: Array | None) -> tuple[Array, Array]:
        def attend_block(block: Float[Array, "H Q K"]) -> tuple[Array, Array]:
            def add_head(mean_map: Array, head: tuple[Array, Array, Array]) -> tuple[Array, Array]:
                exp, plain_sum, update = _attend_rows(*head, weight)
                return mean_map + exp * (1.0 / (num_heads * plain_sum))[:, None], update

            # Made like an operand, it varies over a mesh's axes as that does, so that the loop runs under shard_map.
            empty = jax.lax.full_like(block, 0.0, jnp.float32, shape=(block.shape[1], keys.shape[-1]))  # [Q, N]
            mean_map, updates = jax.lax.scan(add_head, empty, (block, keys, values))
            return updates, negative_entropy(mean_map)  # [H, Q, K], [Q]

        return jax.lax.map(attend_block, blocks)

    return attend_clip


def _attend_heads(clip: tuple[Array, Array, Array, Array | None]) -> Float[Array, "H blocks Q K"]:
    blocks, keys, values, weight = clip

    def attend_head(head: tuple[Array, Array, Array]) -> Float[Array, "blocks Q K"]:
        head_blocks, head_keys, head_values = head
        return jax.lax.map(lambda block: _attend_rows(block, head_keys, head_values, weight)[2], head_blocks)

    return jax.lax.map(attend_head, (blocks, keys, values))


def _attend_heads_received(
    blocks: Array, keys: Array, values: Array, weight: Array | None, *, share: Float[Array, "blocks Q"]
) -> tuple[Float[Array, "H blocks Q K"], Float[Array, " N"]]:
    """Attends one head after the other, and adds up the attention that each key receives."""

    def add_head(received: Array, head: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        head_blocks, head_keys, head_values = head

        def add_block(received: Array, part: tuple[Array, Array]) -> tuple[Array, Array]:
            block, share_of_rows = part
            exp, plain_sum, update = _attend_rows(block, head_keys, head_values, weight)
            return received + (share_of_rows / plain_sum) @ exp, update

        return jax.lax.scan(add_block, received, (head_blocks, share))

    none = jax.lax.full_like(keys, 0.0, jnp.float32, shape=keys.shape[-1:])  # [N]
    received, updates = jax.lax.scan(add_head, none, (blocks, keys, values))
    return updates, received / blocks.shape[0]


def _share_rows(num_tokens: int, num_blocks: int, rows: int) -> Float[Array, "blocks Q"]:
    """Returns each query row's share in a mean over all; what only fills a block has none."""
    is_row = jnp.arange(num_blocks * rows) < num_tokens
    return jnp.where(is_row, 1.0 / num_tokens, 0.0).astype(jnp.float32).reshape(num_blocks, rows)


def _attend_rows(
    block: Float[Array, "Q K"], keys: Float[Array, "K N"], values: Float[Array, "N K"], weight: Array | None
) -> tuple[Float[Array, "Q N"], Float[Array, " Q"], Float[Array, "Q K"]]:
    """Returns exp of the logits, its row sums, and the update."""
    exp = exponentiate(jnp.matmul(block, keys, preferred_element_type=jnp.float32), block.shape[-1])
    plain_sum = exp.sum(-1)  # [Q]
    sized_sum = plain_sum if weight is None else exp @ weight
    update = jnp.matmul(exp.astype(values.dtype), values, preferred_element_type=jnp.float32)
    return exp, plain_sum, update / sized_sum[:, None]


def exponentiate(logits: Float[Array, "*rows N"], channels: int) -> Float[Array, "*rows N"]:
    """Return exp of logits that are not yet scaled, each row's largest at 1."""
    scaled = logits * channels**-0.5
    return jnp.exp(scaled - jax.lax.stop_gradient(scaled.max(-1, keepdims=True)))
