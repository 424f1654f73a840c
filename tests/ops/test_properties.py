"""What holds for any input."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.reference.inputs import make_size, make_tokens, make_weight
from vidtldr_jax import ops
from vidtldr_jax.reduction import reduce_tokens

# Few shapes, so that few programs are compiled; the numbers come from the seed.
SHAPES = st.sampled_from([(12, 6, 0), (13, 4, 0), (11, 5, 1), (2, 1, 0)])
SEEDS = st.integers(0, 2**31)
BATCH = 3

reduce = jax.jit(reduce_tokens, static_argnames=("r", "num_protected", "form"))
match = jax.jit(ops.match_tokens, static_argnames=("r", "num_protected"))


def make_case(shape, seed, unit_size=False):
    num_tokens, r, num_protected = shape
    state = ops.init_merge_state(jnp.asarray(make_tokens((BATCH, num_tokens, 4), seed)), trace=True)
    if not unit_size:
        state = state._replace(size=jnp.asarray(make_size((BATCH, num_tokens), seed + 1)))
    return state, jnp.asarray(make_weight((BATCH, num_tokens), seed + 2)), {"r": r, "num_protected": num_protected}


@given(SHAPES, SEEDS)
def test_r_of_0_changes_nothing_to_the_bit(shape, seed):
    state, weight, options = make_case(shape, seed)
    options["r"] = 0
    assert reduce_tokens(state, state.tokens, weight, **options) is state
    merged = ops.merge_tokens(state, match(state.tokens, **options), weight)
    for before, after in zip(state, merged, strict=True):
        np.testing.assert_array_equal(before, after)


@given(SHAPES, SEEDS)
def test_a_batch_equals_its_examples_one_by_one(shape, seed):
    state, weight, options = make_case(shape, seed)
    together = reduce(state, state.tokens, weight, **options)
    for b in range(BATCH):
        alone = reduce(
            jax.tree.map(lambda a, b=b: a[b : b + 1], state), state.tokens[b : b + 1], weight[b : b + 1], **options
        )
        for whole, part in zip(together, alone, strict=True):
            np.testing.assert_allclose(whole[b : b + 1], part, atol=1e-6)


@given(SHAPES, SEEDS)
def test_permuting_the_batch_permutes_the_result(shape, seed):
    state, weight, options = make_case(shape, seed)
    order = np.random.default_rng(seed).permutation(BATCH)
    straight = reduce(state, state.tokens, weight, **options)
    permuted = reduce(jax.tree.map(lambda a: a[order], state), state.tokens[order], weight[order], **options)
    for one, other in zip(straight, permuted, strict=True):
        np.testing.assert_array_equal(one[order], other)


@given(SHAPES, SEEDS)
def test_every_token_is_kept_or_absorbed_and_kept_ones_stay_in_order(shape, seed):
    num_tokens, _, num_protected = shape
    state, _, options = make_case(shape, seed)
    plan = jax.tree.map(np.asarray, match(state.tokens, **options))
    odd = np.arange(num_protected + 1, num_tokens, 2)
    for kept, absorbed, target in zip(*plan, strict=True):
        assert sorted([*kept, *absorbed]) == list(range(num_tokens))
        np.testing.assert_array_equal(kept[:num_protected], np.arange(num_protected))
        np.testing.assert_array_equal(kept[len(kept) - len(odd) :], odd)
        survivors = kept[num_protected : len(kept) - len(odd)]
        assert (np.diff(survivors) > 0).all()
        assert ((absorbed - num_protected) % 2 == 0).all()
        assert np.isin(kept[target], odd).all()


@given(SHAPES, SEEDS)
def test_size_is_conserved_when_all_weights_are_1(shape, seed):
    state, _, options = make_case(shape, seed)
    for weight in (None, jnp.ones_like(state.size)):
        merged = reduce(state, state.tokens, weight, **options)
        np.testing.assert_allclose(merged.size.sum(-1), state.size.sum(-1), rtol=1e-6)
        mass_before = (state.size[..., None] * state.tokens).sum(1)
        np.testing.assert_allclose((merged.size[..., None] * merged.tokens).sum(1), mass_before, atol=2e-5)


@given(SHAPES, SEEDS)
def test_what_size_is_lost_is_what_the_weights_of_the_absorbed_take(shape, seed):
    state, weight, options = make_case(shape, seed)
    absorbed = match(state.tokens, **options).absorbed
    lost = jnp.take_along_axis((1 - weight) * state.size, absorbed, 1).sum(-1)
    merged = reduce(state, state.tokens, weight, **options)
    np.testing.assert_allclose(state.size.sum(-1) - merged.size.sum(-1), lost, atol=1e-5)
    assert (np.asarray(merged.size) >= 1).all()


@given(SHAPES, SEEDS)
def test_rows_of_the_source_matrix_sum_to_the_sizes(shape, seed):
    state, weight, options = make_case(shape, seed, unit_size=True)
    for _ in range(2):
        merged = reduce(state, state.tokens, weight, **options)
        matrix = ops.source_matrix(merged.source, merged.source_weight, num_tokens=merged.tokens.shape[1])
        np.testing.assert_allclose(matrix.sum(-1), merged.size, rtol=1e-6)
        weight = None


@given(SHAPES, SEEDS)
def test_unmerging_gives_every_original_position_the_token_that_holds_it(shape, seed):
    state, weight, options = make_case(shape, seed)
    merged = reduce(state, state.tokens, weight, **options)
    spread = np.asarray(ops.unmerge_tokens(merged.tokens, merged.source, fill=9.0))
    assert spread.shape == state.tokens.shape
    plan = match(state.tokens, **options)
    for b in range(BATCH):
        np.testing.assert_array_equal(spread[b, plan.kept[b]], merged.tokens[b])
        for absorbed, target in zip(plan.absorbed[b], plan.target[b], strict=True):
            expected = merged.tokens[b, target] if weight[b, absorbed] > 0 else np.full(4, 9.0)
            np.testing.assert_array_equal(spread[b, absorbed], expected)


@given(SHAPES, SEEDS)
def test_merging_equal_tokens_leaves_their_value(shape, seed):
    state, weight, options = make_case(shape, seed)
    value = state.tokens[:, :1]
    same = state._replace(tokens=jnp.broadcast_to(value, state.tokens.shape))
    merged = reduce(same, same.tokens, weight, **options)
    np.testing.assert_allclose(merged.tokens, np.broadcast_to(value, merged.tokens.shape), rtol=1e-5)
