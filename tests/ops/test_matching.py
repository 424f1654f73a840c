"""Plans against the oracle, ties, edges and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.test_attention import find_equations
from tests.reference import oracle
from tests.reference.inputs import make_plan_arrays, make_tokens
from vidtldr_jax import ops
from vidtldr_jax.ops import matching

# One compilation for each shape is faster than one for each operation of it.
jitted_match = jax.jit(ops.match_tokens, static_argnames=("r", "num_protected"))


def match(features, **kwargs):
    return jitted_match(jnp.asarray(features), **kwargs)


def sort_plan(plan):
    """The plan as NumPy, absorbed tokens in ascending order: top-k's own order has no meaning."""
    order = np.argsort(plan.absorbed, axis=1)
    return (
        np.asarray(plan.kept),
        np.take_along_axis(np.asarray(plan.absorbed), order, 1),
        np.take_along_axis(np.asarray(plan.target), order, 1),
    )


def assert_equals_oracle(features, r, num_protected=0):
    plan = sort_plan(match(features, r=r, num_protected=num_protected))
    for actual, expected in zip(plan, make_plan_arrays(oracle.match(features, r, num_protected)), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("num_tokens", "r", "num_protected"),
    [
        (12, 5, 0),
        (12, 6, 0),
        (13, 6, 0),
        (2, 1, 0),
        (3, 1, 0),
        (33, 10, 0),
        (12, 5, 1),
        (13, 6, 1),
        (3, 1, 1),
        (12, 4, 2),
    ],
)
def test_a_plan_equals_the_oracle(num_tokens, r, num_protected):
    assert_equals_oracle(make_tokens((3, num_tokens, 8)), r, num_protected)


@pytest.mark.parametrize("rows", [1, 4, 5])
@pytest.mark.parametrize("num_protected", [0, 1])
def test_blocks_of_similarities_give_the_same_plan(rows, num_protected, monkeypatch):
    features = jnp.asarray(make_tokens((3, 33, 8)))
    expected = ops.match_tokens(features, r=10, num_protected=num_protected)
    monkeypatch.setattr(matching, "_ROWS_OF_SIMILARITY", rows)
    found = ops.match_tokens(features, r=10, num_protected=num_protected)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_similarities_of_many_tokens_are_never_all_there():
    # 64 frames of 14 x 14 patches: memory must not grow with the square of the tokens.
    features = jax.ShapeDtypeStruct((1, 12544, 64), jnp.float32)
    closed = jax.make_jaxpr(lambda x: ops.match_tokens(x, r=3000))(features)
    sizes = [int(np.prod(v.aval.shape)) for equation, _ in find_equations(closed.jaxpr) for v in equation.outvars]
    assert max(sizes) == 1568 * 6272


def test_one_reduction_finds_the_largest_similarity_and_its_place():
    # A TPU's compiler fuses the product into each reduction, so that two would compute and compile it twice.
    closed = jax.make_jaxpr(ops.pair_tokens)(jnp.ones((2, 12, 8)))
    found = [
        equation.primitive.name
        for equation, _ in find_equations(closed.jaxpr)
        if (2, 6, 6) in [variable.aval.shape for variable in equation.invars]
    ]
    assert [name for name in found if name.startswith(("reduce", "argmax"))] == ["reduce"]


@pytest.mark.parametrize("largest", [np.nan, np.inf, 0.0, -np.inf])
def test_the_largest_of_odd_values_is_that_of_numpy(largest):
    values = np.full((2, 3, 7), -np.inf, np.float32)
    values[:, 1, [2, 5]], values[1, 2, 6] = largest, largest
    best, place = matching._find_largest(jnp.asarray(values))
    np.testing.assert_array_equal(best, values.max(-1))
    np.testing.assert_array_equal(place, values.argmax(-1))


def test_the_gradient_of_similarities_equals_finite_differences():
    features, step = make_tokens((2, 13, 8), 0), make_tokens((2, 13, 8), 1)
    mix = np.random.default_rng(2).standard_normal((2, 7))
    gradient = jax.grad(lambda values: (ops.pair_tokens(values).similarity * mix).sum())(jnp.asarray(features))

    def sum_similarities(values):
        unit = values / np.linalg.norm(values, axis=-1, keepdims=True)
        return ((unit[:, 0::2] @ unit[:, 1::2].swapaxes(1, 2)).max(-1) * mix).sum()

    forward, backward = (sum_similarities(features.astype(np.float64) + sign * 1e-6 * step) for sign in (1, -1))
    np.testing.assert_allclose((gradient * step).sum(), (forward - backward) / 2e-6, rtol=1e-4)


def test_two_tokens_become_one():
    plan = match(make_tokens((1, 2, 4)), r=1)
    np.testing.assert_array_equal(plan.kept, [[1]])
    np.testing.assert_array_equal(plan.absorbed, [[0]])
    np.testing.assert_array_equal(plan.target, [[0]])


def test_even_tokens_are_absorbed_by_odd_ones():
    features = np.eye(6, dtype=np.float32)
    features[4] = features[1] + 0.1 * features[4]  # token 4 is like token 1
    plan = match(features[None], r=1)
    np.testing.assert_array_equal(plan.kept, [[0, 2, 1, 3, 5]])
    np.testing.assert_array_equal(plan.absorbed, [[4]])
    np.testing.assert_array_equal(plan.target, [[2]])


def test_the_first_of_equally_similar_partners_is_taken():
    features = np.ones((1, 6, 4), np.float32)
    plan = match(features, r=3)
    np.testing.assert_array_equal(plan.kept, [[1, 3, 5]])
    np.testing.assert_array_equal(plan.target, [[0, 0, 0]])


def test_the_first_of_equally_good_pairs_are_absorbed():
    plan = match(jnp.ones((1, 8, 4)), r=2)
    np.testing.assert_array_equal(np.sort(plan.absorbed), [[0, 2]])
    np.testing.assert_array_equal(plan.kept, [[4, 6, 1, 3, 5, 7]])


def test_similarity_ignores_length_but_not_sign():
    features = np.array([[[1, 0], [100, 1], [0, 3], [-5, 0.1]]], np.float32)
    plan = match(features, r=1)
    np.testing.assert_array_equal(plan.absorbed, [[0]])
    np.testing.assert_array_equal(plan.target, [[1]])  # outputs are 2, 1, 3


def test_a_zero_vector_is_similar_to_nothing_and_gives_no_nan():
    features = make_tokens((1, 10, 4))
    features[:, [0, 3]] = 0
    assert_equals_oracle(features, 3)
    all_zero = match(jnp.zeros((1, 4, 3)), r=2)
    np.testing.assert_array_equal(all_zero.kept, [[1, 3]])
    np.testing.assert_array_equal(all_zero.target, [[0, 0]])


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e25])
def test_tiny_and_huge_features_have_unit_length_all_the_same(scale):
    features = make_tokens((1, 10, 4))
    unit = ops.normalise_features(jnp.asarray(scale * features))
    np.testing.assert_allclose(np.linalg.norm(unit, axis=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(unit, ops.normalise_features(jnp.asarray(features)), atol=1e-6)
    assert_equals_oracle((scale * features).astype(np.float32), 4)


def test_protected_tokens_stay_first_and_are_in_no_pair():
    features = make_tokens((2, 9, 4))
    features[:, 0] = features[:, 4] = features[:, 3]  # the most similar pair of all would include the protected one
    plan = match(features, r=4, num_protected=1)
    np.testing.assert_array_equal(plan.kept, [[0, 2, 4, 6, 8]] * 2)
    assert not (np.asarray(plan.absorbed) == 0).any()
    assert not (np.asarray(plan.target) == 0).any()


def test_bfloat16_features_are_compared_in_float32():
    features = jnp.asarray(make_tokens((2, 20, 16)), jnp.bfloat16)
    assert_equals_oracle(np.asarray(features, np.float32), 7)
    assert ops.normalise_features(features).dtype == jnp.float32


def test_no_r_is_no_change():
    plan = match(make_tokens((2, 5, 3)), r=0)
    np.testing.assert_array_equal(plan.kept, [range(5)] * 2)
    assert plan.absorbed.shape == plan.target.shape == (2, 0)


def test_shapes_follow_from_static_numbers_alone():
    spec = jax.ShapeDtypeStruct((2, 13, 4), jnp.bfloat16)
    plan = jax.eval_shape(lambda x: ops.match_tokens(x, r=4, num_protected=2), spec)
    assert [(a.shape, a.dtype) for a in plan] == [((2, n), jnp.int32) for n in (9, 4, 4)]


@pytest.mark.parametrize("r", [-1, 5])
def test_an_r_out_of_range_is_refused(r):
    with pytest.raises(ValueError) as error:
        match(jnp.ones((1, 10, 2)), r=r, num_protected=1)
    assert str(error.value) == (
        f"r is from 0 to 4 (half of 9 unprotected tokens); got {r}; resolve the schedule first, which clamps it."
    )


def test_protecting_every_token_is_refused():
    with pytest.raises(ValueError, match=r"^num_protected is from 0 to 2 for 3 tokens; got 3; "):
        match(jnp.ones((1, 3, 2)), r=0, num_protected=3)
