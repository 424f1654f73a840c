"""A stack of blocks with a static number of absorbed tokens in each."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vidtldr_jax import ops
from vidtldr_jax.models.block import Block, make_layer_norm
from vidtldr_jax.models.config import EncoderConfig
from vidtldr_jax.models.stacking import get_stack, scan_blocks, take_block


class ReductionStep(NamedTuple):
    """What one reducing block saw.

    Attributes:
      saliency: `[B, N]` float32, of the tokens that came into the block.
      source: `[B, N0]` int32, which of those tokens held each original one (-1: dropped before).
    """

    saliency: Float[Array, "B N"]
    source: Int[Array, "B N0"]


class Trace(NamedTuple):
    """Where every original token went.

    Attributes:
      source: `[B, N0]` int32, index of the output token that holds it, -1 if it was dropped.
      weight: `[B, N0]` float32, product of the weights on its way.
      steps: one `ReductionStep` per block that reduces, in order.
    """

    source: Int[Array, "B N0"]
    weight: Float[Array, "B N0"]
    steps: tuple[ReductionStep, ...]


class Encoder(nn.Module):
    """All blocks, and a LayerNorm after them where the model has one.

    Attributes:
      config: the model's description.
      r: tokens that each block absorbs; empty means none.
      form: how attention is computed, see `ops.attend`.
      dtype: computation dtype.
      param_dtype: parameter dtype.
      is_stacked: the parameters of all blocks lie along one axis (`models.stacking`), and all blocks after the last
        reduction run under one scan.
    """

    config: EncoderConfig
    r: tuple[int, ...] = ()
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    is_stacked: bool = False

    @nn.compact
    def __call__(self, tokens: Float[Array, "B N D"], *, trace: bool = False) -> tuple[ops.MergeState, Trace | None]:
        """Returns the state after the last block and, if asked, where every token went."""
        counts = self.r or (0,) * self.config.depth
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        state = ops.init_merge_state(tokens, trace=trace)
        steps = []
        stacked = get_stack(self) if self.is_stacked else None
        num_reducing = max((layer + 1 for layer, r in enumerate(counts) if r), default=0)
        for layer, r in enumerate(counts[:num_reducing] if self.is_stacked else counts):
            use_size = any(counts[:layer])
            source = state.source
            if stacked is None:
                state, saliency = Block(self.config, r, use_size, self.form, name=f"block_{layer}", **dtypes)(state)
            else:
                block = Block(self.config, r, use_size, self.form, parent=None, **dtypes)
                state, saliency = block.apply({"params": take_block(stacked, layer)}, state)
            if source is not None and saliency is not None:
                steps.append(ReductionStep(saliency, source))
        if stacked is not None:
            plain = Block(self.config, 0, num_reducing > 0, self.form, parent=None, **dtypes)
            state = scan_blocks(lambda p, s: plain.apply({"params": p}, s)[0], stacked, state, first=num_reducing)
        if self.config.final_norm:
            norm = make_layer_norm(self.config.norm_eps, name="norm", **dtypes)
            state = state._replace(tokens=norm(state.tokens))
        if state.source is None or state.source_weight is None:
            return state, None
        return state, Trace(state.source, state.source_weight, tuple(steps))


def join_sequences(state: ops.MergeState, path: Trace | None, batch: int) -> tuple[ops.MergeState, Trace | None]:
    """Puts the sequences of a clip (its frames) one after the other: [B t, M, ...] -> [B, t M, ...].

    Args:
      state: after the last block.
      path: where every token went, or None.
      batch: how many clips there are.

    Returns:
      State and path of whole clips; tokens are numbered through.
    """
    tokens = state.tokens.reshape(batch, -1, state.tokens.shape[-1])
    joined = ops.MergeState(tokens, state.size.reshape(batch, -1), None, None)
    if path is None:
        return joined, None
    steps = tuple(
        ReductionStep(step.saliency.reshape(batch, -1), _number_on(step.source, step.saliency.shape[1], batch))
        for step in path.steps
    )
    source = _number_on(path.source, state.tokens.shape[1], batch)
    return joined, Trace(source, path.weight.reshape(batch, -1), steps)


def _number_on(source: Int[Array, "S N0"], num_tokens: int, batch: int) -> Int[Array, "B all"]:
    """Numbers the tokens of later sequences on; -1 stays."""
    by_sequence = source.reshape(batch, -1, source.shape[-1])  # [B, t, N0]
    first = num_tokens * jnp.arange(by_sequence.shape[1], dtype=source.dtype)[:, None]
    return jnp.where(by_sequence < 0, -1, by_sequence + first).reshape(batch, -1)
