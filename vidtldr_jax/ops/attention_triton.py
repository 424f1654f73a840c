"""Attention and sharpness as Pallas kernels for GPUs, through Triton: no map leaves the chip.

Two kernels. The first is attention by tiles of keys with a running maximum and sum: exp is paid once, the plain sum
and the sum weighted by size are kept side by side, and what comes out is the update and, of the plain map, each row's
largest logit and sum (`[B, H, N]` each). The second goes over the keys again, where sharpness is asked for, and makes
tiles of the mean map: heads come inside the loop over tiles, since the entropy is that of their mean. Shapes as in
`ops.attention`; N and K are padded to whole tiles here.

The largest logit and the sum stay two numbers, and logits are scaled after the largest is subtracted. One number for
both would be rounded by more than what tells nearly one-hot rows apart, and so would a product that one kernel fuses
with the subtraction and the other does not.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from vidtldr_jax.ops.attention_blocks import pad_tokens, weigh_values
from vidtldr_jax.ops.blocks import balance_blocks

# Query rows and keys of a tile, powers of 2 as Triton wants them. Chosen by what fits the registers of a block of 4
# warps (64 x 64 float32 are 32 registers a thread), not by measurement.
TILE: Final = 64
NUM_WARPS: Final = 4
NUM_STAGES: Final = 2


def attend_triton(
    query: Float[Array, "B N H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None,
    *,
    with_sharpness: bool,
    block_size: int | None = None,
    interpret: bool = False,
) -> tuple[Float[Array, "B N H K"], Float[Array, "B N"] | None]:
    """Attends by tiles in on-chip memory.

    Args:
      query: not yet scaled.
      key: the same shape.
      value: the same shape.
      size: of each key, or None.
      with_sharpness: also return the negative entropy of the head mean of the plain map. Static.
      block_size: rows and keys of a tile, a power of 2 from 16; None chooses. Static.
      interpret: run as plain JAX, on any device. Static.

    Returns:
      The update, and the sharpness or None.
    """
    batch, num_tokens, num_heads, channels = query.shape
    tile = block_size or TILE
    num_tiles, _ = balance_blocks(num_tokens, tile)
    width = max(16, pl.next_power_of_2(channels))
    query, key, sized_value = (
        pad_tokens(values, num_tiles * tile, width)
        for values in (query, key, weigh_values(value, None if size is None else size.astype(jnp.float32)))
    )
    weight = jnp.ones((batch, num_tokens), jnp.float32) if size is None else size.astype(jnp.float32)
    weight = jnp.pad(weight, ((0, 0), (0, num_tiles * tile - num_tokens)))
    static = {"num_tokens": num_tokens, "scale": channels**-0.5, "tile": tile}
    run = functools.partial(_call, interpret=interpret)

    padded = num_tiles * tile
    whole = pl.BlockSpec((None, padded, None, width), lambda row, head, clip: (clip, 0, head, 0))
    of_rows = pl.BlockSpec((None, tile, None, width), lambda row, head, clip: (clip, row, head, 0))
    of_row = pl.BlockSpec((None, None, tile), lambda row, head, clip: (clip, head, row))
    update, largest, plain_sum = run(
        functools.partial(_attend_kernel, **static),
        name="attend",
        grid=(num_tiles, num_heads, batch),
        in_specs=[of_rows, whole, whole, pl.BlockSpec((None, padded), lambda row, head, clip: (clip, 0))],
        out_specs=[of_rows, of_row, of_row],
        out_shape=[
            shape_like(query, query.shape, value.dtype),
            *[shape_like(query, (batch, num_heads, padded), jnp.float32)] * 2,
        ],
    )(query, key, sized_value, weight)
    update = update[:, :num_tokens, :, :channels]
    if not with_sharpness:
        return update, None
    sharpness = run(
        functools.partial(_sharpness_kernel, num_heads=num_heads, **static),
        name="sharpness",
        grid=(num_tiles, batch),
        in_specs=[
            pl.BlockSpec((None, tile, num_heads, width), lambda row, clip: (clip, row, 0, 0)),
            pl.BlockSpec((None, padded, num_heads, width), lambda row, clip: (clip, 0, 0, 0)),
            *[pl.BlockSpec((None, num_heads, tile), lambda row, clip: (clip, 0, row))] * 2,
        ],
        out_specs=pl.BlockSpec((None, tile), lambda row, clip: (clip, row)),
        out_shape=shape_like(query, (batch, padded), jnp.float32),
    )(query, key, largest, plain_sum)
    return update, sharpness[:, :num_tokens]


def _call(kernel: Any, *, name: str, interpret: bool, **specs: Any) -> Any:
    # Imported here: it needs the parts of jaxlib that know GPUs.
    from jax.experimental.pallas import triton

    parameters = triton.CompilerParams(num_warps=NUM_WARPS, num_stages=NUM_STAGES)
    return pl.pallas_call(kernel, name=name, interpret=interpret, compiler_params=parameters, **specs)


def _attend_kernel(
    query_ref: Any, key_ref: Any, value_ref: Any, weight_ref: Any, update_ref: Any, largest_ref: Any, sum_ref: Any,
    *, num_tokens: int, scale: float, tile: int,
) -> None:  # fmt: skip
    query = query_ref[...]  # [Q, K]
    rows, channels = query.shape

    def add_tile(number: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        update, largest, plain_sum, sized_sum = carry
        keys = pl.ds(number * tile, tile)
        logits = multiply_transposed(query, key_ref[keys, :])  # [Q, T], not yet scaled
        is_token = number * tile + jnp.arange(tile) < num_tokens
        logits = jnp.where(is_token[None, :], logits, -jnp.inf)
        new_largest = jnp.maximum(largest, logits.max(-1))  # [Q]
        shrink = jnp.exp((largest - new_largest) * scale)
        exp = jnp.exp((logits - new_largest[:, None]) * scale)
        plain_sum = plain_sum * shrink + exp.sum(-1)
        sized_sum = sized_sum * shrink + (exp * weight_ref[keys][None, :]).sum(-1)
        values = value_ref[keys, :]  # [T, K]
        added = jnp.dot(exp.astype(values.dtype), values, preferred_element_type=jnp.float32)
        return update * shrink[:, None] + added, new_largest, plain_sum, sized_sum

    # Finite, so that the first tile's factor is exp(finite - finite), whatever its logits.
    start = jnp.full((rows,), jnp.finfo(jnp.float32).min, jnp.float32)
    zeros = jnp.zeros((rows,), jnp.float32)
    carry = (jnp.zeros((rows, channels), jnp.float32), start, zeros, zeros)
    num_tiles = -(-num_tokens // tile)
    update, largest, plain_sum, sized_sum = jax.lax.fori_loop(0, num_tiles, add_tile, carry)
    update_ref[...] = (update / sized_sum[:, None]).astype(update_ref.dtype)
    largest_ref[...] = largest
    sum_ref[...] = plain_sum


def _sharpness_kernel(
    query_ref: Any, key_ref: Any, largest_ref: Any, sum_ref: Any, sharpness_ref: Any,
    *, num_tokens: int, num_heads: int, scale: float, tile: int,
) -> None:  # fmt: skip
    def add_tile(number: Array, sharpness: Array) -> Array:
        keys = pl.ds(number * tile, tile)

        def add_head(head: Array, mean_map: Array) -> Array:
            logits = multiply_transposed(query_ref[:, head, :], key_ref[keys, head, :])  # [Q, T]
            return mean_map + jnp.exp((logits - largest_ref[head, :][:, None]) * scale) / sum_ref[head, :][:, None]

        mean_map = jax.lax.fori_loop(0, num_heads, add_head, jnp.zeros((tile, tile), jnp.float32)) / num_heads
        is_token = number * tile + jnp.arange(tile) < num_tokens
        return sharpness + sum_entropy(jnp.where(is_token[None, :], mean_map, 0.0))

    num_tiles = -(-num_tokens // tile)
    sharpness_ref[...] = jax.lax.fori_loop(0, num_tiles, add_tile, jnp.zeros((tile,), jnp.float32))


def multiply_transposed(left: Float[Array, "Q K"], right: Float[Array, "T K"]) -> Float[Array, "Q T"]:
    """Returns left right^T, summed in float32."""
    return jax.lax.dot_general(left, right, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)


def sum_entropy(mean_map: Float[Array, "Q T"]) -> Float[Array, " Q"]:
    """Sums a log a over a tile of the mean map; 0 where a is 0."""
    return (mean_map * jnp.log(jnp.where(mean_map > 0, mean_map, 1.0))).sum(-1)


def shape_like(operand: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """Return the shape of a kernel's output that varies over a mesh's axes as an operand does, for `jax.shard_map`."""
    return jax.eval_shape(lambda like: jax.lax.full_like(like, 0, dtype, shape), operand)
