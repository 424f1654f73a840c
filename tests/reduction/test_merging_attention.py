"""Merging inside encoders of Flax's own modules, with the parameters that they have."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import vidtldr_jax as vt
from vidtldr_jax import ops
from vidtldr_jax.reduction import METHODS, MergingAttention

DIM, HEADS, TOKENS = 16, 4, 24
IN_BLOCKS = [name for name, method in METHODS.items() if not method.is_early]
ROUNDING = 2e-6


class PlainBlock(nn.Module):
    """A block as many encoders have it."""

    rate: float = 0.0

    @nn.compact
    def __call__(self, x, deterministic=True):
        y = nn.LayerNorm(name="norm1")(x)
        attend = nn.MultiHeadDotProductAttention(
            HEADS, dropout_rate=self.rate, broadcast_dropout=False, deterministic=deterministic, name="attn"
        )
        x = x + attend(y)
        y = nn.LayerNorm(name="norm2")(x)
        return x + nn.Dense(DIM, name="fc2")(nn.gelu(nn.Dense(2 * DIM, name="fc1")(y)))


class MergingBlock(nn.Module):
    """The same with merging."""

    rate: float = 0.0
    r: int = 0
    method: Any = "vidtldr"
    num_protected: int = 0

    @nn.compact
    def __call__(self, state, deterministic=True):
        attention = MergingAttention(state, r=self.r, method=self.method, num_protected=self.num_protected)
        y = nn.LayerNorm(name="norm1")(state.tokens)
        attend = nn.MultiHeadDotProductAttention(
            HEADS, dropout_rate=self.rate, broadcast_dropout=False, deterministic=deterministic, name="attn",
            attention_fn=attention,
        )  # fmt: skip
        state = attention.reduce(attend(y))
        y = nn.LayerNorm(name="norm2")(state.tokens)
        mlp = nn.Dense(DIM, name="fc2")(nn.gelu(nn.Dense(2 * DIM, name="fc1")(y)))
        return state._replace(tokens=state.tokens + mlp)


@functools.cache
def make():
    tokens = jax.random.normal(jax.random.key(0), (2, TOKENS, DIM))
    variables = PlainBlock().init(jax.random.key(1), tokens)
    keys = iter(jax.random.split(jax.random.key(2), 20))
    scale = {"params": jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(next(keys), leaf.shape), variables)}
    return tokens, scale["params"]


def merge_by_hand(tokens, variables, size, *, r, num_protected=0):
    """Returns the state after the attention, with the operators alone."""
    params = variables["params"]
    normed = nn.LayerNorm().apply({"params": params["norm1"]}, tokens)
    qkv = [
        jnp.einsum("bnd,dhk->bnhk", normed, params["attn"][name]["kernel"]) + params["attn"][name]["bias"][None, None]
        for name in ("query", "key", "value")
    ]
    update, saliency = ops.attend(*qkv, size, with_saliency=True, form="dense", num_protected=num_protected)
    update = (
        jnp.einsum("bnhk,hkd->bnd", update, params["attn"]["out"]["kernel"]) + params["attn"]["out"]["bias"][None, None]
    )
    state = ops.MergeState(tokens + update, size)
    return vt.reduce_tokens(state, state.tokens, saliency, r=r, num_protected=num_protected)


def test_without_merging_it_is_the_plain_block_with_the_same_parameters():
    tokens, variables = make()
    found = jax.jit(MergingBlock().apply)(variables, ops.init_merge_state(tokens))
    np.testing.assert_allclose(found.tokens, PlainBlock().apply(variables, tokens), atol=ROUNDING)
    made = MergingBlock(r=4).init(jax.random.key(1), ops.init_merge_state(tokens))
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, variables)


@pytest.mark.parametrize("num_protected", [0, 1])
def test_merging_is_that_of_the_operators_in_two_blocks(num_protected):
    tokens, variables = make()
    block = MergingBlock(r=6, num_protected=num_protected)

    @jax.jit
    def run(variables, tokens):
        first = block.apply(variables, ops.init_merge_state(tokens, trace=True))
        return first, block.apply(variables, first)

    first, second = run(variables, tokens)
    assert (first.tokens.shape[1], second.tokens.shape[1]) == (TOKENS - 6, TOKENS - 12)
    assert second.source.shape == (2, TOKENS)
    for state, tokens_in, size in ((first, tokens, jnp.ones((2, TOKENS))), (second, first.tokens, first.size)):
        expected = merge_by_hand(tokens_in, variables, size, r=6, num_protected=num_protected)
        params = variables["params"]
        y = nn.LayerNorm().apply({"params": params["norm2"]}, expected.tokens)
        hidden = nn.gelu(nn.Dense(2 * DIM).apply({"params": params["fc1"]}, y))
        y = expected.tokens + nn.Dense(DIM).apply({"params": params["fc2"]}, hidden)
        np.testing.assert_allclose(state.size, expected.size, atol=1e-5)
        np.testing.assert_allclose(state.tokens, y, atol=1e-5)


def test_dropout_of_attention_weights_is_kept():
    tokens, variables = make()
    rngs = {"dropout": jax.random.key(5)}
    plain = PlainBlock(rate=0.3).apply(variables, tokens, deterministic=False, rngs=rngs)
    found = MergingBlock(rate=0.3).apply(variables, ops.init_merge_state(tokens), deterministic=False, rngs=rngs)
    np.testing.assert_allclose(found.tokens, plain, atol=ROUNDING)
    assert not np.allclose(plain, PlainBlock().apply(variables, tokens))
    still = MergingBlock(rate=0.3).apply(variables, ops.init_merge_state(tokens), deterministic=True)
    np.testing.assert_allclose(still.tokens, PlainBlock().apply(variables, tokens), atol=ROUNDING)
    merged = MergingBlock(rate=0.3, r=6).apply(variables, ops.init_merge_state(tokens), deterministic=False, rngs=rngs)
    assert merged.tokens.shape == (2, TOKENS - 6, DIM)
    # Who looks sharply is told by the whole map, whatever is dropped of it.
    sizes = merge_by_hand(tokens, variables, jnp.ones((2, TOKENS)), r=6).size
    assert float(merged.size.sum()) != float(TOKENS)
    assert merged.size.shape == sizes.shape


@pytest.mark.parametrize("method", IN_BLOCKS)
def test_every_method_reduces_and_has_gradients(method):
    tokens, variables = make()
    block = MergingBlock(r=6, method=method)

    @jax.jit
    @jax.grad
    def differentiate(variables):
        return jnp.square(block.apply(variables, ops.init_merge_state(tokens)).tokens).sum()

    gradient = differentiate(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert block.apply(variables, ops.init_merge_state(tokens)).tokens.shape[1] == TOKENS - 6


def test_a_method_of_ones_own_is_taken():
    mine = METHODS["tome"]
    tokens, variables = make()
    named, own = (
        MergingBlock(r=6, method=method).apply(variables, ops.init_merge_state(tokens)) for method in ("tome", mine)
    )
    np.testing.assert_array_equal(named.tokens, own.tokens)


def test_an_nnx_block_merges_with_the_same_parameters():
    tokens, _ = make()
    attend = nnx.MultiHeadAttention(HEADS, DIM, dropout_rate=0.0, decode=False, rngs=nnx.Rngs(0))

    @nnx.jit
    def run(attend, tokens):
        attention = MergingAttention(ops.init_merge_state(tokens), r=6)
        attend.attention_fn = attention
        state = attention.reduce(attend(tokens))
        attend.attention_fn = nnx.dot_product_attention
        return state

    plain = tokens + attend(tokens)
    assert run(attend, tokens).tokens.shape == (2, TOKENS - 6, DIM)
    attention = MergingAttention(ops.init_merge_state(tokens), r=0)
    attend.attention_fn = attention
    np.testing.assert_allclose(attention.reduce(attend(tokens)).tokens, plain, atol=ROUNDING)


@pytest.mark.parametrize("precision", ["highest", jax.lax.Precision.HIGHEST])
def test_a_precision_reaches_the_products(precision):
    tokens, _ = make()
    heads = tokens.reshape(2, TOKENS, HEADS, -1)

    def attend(heads):
        return MergingAttention(ops.init_merge_state(tokens), r=0)(heads, heads, heads, precision=precision)

    assert "HIGHEST" in jax.jit(attend).lower(heads).as_text()


def test_what_has_no_meaning_over_merged_tokens_is_refused():
    tokens, _ = make()
    state = ops.init_merge_state(tokens)
    heads = tokens.reshape(2, TOKENS, HEADS, -1)
    for options in ({"mask": jnp.ones((2, 1, TOKENS, TOKENS))}, {"bias": jnp.ones(1)}, {"is_causal": True}):
        with pytest.raises(ValueError, match=f"attention over merged tokens takes no {next(iter(options))}; got one"):
            MergingAttention(state, r=4)(heads, heads, heads, **options)
    with pytest.raises(ValueError, match="looks at its attention; got rlt, which acts before the first block"):
        MergingAttention(state, r=4, method="rlt")
    with pytest.raises(ValueError, match="reduce follows the attention of the block; it was not called"):
        MergingAttention(state, r=4).reduce(tokens)
    with pytest.raises(ValueError, match=r"methods are .*did you mean 'vidtldr'"):
        MergingAttention(state, r=4, method="vidtlrd")


def test_sizes_count_under_dropout_too():
    tokens, variables = make()
    size = jnp.asarray(np.random.default_rng(0).integers(1, 9, (2, TOKENS)), jnp.float32)
    state = ops.MergeState(tokens, size)
    rngs = {"dropout": jax.random.key(5)}
    nearly_none = MergingBlock(rate=1e-9).apply(variables, state, deterministic=False, rngs=rngs)
    np.testing.assert_allclose(nearly_none.tokens, MergingBlock().apply(variables, state).tokens, atol=1e-5)
    plain = MergingBlock().apply(variables, ops.init_merge_state(tokens))
    assert not np.allclose(nearly_none.tokens, plain.tokens, atol=1e-2)
