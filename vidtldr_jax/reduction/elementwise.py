"""The other way to count: matrix products, and every operation on a single element as half a multiply-accumulate.

XLA's cost analysis counts so, and with it Scenic's log and ViViT's paper. `count_macs` counts as fvcore does, and with
it the tables of vid-TLDR. For UMT-B and ViViT-B the two are 1.5 % and 0.7 % apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vidtldr_jax.reduction.cost import Architecture, count_macs
from vidtldr_jax.reduction.fitting import check_frames, resolve_for_clips
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Method

if TYPE_CHECKING:
    from vidtldr_jax.reduction.schedule import Schedule

# Operations per element; exp, log, tanh, erf and rsqrt are counted apart by XLA, as transcendental, and not here.
_NORM: Final = 7  # mean, square, its mean, difference, scale, product, bias
_SOFTMAX: Final = 4  # maximum, difference, sum, division
# JAX writes the exact GELU with erfc, which XLA knows as two polynomials of many terms.
_GELU: Final = {"tanh": 8, "exact": 66, "quick": 5}
_NUM_BIASES: Final = {"all": 4, "query_value": 3, "none": 1}  # of query, key, value and what follows them


def count_xla_gmacs(config: Architecture, schedule: Schedule, *, num_frames: int | None = None) -> float:
    """Counts a clip's multiply-accumulates as XLA's cost analysis does, in units of 10^9; heads are left out.

    Args:
      config: the model's description.
      schedule: anything `parse_schedule` reads; None is the plain model.
      num_frames: of the clip; None means the config's.

    Returns:
      Matrix products, and half of the operations on single elements. What a method adds is counted from its
      definition (for vid-TLDR the mean of the maps, its entropy, the size bias, the features' lengths and the weighted
      sums), without the sorting. Queries are scaled before the product, as in Scenic; where the map is scaled, as here,
      XLA counts half a multiply-accumulate more for each of its entries (0.1 % for UMT-B).

    Raises:
      ValueError: config describes no model, or the schedule or num_frames does not fit it.

    Reference:
      ViViT, arXiv 2103.15691, table 2: 455.2 for B/16x2 and 284.4 for its factorised encoder.
    """
    frames = check_frames(config, num_frames)
    sequences = config.count_sequences(frames)
    schedule = resolve_for_clips(config, schedule, num_frames=frames)
    cost = count_macs(config, schedule, num_frames=frames)
    products = sum(layer.total - layer.norms for layer in cost.layers) + cost.patches
    method = schedule.method
    merged = [r > 0 and method.grows for r in schedule.r]
    operations = sum(
        sequences
        * _count_block(config, layer.tokens_in, layer.tokens_out, frames, is_sized=any(merged[:number]), method=method)
        for number, layer in enumerate(cost.layers)
    )
    # Patches get a bias and a position.
    operations += sequences * config.dim * (2 * schedule.tokens[0] + _NORM * schedule.tokens[-1] * config.final_norm)
    over_time = config.temporal
    if over_time is not None:
        moments = sequences + config.num_cls_tokens
        norms = over_time.depth * 2 * 5 * moments * over_time.dim + 5 * moments * over_time.dim * over_time.final_norm
        products += cost.temporal - norms
        operations += over_time.depth * _count_block(over_time, moments, moments, frames, is_sized=False)
        operations += moments * over_time.dim * (1 + _NORM * over_time.final_norm)
    return (products + operations / 2) / 1e9


def _count_block(
    config: Architecture, before: int, after: int, frames: int, *, is_sized: bool, method: Method = DEFAULT_METHOD
) -> int:
    """Counts the operations on single elements of one block and one sequence."""
    attentions, pairs = config.count_attention(frames, before)
    width = attentions * before * config.dim
    total = (_NORM + _NUM_BIASES[config.qkv_bias] + 1 + 1) * width  # norm, biases, scaled queries, residual
    total += (_SOFTMAX + is_sized) * pairs * config.num_heads
    total += after * ((_NORM + 2) * config.dim + (1 + _GELU[config.gelu]) * config.mlp_dim)
    if after < before:
        total += _count_evidence(config, method, before, pairs)
        total += 3 * config.dim * (2 * before - after) if method.grows else 0
    return total


def _count_evidence(config: Architecture, method: Method, tokens: int, pairs: int) -> int:
    """Counts what finding a method's evidence adds in one layer of one sequence."""
    total = 0
    if "saliency" in method.needs:
        total += (config.num_heads + 2) * pairs
    if "received" in method.needs:
        total += config.num_heads * (tokens if config.num_protected else pairs)
    if "update" in method.needs:
        total += 2 * config.dim * tokens
    return total
