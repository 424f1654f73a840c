"""Features -> MergePlan: bipartite soft matching with a fixed number of absorbed tokens."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vidtldr_jax.ops.blocks import balance_blocks
from vidtldr_jax.ops.checks import check_alike, check_array, check_axes, check_count
from vidtldr_jax.ops.ranking import rank_highest
from vidtldr_jax.ops.saliency import check_protected
from vidtldr_jax.ops.state import MergePlan

# Even tokens that are compared with all odd ones at a time, so that memory grows with the tokens and not their square.
# Up to 4096 tokens that is all of them.
_ROWS_OF_SIMILARITY: Final = 2048


class Pairs(NamedTuple):
    """Every even token with its most similar odd one; `S` even tokens, counted after the protected ones.

    Attributes:
      similarity: `[B, S]` float32, cosine of the two, -1 to 1; 0 where either is a zero vector.
      partner: `[B, S]` int32, index of the odd token among the odd ones; the first on ties.
    """

    similarity: Float[Array, "B S"]
    partner: Int[Array, "B S"]


@jax.named_scope("match")
def match_tokens(features: Float[Array, "B N D"], *, r: int, num_protected: int = 0) -> MergePlan:
    """Pairs each even token with its most similar odd one and picks the r best pairs.

    The output keeps protected tokens first, then the surviving even tokens in ascending order, then all odd
    ones. With r = 0 the plan changes nothing, the order included.

    Args:
      features: what similarity is measured on; any scale, a zero vector is similar to nothing.
      r: how many tokens to absorb. Static.
      num_protected: leading tokens (CLS) that neither absorb nor are absorbed; parity is counted after them. Static.

    Returns:
      A `MergePlan` whose shapes depend only on N, r and num_protected.

    Raises:
      ValueError: features are not `[B, N, D]`, or r is traced, negative or more than half of the unprotected tokens.

    Reference:
      vid-TLDR, section 4.2; bipartite soft matching is from ToMe, arXiv 2210.09461, section 3.
    """
    check_axes("features", features, "B N D")
    batch, num_tokens, _ = features.shape
    check_protected(num_tokens, num_protected)
    r = _check_r(r, num_tokens - num_protected)
    if r == 0:
        return _keep_all(batch, num_tokens)
    pairs = pair_tokens(features, num_protected=num_protected)
    sizes = {"num_tokens": num_tokens, "num_protected": num_protected}
    return absorb_pairs(pairs.partner, pairs.similarity, r=r, **sizes)


@jax.named_scope("match")
def pair_tokens(features: Float[Array, "B N D"], *, num_protected: int = 0) -> Pairs:
    """Finds for each even token the most similar odd one.

    Args:
      features: what similarity is measured on; any scale, a zero vector is similar to nothing.
      num_protected: leading tokens (CLS) that are left out; parity is counted after them. Static.

    Returns:
      `Pairs`.

    Raises:
      ValueError: features are not `[B, N, D]`, or fewer than two tokens are not protected.
    """
    check_axes("features", features, "B N D")
    check_protected(features.shape[1] - 1, num_protected)
    unit = normalise_features(features[:, num_protected:])
    similarity, partner = _find_partners(unit[:, 0::2], unit[:, 1::2])
    return Pairs(similarity, partner.astype(jnp.int32))


@jax.named_scope("match")
def absorb_pairs(
    partner: Int[Array, "B S"], score: Float[Array, "B S"], *, r: int, num_tokens: int, num_protected: int = 0
) -> MergePlan:
    """Picks the r pairs of highest score; their even tokens are absorbed by their odd ones.

    Args:
      partner: index of the odd token of each even one, among the odd ones.
      score: what is ranked; on ties the first is taken.
      r: how many tokens to absorb. Static.
      num_tokens: N, protected ones included. Static.
      num_protected: leading tokens (CLS). Static.

    Returns:
      A `MergePlan` in the order of `match_tokens`.

    Raises:
      ValueError: partner and score are not `[B, S]`, S is not the number of even tokens, or r is traced, negative or
        more than half of the unprotected tokens.
    """
    check_axes("partner", partner, "B S")
    check_alike("score", score, partner.shape, "B S", "partner")
    num_tokens = check_count("num_tokens", num_tokens)
    check_protected(num_tokens, num_protected)
    batch, num_even = partner.shape
    num_odd = (num_tokens - num_protected) // 2
    if num_even != num_tokens - num_protected - num_odd:
        raise ValueError(
            f"S of partner is the number of even tokens, {num_tokens - num_protected - num_odd} of "
            f"{num_tokens - num_protected}; got {num_even}; pass the num_tokens of what was paired."
        )
    r = _check_r(r, num_tokens - num_protected)
    if r == 0:
        return _keep_all(batch, num_tokens)
    _, chosen = rank_highest(score, r)  # [B, R], index among the even tokens
    target = (num_even - r) + jnp.take_along_axis(partner, chosen, axis=1)  # among the unprotected outputs

    is_absorbed = jnp.zeros((batch, num_even), bool).at[jnp.arange(batch)[:, None], chosen].set(True)
    # A stable sort of a boolean puts the survivors first and leaves them in ascending order.
    survivors = jnp.argsort(is_absorbed, axis=1, stable=True)[:, : num_even - r]  # [B, S - R]
    protected = jnp.broadcast_to(jnp.arange(num_protected), (batch, num_protected))
    odds = jnp.broadcast_to(num_protected + 1 + 2 * jnp.arange(num_odd), (batch, num_odd))
    kept = jnp.concatenate([protected, num_protected + 2 * survivors, odds], axis=1)  # [B, M]
    return MergePlan(
        kept.astype(jnp.int32),
        (num_protected + 2 * chosen).astype(jnp.int32),
        (num_protected + target).astype(jnp.int32),
    )


def _check_r(r: int, num_free: int) -> int:
    r = check_count("r", r)
    if not 0 <= r <= num_free // 2:
        raise ValueError(
            f"r is from 0 to {num_free // 2} (half of {num_free} unprotected tokens); "
            f"got {r}; resolve the schedule first, which clamps it."
        )
    return r


def _keep_all(batch: int, num_tokens: int) -> MergePlan:
    kept = jnp.broadcast_to(jnp.arange(num_tokens, dtype=jnp.int32), (batch, num_tokens))
    none = jnp.zeros((batch, 0), jnp.int32)
    return MergePlan(kept, none, none)


def _find_partners(
    even: Float[Array, "B S D"], odd: Float[Array, "B T D"]
) -> tuple[Float[Array, "B S"], Int[Array, "B S"]]:
    """Returns the largest similarity of each even token to an odd one, and that one's index."""
    batch, num_even, dim = even.shape

    def compare(block: Float[Array, "B R D"]) -> tuple[Array, Array]:
        similarity = jnp.einsum("brd,btd->brt", block, odd, precision=jax.lax.Precision.HIGHEST)  # [B, R, T]
        return _find_largest(similarity)

    num_blocks, rows = balance_blocks(num_even, _ROWS_OF_SIMILARITY)
    if num_blocks == 1:
        return compare(even)
    padded = jnp.pad(even, ((0, 0), (0, num_blocks * rows - num_even), (0, 0)))
    blocks = padded.reshape(batch, num_blocks, rows, dim).swapaxes(0, 1)  # [blocks, B, R, D]
    found = jax.lax.map(compare, blocks)
    best, partner = (part.swapaxes(0, 1).reshape(batch, -1)[:, :num_even] for part in found)
    return best, partner


@jax.custom_jvp
def _find_largest(values: Float[Array, "B R T"]) -> tuple[Float[Array, "B R"], Int[Array, "B R"]]:
    """Returns the largest value of each row and its place, the first on ties; NaN counts as the largest.

    One reduction finds both. With `max` beside `argmax`, XLA fuses the product that made the values into each of them:
    a TPU computes it twice, and compiling takes four times as long.
    """
    places = jax.lax.broadcasted_iota(jnp.int32, values.shape, values.ndim - 1)

    def pick_larger(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
        (value, place), (other, other_place) = left, right
        is_larger = (value > other) | jnp.isnan(value)
        is_first = is_larger | ((value == other) & (place < other_place))
        return jnp.where(is_larger, value, other), jnp.where(is_first, place, other_place)

    start = (np.array(-np.inf, values.dtype), np.int32(0))
    largest, place = jax.lax.reduce((values, places), start, pick_larger, (values.ndim - 1,))
    return largest, place


@_find_largest.defjvp
def _differentiate_largest(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Any, Any]:
    largest, place = _find_largest(*primals)
    tangent = jnp.take_along_axis(tangents[0], place[..., None], axis=-1)[..., 0]
    return (largest, place), (tangent, np.zeros(place.shape, jax.dtypes.float0))


def normalise_features(features: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
    """Scales every vector to length 1 in float32; a zero vector stays zero."""
    check_array("features", features)
    features = features.astype(jnp.float32)
    # Dividing by the largest entry first keeps the squares of huge and tiny vectors in range.
    largest = jnp.abs(features).max(-1, keepdims=True, initial=0.0)
    scaled = features / jnp.where(largest > 0, largest, 1.0)
    square = jnp.square(scaled).sum(-1, keepdims=True)
    return scaled / jnp.sqrt(jnp.where(square > 0, square, 1.0))
