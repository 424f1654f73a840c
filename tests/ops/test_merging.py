"""Merging, source tracing and the way back against the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import oracle
from tests.reference.inputs import make_size, make_tokens, make_weight
from vidtldr_jax import ops
from vidtldr_jax.ops.merging import choose_merge_form
from vidtldr_jax.ops.platform import lower_for

FORMS = ("segment_sum", "sorted", "one_hot")
# Means of float32 numbers of about 1.
TOLERANCE = 1e-6


# One compilation for each shape is faster than one for each operation of it.
match_tokens = jax.jit(ops.match_tokens, static_argnames=("r", "num_protected"))
merge_tokens = jax.jit(ops.merge_tokens, static_argnames="form")


def make_state(tokens, size=None, **kwargs):
    state = ops.init_merge_state(jnp.asarray(tokens), **kwargs)
    return state if size is None else state._replace(size=jnp.asarray(size))


def find_matrix(state):
    return ops.source_matrix(state.source, state.source_weight, num_tokens=state.tokens.shape[1])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("num_tokens", "r", "num_protected"), [(12, 5, 0), (13, 6, 0), (2, 1, 0), (21, 10, 1)])
def test_merging_equals_the_oracle(form, num_tokens, r, num_protected):
    tokens, weight, size = make_tokens((3, num_tokens, 6)), make_weight((3, num_tokens)), make_size((3, num_tokens))
    plan = match_tokens(jnp.asarray(tokens), r=r, num_protected=num_protected)
    actual = merge_tokens(make_state(tokens, size, trace=True), plan, jnp.asarray(weight), form=form)
    plans = oracle.match(tokens, r, num_protected)
    expected_tokens, expected_size = oracle.merge(tokens, size, plans, weight)
    np.testing.assert_allclose(actual.tokens, expected_tokens, atol=TOLERANCE)
    np.testing.assert_allclose(actual.size, expected_size, rtol=TOLERANCE)
    np.testing.assert_allclose(find_matrix(actual), oracle.trace(plans, weight), atol=TOLERANCE)


def test_two_layers_equal_the_oracle_with_sizes_and_sources_carried_on():
    tokens = make_tokens((2, 17, 6))
    state, size, matrix = make_state(tokens, trace=True), np.ones((2, 17)), None
    expected = tokens
    for layer, r in enumerate((6, 4, 2)):
        weight = make_weight((2, expected.shape[1]), seed=layer)
        state = merge_tokens(state, match_tokens(state.tokens, r=r), jnp.asarray(weight))
        plans = oracle.match(expected, r)
        matrix = oracle.trace(plans, weight, matrix)
        expected, size = oracle.merge(expected, size, plans, weight)
    np.testing.assert_allclose(state.tokens, expected, atol=TOLERANCE)
    np.testing.assert_allclose(state.size, size, rtol=TOLERANCE)
    np.testing.assert_allclose(find_matrix(state), matrix, atol=TOLERANCE)
    np.testing.assert_allclose(find_matrix(state).sum(-1), state.size, rtol=TOLERANCE)


@pytest.mark.parametrize("form", FORMS)
def test_a_mean_by_hand(form):
    tokens = jnp.array([[[4.0], [1.0], [10.0], [2.0]]])
    plan = ops.MergePlan(*(jnp.array([row]) for row in ([1, 3], [0, 2], [0, 0])))
    state = merge_tokens(
        make_state(tokens, np.float32([[2, 3, 4, 5]]), trace=True), plan, jnp.array([[0.5, 0.9, 0.25, 0.1]]), form=form
    )
    # 0.5 * 2 of 4 and 0.25 * 4 of 10 and 3 of 1; the destinations' own weights count nothing.
    np.testing.assert_allclose(state.tokens[..., 0], [[(4 + 10 + 3) / 5, 2.0]])
    np.testing.assert_allclose(state.size, [[5.0, 5.0]])
    np.testing.assert_array_equal(state.source, [[0, 0, 0, 1]])
    np.testing.assert_array_equal(state.source_weight, [[0.5, 1.0, 0.25, 1.0]])


@pytest.mark.parametrize("form", FORMS)
def test_a_token_of_weight_0_disappears_with_its_size(form):
    tokens = make_tokens((1, 6, 3))
    plan = match_tokens(jnp.asarray(tokens), r=3)
    state = merge_tokens(make_state(tokens, trace=True), plan, jnp.zeros((1, 6)), form=form)
    np.testing.assert_array_equal(state.tokens, tokens[:, 1::2])
    np.testing.assert_array_equal(state.size, np.ones((1, 3)))
    np.testing.assert_array_equal(state.source, [[-1, 0, -1, 1, -1, 2]])
    np.testing.assert_array_equal(state.source_weight, [[0, 1, 0, 1, 0, 1]])


def test_what_absorbed_a_dropped_token_is_not_dropped():
    state = make_state(make_tokens((1, 4, 2)), trace=True)
    plan = ops.MergePlan(*(jnp.array([row]) for row in ([2, 1, 3], [0], [1])))
    state = merge_tokens(state, plan, jnp.array([[0.0, 1, 1, 1]]))
    later = ops.MergePlan(*(jnp.array([row]) for row in ([1, 2], [0], [0])))
    state = merge_tokens(state, later, jnp.array([[0.5, 1, 1]]))
    np.testing.assert_array_equal(state.source, [[-1, 0, 0, 1]])
    np.testing.assert_array_equal(state.source_weight, [[0, 1, 0.5, 1]])


def test_without_weights_it_is_a_plain_weighted_mean():
    tokens, size = make_tokens((2, 9, 4)), make_size((2, 9))
    plan = match_tokens(jnp.asarray(tokens), r=3)
    without = merge_tokens(make_state(tokens, size), plan)
    ones = merge_tokens(make_state(tokens, size), plan, jnp.ones((2, 9)))
    np.testing.assert_array_equal(without.tokens, ones.tokens)
    np.testing.assert_array_equal(without.size, ones.size)
    np.testing.assert_allclose(without.tokens, oracle.merge(tokens, size, oracle.match(tokens, 3))[0], atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("form", FORMS)
def test_tokens_keep_their_dtype_and_are_averaged_in_float32(dtype, form):
    tokens = jnp.asarray(make_tokens((1, 16, 4)), dtype)
    size, weight = make_size((1, 16)), make_weight((1, 16))
    plan = match_tokens(jnp.asarray(tokens), r=8)
    state = merge_tokens(make_state(tokens, size, trace=True), plan, jnp.asarray(weight), form=form)
    assert (state.tokens.dtype, state.size.dtype, state.source_weight.dtype) == (dtype, jnp.float32, jnp.float32)
    exact = oracle.merge(np.asarray(tokens, np.float64), size, oracle.match(tokens, 8), weight)
    # Half of the last place of the dtype that comes out, no more.
    np.testing.assert_allclose(
        np.asarray(state.tokens, np.float64), exact[0], rtol=0.51 * float(jnp.finfo(dtype).eps), atol=TOLERANCE
    )
    np.testing.assert_allclose(state.size, exact[1], rtol=TOLERANCE)


def test_a_token_that_absorbs_nothing_passes_unchanged_to_the_bit():
    tokens = 1e3 * make_tokens((2, 12, 5))
    size = make_size((2, 12))
    plan = match_tokens(jnp.asarray(tokens), r=1)
    state = merge_tokens(make_state(tokens, size), plan, jnp.ones((2, 12)))
    for b in range(2):
        others = [m for m in range(11) if m != plan.target[b, 0]]
        np.testing.assert_array_equal(state.tokens[b, others], tokens[b, plan.kept[b, others]])
        np.testing.assert_array_equal(state.size[b, others], size[b, plan.kept[b, others]])


def test_the_forms_agree():
    tokens, weight, size = make_tokens((2, 30, 8)), make_weight((2, 30)), make_size((2, 30))
    plan = match_tokens(jnp.asarray(tokens), r=15)
    one, *others = (merge_tokens(make_state(tokens, size), plan, jnp.asarray(weight), form=f) for f in FORMS)
    for other in others:
        np.testing.assert_allclose(one.tokens, other.tokens, atol=TOLERANCE)
        np.testing.assert_allclose(one.size, other.size, rtol=TOLERANCE)


def test_unmerge_puts_every_token_back_and_fills_what_was_dropped():
    tokens = jnp.array([[[1.0, 2.0], [3.0, 4.0]]])
    spread = ops.unmerge_tokens(tokens, jnp.array([[1, -1, 0, 1]]), fill=-7.0)
    np.testing.assert_array_equal(spread, [[[3, 4], [-7, -7], [1, 2], [3, 4]]])
    np.testing.assert_array_equal(ops.unmerge_tokens(tokens, jnp.array([[-1, 0]])), [[[0, 0], [1, 2]]])
    assert ops.unmerge_tokens(tokens.astype(jnp.bfloat16), jnp.array([[0]])).dtype == jnp.bfloat16


def test_an_untraced_state_stays_untraced():
    tokens = make_tokens((1, 4, 2))
    state = merge_tokens(make_state(tokens), match_tokens(jnp.asarray(tokens), r=1))
    assert state.source is None
    assert state.source_weight is None


@pytest.mark.parametrize("form", FORMS)
def test_gradients_equal_finite_differences(form):
    tokens, weight, size = make_tokens((1, 6, 3)), make_weight((1, 6)) + 0.1, make_size((1, 6))
    plan, plans = match_tokens(jnp.asarray(tokens), r=2), oracle.match(tokens, 2)
    mix = np.random.default_rng(7).normal(size=(1, 4, 3))

    def value(t, w):
        return (merge_tokens(make_state(t, size), plan, w, form=form).tokens * mix).sum()

    def expected_value(t, w):
        return (oracle.merge(t, size, plans, w)[0] * mix).sum()

    gradients = jax.grad(value, argnums=(0, 1))(jnp.asarray(tokens), jnp.asarray(weight))
    for place, gradient in enumerate(gradients):
        arguments = [tokens.astype(np.float64), weight.astype(np.float64)]
        step = 1e-6 * np.random.default_rng(8).normal(size=arguments[place].shape)
        up, down = list(arguments), list(arguments)
        up[place], down[place] = arguments[place] + step, arguments[place] - step
        expected = (expected_value(*up) - expected_value(*down)) / 2
        np.testing.assert_allclose((np.asarray(gradient, np.float64) * step).sum(), expected, rtol=1e-4)


def test_an_unknown_form_is_refused(shapes_unchecked):
    tokens = make_tokens((1, 4, 2))
    with pytest.raises(ValueError) as error:
        ops.merge_tokens(make_state(tokens), match_tokens(jnp.asarray(tokens), r=1), form="scatter")
    assert str(error.value) == (
        "form is one of auto, segment_sum, sorted, one_hot; got 'scatter'; leave it out for the default."
    )


def test_each_platform_has_its_form_and_one_that_is_named_runs_everywhere():
    for platform, expected in (("cpu", "segment_sum"), ("gpu", "segment_sum"), ("tpu", "segment_sum")):
        with lower_for(platform):
            assert choose_merge_form() == choose_merge_form("auto") == expected
            assert [choose_merge_form(form) for form in FORMS] == list(FORMS)


@pytest.mark.parametrize(("form", "operation"), [*zip(FORMS, ("scatter", "sort", "dot_general"), strict=True)])
def test_a_form_is_really_another_program(form, operation):
    tokens = jnp.asarray(make_tokens((1, 12, 6)))
    merge = jax.jit(lambda tokens, plan: merge_tokens(make_state(tokens), plan, form=form).tokens)
    program = merge.lower(tokens, match_tokens(tokens, r=3)).as_text()
    assert f"stablehlo.{operation}" in program
