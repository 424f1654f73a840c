"""Saliency against the oracle, at its edges, and what it refuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import oracle
from tests.reference.inputs import make_attention, make_qkv
from vidtldr_jax import ops

# Sharpness is a float32 sum of N terms whose spread is about 1; the map itself is rounded to float32.
TOLERANCE = 1e-5


# One compilation for each shape is faster than one for each operation of it.
jitted_saliency = jax.jit(ops.attention_saliency, static_argnames="num_protected")
normalise_sharpness = jax.jit(ops.normalise_sharpness, static_argnames="num_protected")


def find_saliency(attention, **kwargs):
    return jitted_saliency(jnp.asarray(attention), **kwargs)


@pytest.mark.parametrize(
    ("shape", "num_protected"), [((2, 12, 2, 4), 0), ((1, 2, 1, 3), 0), ((3, 7, 3, 5), 1), ((1, 33, 4, 8), 2)]
)
def test_saliency_equals_the_oracle(shape, num_protected):
    attention = make_attention(shape)
    actual = find_saliency(attention, num_protected=num_protected)
    np.testing.assert_allclose(actual, oracle.saliency(attention, num_protected), atol=TOLERANCE)
    assert actual.dtype == jnp.float32


def test_the_sharpest_token_is_1_and_background_exactly_0():
    attention = np.full((1, 1, 3, 3), 1 / 3, np.float32)
    attention[0, 0, 1] = [0.98, 0.01, 0.01]
    saliency = find_saliency(attention)
    np.testing.assert_allclose(saliency, [[0.0, 1.0, 0.0]], atol=1e-6)
    np.testing.assert_array_equal(np.asarray(saliency) == 0, [[True, False, True]])


def test_the_sharpest_token_of_every_compiled_example_is_exactly_1():
    # Compiled, the peak may be computed twice with other roundings: in some of these the quotient was 1 - 2^-24.
    sharpness = -np.random.default_rng(0).uniform(0, 4, (2000, 24)).astype(np.float32)
    weight = normalise_sharpness(jnp.asarray(sharpness))
    np.testing.assert_array_equal(np.take_along_axis(np.asarray(weight), sharpness.argmax(-1)[:, None], -1), 1)


def test_a_token_exactly_at_the_mean_is_not_background_but_weighs_nothing():
    # Sharpness -1, 0, -0.5: normalised 0, 1, 0.5, whose mean is 0.5.
    weight = normalise_sharpness(jnp.array([[-1.0, 0.0, -0.5, -0.5]]))
    np.testing.assert_array_equal(weight, [[0.0, 1.0, 0.0, 0.0]])


def test_saliency_is_affine_invariant_in_the_sharpness():
    sharpness = -jnp.asarray(np.random.default_rng(0).uniform(0.5, 3.0, (2, 9)), jnp.float32)
    one, other = normalise_sharpness(sharpness), normalise_sharpness(3.0 * sharpness - 0.25)
    np.testing.assert_allclose(one, other, atol=TOLERANCE)
    by_hand = np.asarray(sharpness, np.float64)
    for b in range(2):
        s = (by_hand[b] - by_hand[b].min()) / np.ptp(by_hand[b])
        expected = np.where(s < s.mean(), 0.0, (s - s.mean()) / (s - s.mean()).max())
        np.testing.assert_allclose(one[b], expected, atol=TOLERANCE)


def test_each_example_is_normalised_by_itself():
    attention = make_attention((3, 10, 2, 4))
    attention[1] = 0.9 * np.eye(10) + 0.01  # far sharper than the others
    together = find_saliency(attention)
    for b in range(3):
        np.testing.assert_allclose(together[b : b + 1], find_saliency(attention[b : b + 1]), atol=1e-6)


def test_the_mean_over_heads_comes_before_the_entropy():
    # Two one-hot heads that disagree are, on the mean, as unsharp as one head that looks at two keys.
    attention = np.zeros((1, 2, 3, 3), np.float32)
    attention[0, 0] = np.eye(3)
    attention[0, 1] = np.eye(3)
    attention[0, 1, 2] = [1, 0, 0]
    np.testing.assert_allclose(ops.negative_entropy(jnp.asarray(attention).mean(1)), [[0, 0, -np.log(2)]], atol=1e-6)
    np.testing.assert_allclose(find_saliency(attention), [[1.0, 1.0, 0.0]], atol=1e-6)


def test_one_hot_attention_is_finite_and_all_tokens_count_alike():
    attention = np.broadcast_to(np.eye(6, dtype=np.float32), (2, 3, 6, 6))
    np.testing.assert_array_equal(find_saliency(attention), np.ones((2, 6)))


def test_uniform_attention_makes_nobody_background():
    attention = np.full((2, 3, 7, 7), 1 / 7, np.float32)
    np.testing.assert_array_equal(find_saliency(attention), np.ones((2, 7)))


@pytest.mark.parametrize("num_tokens", [16, 257, 1024])
def test_attention_that_is_flat_up_to_rounding_counts_as_uniform(num_tokens):
    rng = np.random.default_rng(0)
    logits = (1e-7 * rng.normal(size=(1, 2, num_tokens, num_tokens))).astype(np.float32)
    attention = jax.nn.softmax(jnp.asarray(logits))
    assert len(np.unique(ops.negative_entropy(jnp.asarray(attention).mean(1)))) > 1, "the test needs rounding noise"
    np.testing.assert_array_equal(find_saliency(attention), np.ones((1, num_tokens)))


def test_permuted_rows_are_equally_sharp_although_their_sums_round_differently():
    rng = np.random.default_rng(1)
    row = rng.dirichlet(np.full(300, 0.3)).astype(np.float32)
    attention = np.stack([rng.permutation(row) for _ in range(300)])[None, None]
    np.testing.assert_array_equal(find_saliency(attention), np.ones((1, 300)))


def test_one_hot_rows_of_which_one_is_a_rounding_off_are_equally_sharp():
    attention = np.eye(4, dtype=np.float32)
    attention[1, 1] = np.nextafter(np.float32(1), np.float32(0))
    np.testing.assert_array_equal(find_saliency(attention[None, None]), np.ones((1, 4)))


@pytest.mark.parametrize("num_heads", [3, 12, 25])
def test_one_hot_rows_whose_heads_don_t_sum_to_1_exactly_are_equally_sharp(num_heads):
    share = np.float32(1) / np.float32(num_heads)
    summed = np.float32(0)
    for _ in range(num_heads):
        summed += share
    sharpness = ops.negative_entropy(jnp.diag(jnp.array([summed, 1.0, 1.0, np.nextafter(np.float32(1), 2)])))
    np.testing.assert_array_equal(normalise_sharpness(sharpness[None]), np.ones((1, 4)))


def test_among_many_equally_sharp_tokens_rounding_makes_nobody_background():
    # One token is less sharp by 1000 roundings, the others by none, one or two: their mean is one rounding below them.
    sharpness = np.float32(1e-7) * np.tile([0, -1, -2], 300).astype(np.float32)
    sharpness[5] = -1e-4
    expected = np.ones(900)
    expected[5] = 0
    np.testing.assert_array_equal(normalise_sharpness(jnp.asarray(sharpness[None])), expected[None])


def test_nearly_one_hot_rows_that_differ_by_more_than_rounding_are_told_apart():
    weight = normalise_sharpness(jnp.array([[0.0, -5e-4, -1e-3, -1e-3]]))
    np.testing.assert_allclose(weight, [[1.0, 0.2, 0.0, 0.0]], atol=1e-3)


def test_a_real_difference_a_thousand_roundings_large_is_not_called_flat():
    sharpness = jnp.array([[-2.0, -2.0 + 2.5e-4, -2.0 + 5e-4]])
    np.testing.assert_allclose(normalise_sharpness(sharpness), [[0.0, 0.0, 1.0]], atol=2e-3)


def test_a_flat_example_leaves_its_neighbour_alone():
    attention = make_attention((2, 9, 2, 4))
    attention[0] = 1 / 9
    actual = find_saliency(attention)
    np.testing.assert_array_equal(actual[0], np.ones(9))
    np.testing.assert_allclose(actual, oracle.saliency(attention), atol=TOLERANCE)


def test_a_saturated_softmax_gives_the_oracle_s_values():
    query, key, value = make_qkv((1, 8, 1, 2))
    query, key = 100 * np.sign(query), 100 * np.sign(key)  # logits of about +-1e4
    attention = oracle.attention_map(query, key)
    assert (attention == 0).any()
    expected = oracle.saliency(attention)
    np.testing.assert_allclose(find_saliency(attention.astype(np.float32)), expected, atol=TOLERANCE)
    for form in ("blocked", "dense"):
        attended = jax.jit(partial(ops.attend, with_saliency=True, form=form))(*map(jnp.asarray, (query, key, value)))
        np.testing.assert_allclose(attended.saliency, expected, atol=TOLERANCE)
        np.testing.assert_allclose(attended.update, oracle.attend(query, key, value), atol=TOLERANCE)


def test_protected_tokens_take_no_part_in_minimum_mean_and_maximum():
    attention = make_attention((2, 9, 2, 4))
    reference = find_saliency(attention, num_protected=1)
    for row in (np.eye(9)[0], np.full(9, 1 / 9)):
        changed = attention.copy()
        changed[:, :, 0] = row
        np.testing.assert_array_equal(find_saliency(changed, num_protected=1), reference)
    np.testing.assert_array_equal(reference[:, 0], [1.0, 1.0])


def test_bfloat16_attention_is_computed_in_float32():
    attention = jnp.asarray(make_attention((1, 20, 2, 4)), jnp.bfloat16)
    actual = find_saliency(attention)
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, oracle.saliency(np.asarray(attention, np.float64)), atol=TOLERANCE)


def test_gradient_is_finite_where_attention_is_exactly_0():
    attention = jnp.array([[[[1.0, 0.0, 0.0], [0.2, 0.8, 0.0], [0.3, 0.3, 0.4]]]])
    gradient = jax.grad(lambda a: (find_saliency(a) * jnp.arange(3.0)[None]).sum())(attention)
    assert np.isfinite(gradient).all()
    flat = jax.grad(lambda a: find_saliency(a).sum())(jnp.full((1, 1, 3, 3), 1 / 3))
    np.testing.assert_array_equal(flat, np.zeros((1, 1, 3, 3)))


def test_gradient_equals_finite_differences():
    def value(logits):
        return (oracle.saliency(oracle.softmax(logits)) * np.arange(5.0)).sum()

    logits = np.random.default_rng(4).normal(size=(1, 2, 5, 5))
    direction = np.random.default_rng(5).normal(size=logits.shape)
    expected = (value(logits + 1e-5 * direction) - value(logits - 1e-5 * direction)) / 2e-5
    gradient = jax.jit(jax.grad(lambda x: (ops.attention_saliency(jax.nn.softmax(x)) * jnp.arange(5.0)[None]).sum()))(
        jnp.asarray(logits, jnp.float32)
    )
    np.testing.assert_allclose((gradient * direction).sum(), expected, rtol=1e-4)


def test_compiled_gradients_are_right_for_every_one_of_many_examples():
    # A max whose gradient looks for equal entries loses it in some of these when compiled.
    sharpness = -np.random.default_rng(6).uniform(0.5, 3.0, (200, 5)).astype(np.float32)
    mix = np.arange(5.0)

    def value(s):
        s = (s - s.min(-1, keepdims=True)) / np.ptp(s, axis=-1, keepdims=True)
        above = s - s.mean(-1, keepdims=True)
        return (np.maximum(above, 0.0) / above.max(-1, keepdims=True)) @ mix

    direction = np.random.default_rng(7).normal(size=sharpness.shape)
    exact = sharpness.astype(np.float64)
    expected = (value(exact + 1e-7 * direction) - value(exact - 1e-7 * direction)) / 2e-7
    gradient = jax.jit(jax.grad(lambda s: (ops.normalise_sharpness(s) * mix[None]).sum()))(jnp.asarray(sharpness))
    np.testing.assert_allclose((np.asarray(gradient, np.float64) * direction).sum(-1), expected, rtol=1e-3, atol=1e-3)


def test_a_map_that_is_not_square_is_refused(shapes_unchecked):
    with pytest.raises(ValueError) as error:
        ops.attention_saliency(jnp.ones((2, 3, 4, 5)))
    assert str(error.value) == (
        "the attention map is [B, H, N, N]; got shape (2, 3, 4, 5); "
        "pass the softmax of all heads, before it is applied to the values."
    )


@pytest.mark.parametrize("num_protected", [-1, 4])
def test_protecting_every_token_is_refused(num_protected):
    with pytest.raises(ValueError) as error:
        find_saliency(jnp.full((1, 1, 4, 4), 0.25), num_protected=num_protected)
    assert str(error.value) == (
        f"num_protected is from 0 to 3 for 4 tokens; got {num_protected}; count only CLS-like tokens at the front."
    )
