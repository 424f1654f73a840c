"""Dropout and stochastic depth in training. Without a key nothing is drawn, and a program is the one of inference.

    module = VideoViT(config, drop_rates=DropRates(path=0.1, head=0.5))
    out = module.apply(variables, video, deterministic=False, rngs={"dropout": key})

Keys are arguments inside of a model, so that blocks one by one, stacked or computed again draw the same numbers.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_STREAM = "dropout"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropRates:
    """What is dropped in training: probabilities from 0 to below 1.

    They belong to training, not to an architecture: a checkpoint does not hold them.

    Attributes:
      tokens: values of the tokens that enter an encoder, positions added.
      attention: attention weights; above 0, whole maps are held in training.
      update: values that an attention or an MLP adds to the residual stream.
      hidden: values between the layers of an MLP.
      path: what an attention or an MLP adds to a sequence, all of it (stochastic depth). This is the rate of the last
        block; it grows linearly from 0 in the first.
      head: values that the classifier reads.
      rescale_path: divide an addition that is kept by the probability of keeping it, as VideoMAE does; Scenic's ViViT
        does not.
    """

    tokens: float = 0.0
    attention: float = 0.0
    update: float = 0.0
    hidden: float = 0.0
    path: float = 0.0
    head: float = 0.0
    rescale_path: bool = True

    def __post_init__(self) -> None:
        faults = [f"{name} = {rate!r}" for name, rate in self._get_rates().items() if not _is_rate(rate)]
        if faults:
            raise ValueError(f"drop rates are numbers from 0 to below 1; got {', '.join(faults)}; change them.")

    @property
    def is_zero(self) -> bool:
        """Whether nothing is ever dropped."""
        return not any(self._get_rates().values())

    def _get_rates(self) -> dict[str, float]:
        return {name: rate for name, rate in dataclasses.asdict(self).items() if name != "rescale_path"}


class BlockDrop(NamedTuple):
    """What a block draws from.

    Attributes:
      key: its own.
      path_rate: its rate of stochastic depth, float32.
    """

    key: Any
    path_rate: Float[Array, ""]


def find_key(module: nn.Module, rates: DropRates, *, deterministic: bool) -> Any:
    """Return the key that a call of a model draws from; None where it drops nothing.

    Args:
      module: the model, bound.
      rates: what it drops.
      deterministic: drop nothing. Static.

    Returns:
      A key of the stream "dropout", or None.

    Raises:
      ValueError: there is no such stream, or the rates are something else.
    """
    if not isinstance(rates, DropRates):
        raise ValueError(
            f"drop_rates is a DropRates; got {type(rates).__name__}; write DropRates(path=0.1), for example."
        )
    if deterministic or rates.is_zero:
        return None
    if not module.has_rng(_STREAM) and not module.is_initializing():
        raise ValueError(
            f"a model with drop rates above 0 draws from a key when deterministic is False; got no {_STREAM!r} among "
            f'rngs; pass rngs={{"{_STREAM}": key}}.'
        )
    return module.make_rng(_STREAM)


def split_key(key: Any, num: int) -> Any:
    """Return several keys made of one, or as many times None."""
    return (None,) * num if key is None else jax.random.split(key, num)


def find_block_drop(rates: DropRates, key: Any, layer: int | Array, *, depth: int) -> BlockDrop | None:
    """Return what a block draws from; None where there is no key.

    Args:
      rates: what is dropped.
      key: of the encoder, or None.
      layer: number of the block.
      depth: number of blocks. Static.

    Returns:
      The block's key and rate of stochastic depth, or None.
    """
    if key is None:
        return None
    path_rates = rates.path * np.arange(depth) / max(depth - 1, 1)
    return BlockDrop(jax.random.fold_in(key, layer), jnp.asarray(path_rates, jnp.float32)[layer])


def fold_key(drop: BlockDrop | None, place: int) -> Any:
    """Return the key of one place in a block, or None."""
    return None if drop is None else jax.random.fold_in(drop.key, place)


def drop_values(values: Float[Array, "*any"], rate: float, key: Any) -> Float[Array, "*any"]:
    """Set values to 0 at random and divide the others by the probability of keeping them.

    Args:
      values: of any shape.
      rate: probability of each to be dropped. Static.
      key: what is drawn from; None drops nothing.

    Returns:
      The values, in their dtype.
    """
    if key is None or not rate:
        return values
    with jax.named_scope("dropout"):
        is_kept = jax.random.bernoulli(key, 1.0 - rate, values.shape)
        return jnp.where(is_kept, values / (1.0 - rate), 0).astype(values.dtype)


def drop_update(
    update: Float[Array, "B ... D"], rates: DropRates, drop: BlockDrop | None, place: int
) -> Float[Array, "B ... D"]:
    """Drop values of what is added to the residual stream, and all of it in some examples.

    Args:
      update: what an attention or an MLP adds.
      rates: what is dropped.
      drop: what the block draws from; None drops nothing.
      place: number of the update in its block, another one for each place that draws. Static.

    Returns:
      The update, in its dtype.

    Reference:
      Stochastic depth, arXiv 1603.09382.
    """
    if drop is None:
        return update
    value_key, path_key = jax.random.split(jax.random.fold_in(drop.key, place))
    update = drop_values(update, rates.update, value_key)
    if not rates.path:
        return update
    with jax.named_scope("drop_path"):
        keep_rate = 1.0 - drop.path_rate
        is_kept = jax.random.bernoulli(path_key, keep_rate, (update.shape[0],) + (1,) * (update.ndim - 1))
        kept = update / keep_rate if rates.rescale_path else update
        return jnp.where(is_kept, kept, 0).astype(update.dtype)


@jax.named_scope("attention")
def attend_with_dropout(
    query: Float[Array, "B N H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None,
    *,
    rate: float,
    dropout_key: Any,
) -> Float[Array, "B N H K"]:
    """Attend with log(size) on the keys and drop attention weights; whole maps are held.

    Args:
      query: not yet scaled.
      key: the same shape.
      value: the same shape.
      size: how many original tokens each key stands for; None means 1 everywhere.
      rate: probability of each weight to be dropped. Static.
      dropout_key: what is drawn from.

    Returns:
      The update, in the dtype of the values.
    """
    logits = jnp.einsum("bqhc,bkhc->bhqk", query, key, preferred_element_type=jnp.float32)
    logits = logits * query.shape[-1] ** -0.5  # [B, H, N, N]
    if size is not None:
        logits = logits + jnp.log(size.astype(jnp.float32))[:, None, None, :]
    attention = drop_values(jax.nn.softmax(logits), rate, dropout_key).astype(value.dtype)
    update = jnp.einsum("bhqk,bkhc->bqhc", attention, value, preferred_element_type=jnp.float32)
    return update.astype(value.dtype)


def _is_rate(rate: Any) -> bool:
    return isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate < 1
