"""Attention map -> saliency: which tokens look sharply (foreground), which look everywhere (background).

Shapes: attention `[B, H, N, N]`, saliency `[B, N]`. Values in [0, 1]. Everything here is float32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float

from vidtldr_jax.ops.checks import check_array, check_axes, check_count

# An attention a is known to within a few roundings of itself, and the derivative of a log a is log a + 1: a row's
# sharpness s is known to within as many roundings of 1 + |s|. Where rows are nearly one-hot, s is near 0 and this is 1.
# Sharpnesses that are closer than this many such roundings are one and the same number.
# What the logits lost to rounding is not in it: above about 30 they are off by more, and rows that are permutations of
# one another, neither sharp nor flat, can differ by more than this in one form of attention and not in another.
_EQUAL_WITHIN_ROUNDINGS = 16


@jax.named_scope("saliency")
def negative_entropy(mean_attention: Float[Array, "... N"]) -> Float[Array, ...]:
    """Sums a log a over the keys; an attention of exactly 0 contributes 0, and its gradient is finite.

    Args:
      mean_attention: rows of the head mean of an attention map; each row sums to 1.

    Returns:
      Sharpness of each row, at most 0 (one-hot) and at least -log N (uniform), float32.

    Raises:
      ValueError: it is no array.
    """
    check_array("mean_attention", mean_attention)
    attention = mean_attention.astype(jnp.float32)
    # xlogy alone has gradient -inf at 0; with 1 as the logarithm's argument there, value and gradient are 0.
    return xlogy(attention, jnp.where(attention > 0, attention, 1.0)).sum(-1)


@jax.named_scope("saliency")
def normalise_sharpness(sharpness: Float[Array, "B N"], *, num_protected: int = 0) -> Float[Array, "B N"]:
    """Turns each example's sharpness into saliency: 0 on background, up to 1 on the sharpest token.

    Args:
      sharpness: negative entropy of each query's mean attention row.
      num_protected: leading tokens (CLS) that take no part in minimum, mean and maximum. Static.

    Returns:
      Saliency in [0, 1], float32; 1 for protected tokens, and 1 everywhere in an example whose tokens are
      all equally sharp to within float32 rounding. Where the sharpest token is above the mean by no more than that,
      every token that is not below the mean by more has 1 too.

    Raises:
      ValueError: sharpness is not `[B, N]`, or every token is protected.

    Reference:
      vid-TLDR, arXiv 2403.13347, section 4.1.

    Deviation:
      The official code divides 0 by 0 where all tokens are equally sharp; here nobody is background then.
    """
    check_axes("sharpness", sharpness, "B N")
    check_protected(sharpness.shape[1], num_protected)
    all_sharpness = sharpness.astype(jnp.float32)
    s = all_sharpness[:, num_protected:]
    # Picked by index: the gradient of max looks for entries equal to it, and a compiler that computes s twice, with
    # other roundings, may find none.
    sharpest = s.argmax(-1, keepdims=True)  # [B, 1]
    low = jnp.take_along_axis(s, s.argmin(-1, keepdims=True), axis=-1)  # [B, 1]
    high = jnp.take_along_axis(s, sharpest, axis=-1)  # [B, 1]
    spread = high - low
    largest = jnp.maximum(jnp.abs(low), jnp.abs(high))
    rounding = _EQUAL_WITHIN_ROUNDINGS * jnp.finfo(jnp.float32).eps * (1.0 + largest)
    scale = jnp.where(spread <= rounding, 1.0, spread)  # [B, 1]
    s = (s - low) / scale
    # As a product, whose operands are computed once: a sum that a compiler fuses is rounded by what else reads s.
    shares = jnp.full((s.shape[-1], 1), 1 / s.shape[-1], jnp.float32)
    mean = jnp.matmul(s, shares, precision=jax.lax.Precision.HIGHEST)  # [B, 1]
    above = s - mean  # [B, N]
    peak = jnp.take_along_axis(above, sharpest, axis=-1)  # [B, 1]
    # Few unsharp tokens among many that are all equally sharp: which of these is above the mean is chance.
    is_level = peak * scale <= rounding  # [B, 1]; so it is where the spread is that small
    is_background = above * scale < jnp.where(is_level, -rounding, 0.0)
    weight = jnp.where(is_level, 1.0, above / jnp.where(is_level, 1.0, peak))
    weight = jnp.where(is_background, 0.0, weight)
    # A compiler that computes the peak twice, with other roundings, would give the sharpest token not quite 1.
    weight = jnp.where(jnp.arange(s.shape[-1])[None] == sharpest, 1.0, jnp.minimum(weight, 1.0))
    return jnp.concatenate([jnp.ones_like(all_sharpness[:, :num_protected]), weight], axis=-1)  # [B, N]


@jax.named_scope("saliency")
def attention_saliency(attention: Float[Array, "B H N N"], *, num_protected: int = 0) -> Float[Array, "B N"]:
    """Tells foreground from background by how sharp each token's attention is.

    Args:
      attention: softmax(q k^T / sqrt(K)) *without* the size bias; rows sum to 1.
      num_protected: leading tokens (CLS) that are left out of minimum, mean and maximum. Static.

    Returns:
      Saliency in [0, 1], float32: 0 is background, 1 the sharpest token of the example.

    Raises:
      ValueError: attention is not `[B, H, N, N]`, or every token is protected.

    Reference:
      vid-TLDR, arXiv 2403.13347, section 4.1.
    """
    check_array("attention", attention)
    if attention.ndim != 4 or attention.shape[-1] != attention.shape[-2]:
        raise ValueError(
            f"the attention map is [B, H, N, N]; got shape {attention.shape}; "
            "pass the softmax of all heads, before it is applied to the values."
        )
    check_protected(attention.shape[-1], num_protected)
    mean_attention = attention.astype(jnp.float32).mean(1)  # [B, N, N]
    return normalise_sharpness(negative_entropy(mean_attention), num_protected=num_protected)


def check_protected(num_tokens: int, num_protected: int) -> None:
    """Refuses a number of protected tokens that leaves none to work on.

    Args:
      num_tokens: tokens of the input.
      num_protected: leading tokens to protect.

    Raises:
      ValueError: num_protected is negative or not below num_tokens.
    """
    check_count("num_protected", num_protected)
    if not 0 <= num_protected < num_tokens:
        raise ValueError(
            f"num_protected is from 0 to {num_tokens - 1} for {num_tokens} tokens; "
            f"got {num_protected}; count only CLS-like tokens at the front."
        )
