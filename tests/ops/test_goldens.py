"""The operators against numbers of the original code."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import oracle
from tests.reference.files import load_golden
from vidtldr_jax import ops
from vidtldr_jax.reduction import reduce_tokens, resolve_r

NAMES = ("even", "odd", "ratio", "clamped", "sized", "sized_odd")
# The originals' own float32 rounding is up to 2e-6.
TOLERANCE = 1e-5


find_matrix = jax.jit(ops.source_matrix, static_argnames="num_tokens")


def load(name):
    golden = load_golden(f"ops_{name}.npz")
    golden["r"] = golden["r"].item()
    query, key = (jnp.asarray(golden[n]).swapaxes(1, 2) for n in ("query", "key"))  # [B, N, H, K]
    state = ops.init_merge_state(jnp.asarray(golden["x"]), trace=True)._replace(size=jnp.asarray(golden["size_in"]))
    return golden, query, key, state


def assert_equals_golden(state, golden):
    # An output token is known by which originals it holds; the pattern is exact, order included.
    matrix = find_matrix(state.source, state.source_weight, num_tokens=state.tokens.shape[1])
    np.testing.assert_array_equal(np.asarray(matrix) != 0, golden["source"] != 0)
    np.testing.assert_allclose(matrix, golden["source"], atol=TOLERANCE)
    np.testing.assert_allclose(state.tokens, golden["x_out"], atol=TOLERANCE)
    np.testing.assert_allclose(state.size, golden["size_out"], atol=TOLERANCE)


@partial(jax.jit, static_argnames=("r", "form"))
def attend_and_merge(query, key, state, r, form):
    saliency = ops.attend(query, key, query, state.size, with_saliency=True, form=form, block_size=16).saliency
    return saliency, ops.merge_tokens(state, ops.match_tokens(state.tokens, r=r), saliency)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["by_head", "blocked", "dense"])
def test_saliency_matching_and_merging_equal_the_original(name, form):
    golden, query, key, state = load(name)
    count, _ = resolve_r(golden["r"], state.tokens.shape[1])
    saliency, merged = attend_and_merge(query, key, state, count, form)
    np.testing.assert_allclose(saliency, golden["saliency"], atol=TOLERANCE)
    assert_equals_golden(merged, golden)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["segment_sum", "sorted", "one_hot"])
def test_the_one_call_form_equals_the_original(name, form):
    golden, query, key, state = load(name)
    saliency = jax.jit(ops.attention_saliency)(jnp.asarray(oracle.attention_map(query, key), jnp.float32))
    reduce = jax.jit(partial(reduce_tokens, r=golden["r"], form=form))
    assert_equals_golden(reduce(state, state.tokens, saliency), golden)


@pytest.mark.parametrize("name", NAMES)
def test_the_kept_positions_are_the_original_s(name):
    golden, _, _, state = load(name)
    plan = jax.jit(partial(ops.match_tokens, r=resolve_r(golden["r"], state.tokens.shape[1])[0]))(state.tokens)
    for b in range(len(plan.kept)):
        # Only kept tokens hold themselves whole.
        np.testing.assert_array_equal(golden["source"][b, np.arange(plan.kept.shape[1]), plan.kept[b]], 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_the_oracle_equals_the_original_too(name):
    golden, query, key, state = load(name)
    weight = oracle.saliency(oracle.attention_map(query, key))
    np.testing.assert_allclose(weight, golden["saliency"], atol=TOLERANCE)
    plans = oracle.match(golden["x"], state.tokens.shape[1] - golden["x_out"].shape[1])
    tokens, size = oracle.merge(golden["x"], golden["size_in"], plans, weight)
    np.testing.assert_allclose(tokens, golden["x_out"], atol=TOLERANCE)
    np.testing.assert_allclose(size, golden["size_out"], atol=TOLERANCE)
    np.testing.assert_allclose(oracle.trace(plans, weight), golden["source"], atol=TOLERANCE)


def test_a_missing_golden_fails():
    with pytest.raises(pytest.fail.Exception, match=r"golden ops_lost\.npz is missing"):
        load_golden("ops_lost.npz")
