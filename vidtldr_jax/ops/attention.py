"""Attention with a size bias on the keys, which can also return the saliency of the plain map.

Shapes: queries, keys, values `[B, N, H, K]` (as `jax.nn.dot_product_attention` has them), size `[B, N]`,
update `[B, N, H, K]`, saliency `[B, N]`. Softmax and entropy are float32 whatever the inputs are.

Two maps are needed: the plain one, softmax(q k^T / sqrt(K)), for the saliency, and the one biased by log(size),
for the values. Here stands the definition ("dense"); the forms that never hold a whole map are in
`ops.attention_forms`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax.ops.attention_blocks import attend_all_heads, attend_by_head
from vidtldr_jax.ops.attention_forms import FORM_NAMES, AttentionForm, choose_form, get_form
from vidtldr_jax.ops.checks import check_array, check_count, check_static, describe
from vidtldr_jax.ops.saliency import attention_saliency, check_protected, normalise_sharpness


class Attended(NamedTuple):
    """What attention returns.

    Attributes:
      update: `[B, N, H, K]`, the dtype of the values.
      saliency: `[B, N]` float32 in [0, 1], or None if it was not asked for.
    """

    update: Float[Array, "B N H K"]
    saliency: Float[Array, "B N"] | None


class AttendedReceived(NamedTuple):
    """What attention returns with the attention that each token received.

    Attributes:
      update: `[B, N, H, K]`, the dtype of the values.
      received: `[B, N]` float32, at least 0; an example's sum to 1.
    """

    update: Float[Array, "B N H K"]
    received: Float[Array, "B N"]


@jax.named_scope("attention")
def attend(
    query: Float[Array, "B N H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None = None,
    *,
    with_saliency: bool = False,
    num_protected: int = 0,
    form: AttentionForm = "auto",
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
      form: "by_head" holds a block of query rows of one head's map at a time, and of their mean where the saliency is
        asked for; "blocked" holds a block of rows of all heads; "kernel" holds tiles in on-chip memory (Pallas);
        "fused" is `jax.nn.dot_product_attention`, beside blocks of rows where the saliency is asked for; "dense" holds
        all of `[B, H, N, N]` and is the reference. "auto" is "by_head" where JAX's default backend is a CPU, but for
        many short sequences; "fused" or "kernel" for more than 128 tokens on a GPU that can run them; else "blocked".
        All are equal to within rounding. Static.
      block_size: query rows in a block, which are balanced over the blocks, or a tile's side; None chooses. Static.

    Returns:
      An `Attended`.

    Raises:
      ValueError: shapes differ, form is unknown, or block_size is not positive.

    Reference:
      vid-TLDR, section 4.1; the size bias is ToMe's proportional attention, arXiv 2210.09461, equation 1.
    """
    _check_inputs(query, key, value, size, form, block_size)
    check_static("with_saliency", with_saliency)
    if with_saliency:
        check_protected(query.shape[1], num_protected)
    if form == "dense":
        return _attend_dense(query, key, value, size, with_saliency, num_protected)
    num_sequences, num_tokens, _, channels = query.shape
    shape = {"num_tokens": num_tokens, "channels": channels, "num_sequences": num_sequences}
    run = get_form(choose_form(form, **shape, dtype=query.dtype, with_saliency=with_saliency))
    update, sharpness = run(query, key, value, size, with_sharpness=with_saliency, block_size=block_size)
    return Attended(update, None if sharpness is None else normalise_sharpness(sharpness, num_protected=num_protected))


@jax.named_scope("attention")
def attend_received(
    query: Float[Array, "B N H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None = None,
    *,
    num_protected: int = 0,
    form: AttentionForm = "auto",
    block_size: int | None = None,
) -> AttendedReceived:
    """Attends as `attend` does, and says how much attention each token receives.

    Args:
      query: not yet scaled.
      key: the same shape.
      value: the same shape.
      size: of each key; None means 1 everywhere.
      num_protected: leading tokens (CLS); where there are any, the attention that *they* pay is what counts, else that
        of all tokens. Static.
      form: as in `attend`. Of a few queries it is found beside any form; of all, blocks of rows add it up ("by_head" or
        "blocked" run then, also for "kernel" and "fused"). Static.
      block_size: as in `attend`. Static.

    Returns:
      An `AttendedReceived`: the mean over heads and queries of the map *without* the size bias.

    Raises:
      ValueError: as `attend`, or every token is protected.

    Reference:
      EViT, arXiv 2202.07800, equation 1, for a class token.
    """
    _check_inputs(query, key, value, size, form, block_size)
    check_protected(query.shape[1], num_protected)
    if num_protected or form == "dense":
        asking = query[:, :num_protected] if num_protected else query
        received = jax.nn.softmax(_logits(asking, key)).mean((1, 2))  # [B, N]
        return AttendedReceived(attend(query, key, value, size, form=form, block_size=block_size).update, received)
    sizes = {"num_tokens": query.shape[1], "channels": query.shape[3], "num_sequences": query.shape[0]}
    run = attend_by_head if choose_form(form, **sizes) == "by_head" else attend_all_heads  # type: ignore[arg-type]
    update, of_all = run(query, key, value, size, with_sharpness=False, with_received=True, block_size=block_size)
    assert of_all is not None
    return AttendedReceived(update, of_all)


def _check_inputs(
    query: Float[Array, ...],
    key: Float[Array, ...],
    value: Float[Array, ...],
    size: Float[Array, ...] | None,
    form: str,
    block_size: int | None,
) -> None:
    for name, array in (("query", query), ("key", key), ("value", value)):
        check_array(name, array)
    if not query.shape == key.shape == value.shape or query.ndim != 4:
        raise ValueError(
            f"query, key and value have one shape [B, N, H, K]; "
            f"got {query.shape}, {key.shape}, {value.shape}; split the heads first."
        )
    if size is not None:
        check_array("size", size)
        if size.shape != query.shape[:2]:
            raise ValueError(f"size is [B, N] = {query.shape[:2]}; got {size.shape}; pass one size for each key.")
    if block_size is not None:
        check_count("block_size", block_size, least=1)
    if not isinstance(form, str) or form not in FORM_NAMES:
        raise ValueError(f"form is one of {', '.join(FORM_NAMES)}; got {describe(form)}; leave it out for the default.")


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


def _logits(query: Float[Array, "B Q H K"], key: Float[Array, "B N H K"]) -> Float[Array, "B H Q N"]:
    logits = jnp.einsum("bqhc,bkhc->bhqk", query, key, preferred_element_type=jnp.float32)
    return logits * query.shape[-1] ** -0.5
