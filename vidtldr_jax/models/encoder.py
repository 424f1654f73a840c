"""A stack of blocks with a static number of absorbed tokens in each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vidtldr_jax import ops
from vidtldr_jax.models.block import Block, make_layer_norm
from vidtldr_jax.models.config import EncoderConfig
from vidtldr_jax.models.dropout import BlockDrop, DropRates, drop_values, find_block_drop, split_key
from vidtldr_jax.models.remat import Remat, remat_function, remat_module
from vidtldr_jax.models.stacking import get_stack, scan_blocks, take_block
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Evidence, Method

# Follow no token; follow them (True); or follow them and let the method score them in every layer.
Tracing = bool | Literal["every_layer"]


class ReductionStep(NamedTuple):
    """What one block saw.

    Attributes:
      saliency: `[B, N]` float32 in [0, 1], of the tokens that entered the block: vid-TLDR's, or another method's
        score of single tokens, scaled; 1 everywhere where the method has no opinion of single tokens.
      source: `[B, N0]` int32, which of those tokens held each original one (-1: dropped before).
      weight: `[B, N0]` float32, product of the weights on its way there, 0 if it was dropped before; None unless every
        layer is traced.
    """

    saliency: Float[Array, "B N"]
    source: Int[Array, "B N0"]
    weight: Float[Array, "B N0"] | None = None


class Trace(NamedTuple):
    """Where every original token went.

    Attributes:
      source: `[B, N0]` int32, index of the output token that holds it, -1 if it was dropped.
      weight: `[B, N0]` float32, product of the weights on its way.
      steps: one `ReductionStep` per reduction, in order; with `trace="every_layer"` one per layer.
    """

    source: Int[Array, "B N0"]
    weight: Float[Array, "B N0"]
    steps: tuple[ReductionStep, ...]


class Encoder(nn.Module):
    """All blocks, and a LayerNorm after them where the model has one.

    Attributes:
      config: the model's description.
      r: tokens that each block loses; empty means none. An early method takes their sum out before the first block.
      method: how they are chosen.
      form: how attention is computed, see `ops.attend`.
      dtype: computation dtype.
      param_dtype: parameter dtype.
      is_stacked: the parameters of all blocks lie along one axis (`models.stacking`), and all blocks after the last
        reduction run under one scan.
      drop_rates: what is dropped in training.
      remat: compute blocks again in the backward pass: no, yes, or all but what a policy of `jax.checkpoint_policies`
        keeps.
      merging: how absorbed tokens are summed, see `ops.merge_tokens`.
    """

    config: EncoderConfig
    r: tuple[int, ...] = ()
    method: Method = DEFAULT_METHOD
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    is_stacked: bool = False
    drop_rates: DropRates = DropRates()
    remat: Remat = False
    merging: ops.MergeForm = "auto"

    @nn.compact
    def __call__(
        self,
        tokens: Float[Array, "B N D"],
        *,
        trace: Tracing = False,
        novelty: Float[Array, "B N"] | None = None,
        dropout_key: Any = None,
    ) -> tuple[ops.MergeState, Trace | None]:
        """Returns the state after the last block and, if asked, where every token went.

        Args:
          tokens: of each sequence, positions added.
          trace: also follow every token; "every_layer" also records what the method makes of them where r is 0, with
            any method but an early one. Static.
          novelty: of each token, see `measure_novelty`; only early methods look at it.
          dropout_key: what is drawn from in training; None drops nothing.

        Returns:
          The state, and a `Trace` or None.
        """
        depth = self.config.depth
        token_key, block_key = split_key(dropout_key, 2)
        tokens = drop_values(tokens, self.drop_rates.tokens, token_key)
        state = ops.init_merge_state(tokens, trace=bool(trace))
        steps: list[ReductionStep] = []
        counts = self.r or (0,) * depth
        if self.method.is_early and any(counts):
            evidence = Evidence(tokens, novelty=novelty)
            state, steps = self._reduce_early(state, evidence, r=sum(counts), with_weight=trace == "every_layer")
            counts = (0,) * depth
        is_watched = trace == "every_layer" and not self.method.is_early
        # Blocks of a stack run one by one up to the last one that absorbs or is watched.
        last = max((layer for layer, r in enumerate(counts) if r or is_watched), default=-1)
        num_single = last + 1 if self.is_stacked else depth
        run_block = self._run_slice if self.is_stacked else self._run_own
        find_drop = functools.partial(find_block_drop, self.drop_rates, block_key, depth=depth)
        for layer, r in enumerate(counts[:num_single]):
            before, use_size = state, self.method.grows and any(counts[:layer])
            block = functools.partial(self._make_block, r=r, use_size=use_size, is_watched=is_watched)
            state, score = run_block(block, layer, state, find_drop(layer))
            if r or is_watched:
                steps += _make_step(score, before, with_weight=is_watched)
        if self.is_stacked:
            state = self._scan_rest(state, find_drop, first=num_single)
        if self.config.final_norm:
            norm = make_layer_norm(self.config.norm_eps, dtype=self.dtype, param_dtype=self.param_dtype, name="norm")
            state = state._replace(tokens=norm(state.tokens))
        if state.source is None or state.source_weight is None:
            return state, None
        return state, Trace(state.source, state.source_weight, tuple(steps))

    def _reduce_early(
        self, state: ops.MergeState, evidence: Evidence, *, r: int, with_weight: bool
    ) -> tuple[ops.MergeState, list[ReductionStep]]:
        """Take r tokens out before the first block."""
        plan, weight, score = self.method.choose(evidence, r=r, num_protected=self.config.num_protected)
        merged = ops.merge_tokens(state, plan, weight, form=self.merging)
        return merged, _make_step(score, state, with_weight=with_weight)

    def _make_block(self, block_class: type[Block] = Block, **fields: Any) -> Block:
        return block_class(
            self.config,
            method=self.method,
            form=self.form,
            drop_rates=self.drop_rates,
            merging=self.merging,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            **fields,
        )

    def _run_own(
        self, make_block: Callable[..., Block], layer: int, state: ops.MergeState, drop: BlockDrop | None
    ) -> tuple[ops.MergeState, Float[Array, "B N"] | None]:
        """Run a block that has parameters of its own."""
        block_class = remat_module(Block, False if self.is_initializing() else self.remat)
        return make_block(block_class, name=f"block_{layer}")(state, drop)

    def _run_slice(
        self, make_block: Callable[..., Block], layer: int, state: ops.MergeState, drop: BlockDrop | None
    ) -> tuple[ops.MergeState, Float[Array, "B N"] | None]:
        """Run a block whose parameters are a slice of the stack."""
        block = make_block(parent=None)

        # The slice is taken inside, so that the backward pass keeps none.
        def apply_block(stack: Any, state: ops.MergeState, drop: BlockDrop | None) -> Any:
            return block.apply({"params": take_block(stack, layer)}, state, drop)

        return remat_function(apply_block, self.remat)(get_stack(self), state, drop)

    def _scan_rest(
        self, state: ops.MergeState, find_drop: Callable[..., BlockDrop | None], *, first: int
    ) -> ops.MergeState:
        """Run all blocks from a number on, which change no shape, under one scan."""
        block = self._make_block(use_size=self.method.grows and any(self.r), parent=None)

        def run(params: Any, state: ops.MergeState, layer: Array) -> ops.MergeState:
            return block.apply({"params": params}, state, find_drop(layer))[0]

        return scan_blocks(run, get_stack(self), state, first=first, remat=self.remat)


def _make_step(score: Float[Array, "B N"] | None, before: ops.MergeState, *, with_weight: bool) -> list[ReductionStep]:
    """Returns the step of one layer; none where nothing is traced."""
    if before.source is None:
        return []
    saliency = jnp.ones_like(before.size) if score is None else score
    return [ReductionStep(saliency, before.source, before.source_weight if with_weight else None)]


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
        ReductionStep(
            step.saliency.reshape(batch, -1),
            _number_on(step.source, step.saliency.shape[1], batch),
            None if step.weight is None else step.weight.reshape(batch, -1),
        )
        for step in path.steps
    )
    source = _number_on(path.source, state.tokens.shape[1], batch)
    return joined, Trace(source, path.weight.reshape(batch, -1), steps)


def _number_on(source: Int[Array, "S N0"], num_tokens: int, batch: int) -> Int[Array, "B all"]:
    """Numbers the tokens of later sequences on; -1 stays."""
    by_sequence = source.reshape(batch, -1, source.shape[-1])  # [B, t, N0]
    first = num_tokens * jnp.arange(by_sequence.shape[1], dtype=source.dtype)[None, :, None]
    return jnp.where(by_sequence < 0, -1, by_sequence + first).reshape(batch, -1)
