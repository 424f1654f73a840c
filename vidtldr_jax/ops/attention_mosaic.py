"""Attention and sharpness as Pallas kernels for TPUs: no map leaves the chip's own memory.

The same two kernels as for GPUs (`ops.attention_triton`) in the way of a TPU: the grid runs over tiles of keys too, in
order, so that keys stream through on-chip memory while running sums stay there. Heads are the innermost axis of the
second kernel's grid: a tile of the mean map is complete after the last of them. Shapes as in `ops.attention`.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from vidtldr_jax.ops.attention_blocks import pad_tokens, weigh_values
from vidtldr_jax.ops.attention_triton import multiply_transposed, shape_like, sum_entropy
from vidtldr_jax.ops.blocks import balance_blocks

# A register's last axis; arrays are padded to it in memory too.
_LANES: Final = 128
# Query rows and keys of a tile at most. Chosen by what the TPU's compiler schedules (benchmarks/tpu_cycles.py): with
# tiles of 256, 2352 tokens need 2.7 times the cycles on a v5e and on a v6e. Larger tiles were not tried.
TILE: Final = 1024


def attend_mosaic(
    query: Float[Array, "B N H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None,
    *,
    with_sharpness: bool,
    block_size: int | None = None,
    interpret: Any = False,
) -> tuple[Float[Array, "B N H K"], Float[Array, "B N"] | None]:
    """Attends by tiles in on-chip memory.

    Args:
      query: not yet scaled.
      key: the same shape.
      value: the same shape.
      size: of each key, or None.
      with_sharpness: also return the negative entropy of the head mean of the plain map. Static.
      block_size: rows and keys of a tile, a multiple of 128; None chooses, see `divide_tokens`. Static.
      interpret: run as plain JAX, on any device: True, or Pallas's `InterpretParams`. Static.

    Returns:
      The update, and the sharpness or None.
    """
    batch, num_tokens, num_heads, channels = query.shape
    num_tiles, tile = divide_tokens(num_tokens, block_size)
    padded = num_tiles * tile
    weight = jnp.ones((batch, num_tokens), jnp.float32) if size is None else size.astype(jnp.float32)
    query, key, sized_value = (
        pad_tokens(values, padded, channels).swapaxes(1, 2)  # [B, H, M, K]
        for values in (query, key, weigh_values(value, None if size is None else weight))
    )
    weight = jnp.pad(weight, ((0, 0), (0, padded - num_tokens)))[:, None]  # [B, 1, M]
    static = {"num_tokens": num_tokens, "scale": channels**-0.5, "tile": tile}
    sides, itemsize = (batch, num_heads, num_tiles, tile), query.dtype.itemsize

    # Of a grid's axes, "arbitrary" ones (keys, heads) run in order; "parallel" ones may be split over cores.
    def of(place: Any, *sides: int) -> pl.BlockSpec:
        return pl.BlockSpec(sides, place)

    rows = of(lambda clip, head, row, keys: (clip, head, row, 0), 1, 1, tile, channels)
    keys = of(lambda clip, head, row, keys: (clip, head, keys, 0), 1, 1, tile, channels)
    of_row = of(lambda clip, head, row, keys: (clip, head, row, 0), 1, 1, tile, 1)
    update, largest, plain_sum = pl.pallas_call(
        functools.partial(_attend_kernel, **static),
        name="attend",
        grid=(batch, num_heads, num_tiles, num_tiles),
        in_specs=[rows, keys, keys, of(lambda clip, head, row, keys: (clip, 0, keys), 1, 1, tile)],
        out_specs=[rows, of_row, of_row],
        out_shape=[
            shape_like(query, query.shape, value.dtype),
            *[shape_like(query, (batch, num_heads, padded, 1), jnp.float32)] * 2,
        ],
        scratch_shapes=[pltpu.VMEM((tile, channels), jnp.float32), *[pltpu.VMEM((tile, 1), jnp.float32)] * 3],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")),
        cost_estimate=count_attend(sides, channels, itemsize),
        interpret=interpret,
    )(query, key, sized_value, weight)
    update = update.swapaxes(1, 2)[:, :num_tokens]  # [B, N, H, K]
    if not with_sharpness:
        return update, None
    sharpness = pl.pallas_call(
        functools.partial(_sharpness_kernel, num_heads=num_heads, **static),
        name="sharpness",
        grid=(batch, num_tiles, num_tiles, num_heads),
        in_specs=[
            of(lambda clip, row, keys, head: (clip, head, row, 0), 1, 1, tile, channels),
            of(lambda clip, row, keys, head: (clip, head, keys, 0), 1, 1, tile, channels),
            *[of(lambda clip, row, keys, head: (clip, head, row, 0), 1, 1, tile, 1)] * 2,
        ],
        out_specs=of(lambda clip, row, keys, head: (clip, row, 0), 1, tile, 1),
        out_shape=shape_like(query, (batch, padded, 1), jnp.float32),
        scratch_shapes=[pltpu.VMEM((tile, tile), jnp.float32)],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary", "arbitrary")),
        cost_estimate=count_sharpness(sides, channels, itemsize),
        interpret=interpret,
    )(query, key, largest, plain_sum)
    return update, sharpness[:, :num_tokens, 0]


def divide_tokens(num_tokens: int, block_size: int | None = None) -> tuple[int, int]:
    """Divides tokens into tiles, of which the last is padded.

    Args:
      num_tokens: of a sequence.
      block_size: rows of a tile; None balances tiles of at most `TILE`, each a multiple of 128.

    Returns:
      How many tiles there are, and the rows of each.
    """
    if block_size is not None:
        return balance_blocks(num_tokens, block_size)[0], block_size
    num_tiles, rows = balance_blocks(num_tokens, TILE)
    return num_tiles, _pad_lanes(rows)


def count_attend(sides: tuple[int, int, int, int], channels: int, itemsize: int) -> pl.CostEstimate:
    """Counts what the first kernel computes and moves, padding included, for XLA's scheduler.

    Args:
      sides: batch, heads, tiles along queries (as many along keys), rows of a tile.
      channels: of a head.
      itemsize: bytes of a number of queries, keys and values.

    Returns:
      Floating-point operations of the two products, exponentials, and bytes between the device's memory and the chip.
    """
    batch, num_heads, num_tiles, tile = sides
    tokens = num_tiles * tile
    pairs = batch * num_heads * tokens**2
    vectors = batch * num_heads * tokens * _pad_lanes(channels) * itemsize  # bytes of all queries, or keys, or values
    of_rows = 2 * batch * num_heads * tokens * _LANES * 4  # the largest logits and the sums, one number in a row
    weight = batch * num_heads * num_tiles * tokens * 4
    return pl.CostEstimate(
        flops=4 * pairs * channels,
        transcendentals=pairs + batch * num_heads * tokens * num_tiles,
        bytes_accessed=2 * vectors + 2 * num_tiles * vectors + of_rows + weight,
    )


def count_sharpness(sides: tuple[int, int, int, int], channels: int, itemsize: int) -> pl.CostEstimate:
    """Counts what the second kernel computes and moves, as `count_attend` does.

    Args:
      sides: batch, heads, tiles along queries (as many along keys), rows of a tile.
      channels: of a head.
      itemsize: bytes of a number of queries and keys.

    Returns:
      Floating-point operations of the product, exponentials and logarithms, and bytes moved.
    """
    batch, num_heads, num_tiles, tile = sides
    tokens = num_tiles * tile
    pairs = batch * num_heads * tokens**2
    vectors = batch * num_heads * tokens * _pad_lanes(channels) * itemsize
    of_rows = 2 * batch * num_heads * tokens * _LANES * 4
    return pl.CostEstimate(
        flops=2 * pairs * channels,
        transcendentals=pairs + batch * tokens**2,
        bytes_accessed=num_tiles * (2 * vectors + of_rows) + batch * tokens * _LANES * 4,
    )


def _pad_lanes(size: int) -> int:
    return -(-size // _LANES) * _LANES


def _attend_kernel(
    query_ref: Any, key_ref: Any, value_ref: Any, weight_ref: Any, update_ref: Any, row_largest_ref: Any,
    row_sum_ref: Any, sum_ref: Any, largest_ref: Any, plain_sum_ref: Any, sized_sum_ref: Any,
    *, num_tokens: int, scale: float, tile: int,
) -> None:  # fmt: skip
    number = pl.program_id(3)

    @pl.when(number == 0)
    def start() -> None:
        sum_ref[...] = jnp.zeros_like(sum_ref)
        # Finite, so that the first tile's factor is exp(finite - finite), whatever its logits.
        largest_ref[...] = jnp.full_like(largest_ref, jnp.finfo(jnp.float32).min)
        plain_sum_ref[...] = jnp.zeros_like(plain_sum_ref)
        sized_sum_ref[...] = jnp.zeros_like(sized_sum_ref)

    logits = multiply_transposed(query_ref[0, 0], key_ref[0, 0])  # [Q, T], not yet scaled
    logits = jnp.where(_find_tokens(number, tile, num_tokens), logits, -jnp.inf)
    largest = largest_ref[...]  # [Q, 1]
    new_largest = jnp.maximum(largest, logits.max(-1, keepdims=True))
    shrink = jnp.exp((largest - new_largest) * scale)
    exp = jnp.exp((logits - new_largest) * scale)
    values = value_ref[0, 0]  # [T, K]
    largest_ref[...] = new_largest
    plain_sum_ref[...] = plain_sum_ref[...] * shrink + exp.sum(-1, keepdims=True)
    sized_sum_ref[...] = sized_sum_ref[...] * shrink + (exp * weight_ref[0]).sum(-1, keepdims=True)
    sum_ref[...] = sum_ref[...] * shrink + jnp.dot(exp.astype(values.dtype), values, preferred_element_type=jnp.float32)

    @pl.when(number == pl.num_programs(3) - 1)
    def finish() -> None:
        update_ref[0, 0] = (sum_ref[...] / sized_sum_ref[...]).astype(update_ref.dtype)
        row_largest_ref[0, 0] = largest_ref[...]
        row_sum_ref[0, 0] = plain_sum_ref[...]


def _sharpness_kernel(
    query_ref: Any, key_ref: Any, largest_ref: Any, sum_ref: Any, sharpness_ref: Any, mean_ref: Any,
    *, num_tokens: int, num_heads: int, scale: float, tile: int,
) -> None:  # fmt: skip
    number, head = pl.program_id(2), pl.program_id(3)

    @pl.when((number == 0) & (head == 0))
    def start_rows() -> None:
        sharpness_ref[...] = jnp.zeros_like(sharpness_ref)

    @pl.when(head == 0)
    def start_tile() -> None:
        mean_ref[...] = jnp.zeros_like(mean_ref)

    logits = multiply_transposed(query_ref[0, 0], key_ref[0, 0])  # [Q, T], not yet scaled
    mean_ref[...] += jnp.exp((logits - largest_ref[0, 0]) * scale) / sum_ref[0, 0]

    @pl.when(head == num_heads - 1)
    def finish_tile() -> None:
        mean_map = jnp.where(_find_tokens(number, tile, num_tokens), mean_ref[...] / num_heads, 0.0)
        sharpness_ref[0] += sum_entropy(mean_map)[:, None]


def _find_tokens(number: Array, tile: int, num_tokens: int) -> Array:
    """Returns `[1, T]`, which keys of a tile are tokens; the others are padding."""
    return number * tile + jax.lax.broadcasted_iota(jnp.int32, (1, tile), 1) < num_tokens
