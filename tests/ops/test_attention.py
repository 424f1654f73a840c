"""Attention: every form against the oracle, and what the blocked forms never do."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import oracle
from tests.reference.inputs import make_qkv, make_size
from vidtldr_jax import ops

# Float32 sums of a dozen products of about 1.
TOLERANCE = 1e-5
N = 13
BLOCKED_FORMS = ("by_head", "blocked", "dense")
FORMS = (*BLOCKED_FORMS, "kernel", "fused")

attend = jax.jit(ops.attend, static_argnames=("with_saliency", "num_protected", "form", "block_size"))
attend_received = jax.jit(ops.attend_received, static_argnames=("num_protected", "form", "block_size"))


def make_inputs(dtype=jnp.float32, sized=True, num_tokens=N):
    qkv = tuple(jnp.asarray(a, dtype) for a in make_qkv((2, num_tokens, 3, 4)))
    return (*qkv, jnp.asarray(make_size((2, num_tokens))) if sized else None)


def to_float64(arrays):
    return [None if a is None else np.asarray(a, np.float64) for a in arrays]


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("block_size", [1, 4, 5, N, N + 7, None])
@pytest.mark.parametrize("form", [*BLOCKED_FORMS, "fused"])
def test_every_form_equals_the_oracle(form, block_size, sized):
    inputs = make_inputs(sized=sized)
    attended = attend(*inputs, with_saliency=True, num_protected=1, form=form, block_size=block_size)
    np.testing.assert_allclose(attended.update, oracle.attend(*to_float64(inputs)), atol=TOLERANCE)
    alone = attend(*inputs, form=form, block_size=block_size).update
    np.testing.assert_allclose(alone, oracle.attend(*to_float64(inputs)), atol=TOLERANCE)
    expected = oracle.saliency(oracle.attention_map(*inputs[:2]), num_protected=1)
    np.testing.assert_allclose(attended.saliency, expected, atol=TOLERANCE)


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("form", ["kernel", "auto"])
def test_so_does_every_form_that_chooses_its_own_blocks(form, sized):
    test_every_form_equals_the_oracle(form, None, sized)


def test_saliency_does_not_see_the_sizes():
    query, key, value, size = make_inputs()
    for form in FORMS:
        sized = attend(query, key, value, 50 * size, with_saliency=True, form=form).saliency
        plain = attend(query, key, value, with_saliency=True, form=form).saliency
        np.testing.assert_allclose(sized, plain, atol=1e-6)


def test_a_token_of_size_3_counts_as_three_equal_tokens():
    query, key, value, _ = make_inputs(num_tokens=5)
    size = jnp.ones((2, 5)).at[:, 2].set(3.0)
    order = jnp.array([0, 1, 2, 2, 2, 3, 4])
    repeated = attend(query[:, order], key[:, order], value[:, order]).update
    np.testing.assert_allclose(attend(query, key, value, size).update, repeated[:, [0, 1, 2, 5, 6]], atol=TOLERANCE)


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_comes_back_as_bfloat16_and_close(form):
    inputs = make_inputs(jnp.bfloat16)
    attended = attend(*inputs, with_saliency=True, form=form)
    assert attended.update.dtype == jnp.bfloat16
    assert attended.saliency.dtype == jnp.float32
    # Probabilities and values are rounded to 8 bits before their product.
    np.testing.assert_allclose(np.asarray(attended.update, np.float32), oracle.attend(*to_float64(inputs)), atol=0.05)
    # The logits are not: products of bfloat16 are exact in float32.
    expected = oracle.saliency(oracle.attention_map(*to_float64(inputs[:2])))
    np.testing.assert_allclose(attended.saliency, expected, atol=TOLERANCE)


def test_without_saliency_there_is_none():
    for form in FORMS:
        assert attend(*make_inputs(), form=form).saliency is None


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_every_form_equal_finite_differences(form):
    query, key, value, size = make_inputs(num_tokens=6)
    mix = np.random.default_rng(5).normal(size=value.shape)
    mix_saliency = np.random.default_rng(6).normal(size=(2, 6))

    def value_of(q, k, v, s):
        block_size = 4 if form in BLOCKED_FORMS else None
        attended = ops.attend(q, k, v, s, with_saliency=True, form=form, block_size=block_size)
        return (attended.update * mix).sum() + (attended.saliency * mix_saliency).sum()

    def expected_value(q, k, v, s):
        return (oracle.attend(q, k, v, s) * mix).sum() + (
            oracle.saliency(oracle.attention_map(q, k)) * mix_saliency
        ).sum()

    inputs = (query, key, value, size)
    gradients = jax.jit(jax.grad(value_of, argnums=(0, 1, 2, 3)))(*inputs)
    for place, gradient in enumerate(gradients):
        exact = to_float64(inputs)
        step = 1e-6 * np.random.default_rng(place).normal(size=exact[place].shape)
        up, down = list(exact), list(exact)
        up[place], down[place] = exact[place] + step, exact[place] - step
        expected = (expected_value(*up) - expected_value(*down)) / 2
        np.testing.assert_allclose((np.asarray(gradient, np.float64) * step).sum(), expected, rtol=1e-3, atol=1e-10)


def find_equations(jaxpr, times=1):
    """Yields every equation of a jaxpr and its inner ones, with how often it runs."""
    for equation in jaxpr.eqns:
        yield equation, times
        inner = times * equation.params["length"] if equation.primitive.name == "scan" else times
        for parameter in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")):
            parameter = getattr(parameter, "jaxpr", parameter)
            if hasattr(parameter, "eqns"):
                yield from find_equations(parameter, inner)


def trace_attend(num_tokens=40, **options):
    qkv = [jax.ShapeDtypeStruct((2, num_tokens, 3, 4), jnp.float32)] * 3
    size = jax.ShapeDtypeStruct((2, num_tokens), jnp.float32)
    closed = jax.make_jaxpr(partial(ops.attend, **{"with_saliency": True, **options}))(*qkv, size)
    return list(find_equations(closed.jaxpr))


def find_largest(equations):
    return max(int(np.prod(v.aval.shape)) for equation, _ in equations for v in equation.outvars)


# How many heads of a block of the map are there at a time; the others pass through the same place.
HEADS_AT_A_TIME = {"blocked": 2 * 3, "by_head": 1}


@pytest.mark.parametrize("form", HEADS_AT_A_TIME)
@pytest.mark.parametrize("with_saliency", [True, False])
def test_no_form_but_the_dense_makes_the_whole_map(form, with_saliency):
    whole = 2 * 3 * 40 * 40
    options = {"form": form, "with_saliency": with_saliency}
    assert find_largest(trace_attend(form="dense")) == whole, "the search must be able to find the map"
    arrays = 2 * 40 * 3 * 4  # the inputs themselves
    assert find_largest(trace_attend(block_size=8, **options)) <= max(HEADS_AT_A_TIME[form] * 8 * 40, arrays)
    assert find_largest(trace_attend(block_size=1, **options)) <= max(HEADS_AT_A_TIME[form] * 40, arrays)


@pytest.mark.parametrize("form", HEADS_AT_A_TIME)
def test_the_default_block_stays_small_for_many_tokens(form):
    whole = 2 * 3 * 2352 * 2352
    assert find_largest(trace_attend(2352, form=form)) < whole // 8


@pytest.mark.parametrize("form", HEADS_AT_A_TIME)
@pytest.mark.parametrize("with_saliency", [True, False])
def test_each_exponential_is_computed_once(form, with_saliency):
    exps = [
        times * int(np.prod(equation.outvars[0].aval.shape))
        for equation, times in trace_attend(block_size=8, form=form, with_saliency=with_saliency)
        if equation.primitive.name == "exp"
    ]
    assert exps == [2 * 3 * 40 * 40]


@pytest.mark.parametrize("form", HEADS_AT_A_TIME)
def test_blocks_are_balanced_so_that_padding_is_less_than_a_row_per_block(form):
    exps = [
        (times * HEADS_AT_A_TIME[form], equation.outvars[0].aval.shape[-2])
        for equation, times in trace_attend(17, block_size=16, form=form)
        if equation.primitive.name == "exp"
    ]
    assert exps == [(2 * 2 * 3, 9)]


def test_shapes_that_differ_are_refused(shapes_unchecked):
    with pytest.raises(ValueError) as error:
        ops.attend(jnp.ones((1, 2, 3, 4)), jnp.ones((1, 3, 3, 4)), jnp.ones((1, 2, 3, 4)))
    assert str(error.value) == (
        "query, key and value have one shape [B, N, H, K]; got (1, 2, 3, 4), (1, 3, 3, 4), (1, 2, 3, 4); "
        "split the heads first."
    )
    with pytest.raises(ValueError, match=r"^query, key and value have one shape"):
        ops.attend(*[jnp.ones((2, 3, 4))] * 3)


def test_a_size_of_another_shape_is_refused(shapes_unchecked):
    with pytest.raises(ValueError) as error:
        ops.attend(*[jnp.ones((1, 2, 3, 4))] * 3, jnp.ones((1, 3)))
    assert str(error.value) == ("size is [B, N] = (1, 2); got (1, 3); pass one size for each key.")


def test_a_block_of_no_rows_is_refused():
    with pytest.raises(ValueError) as error:
        ops.attend(*[jnp.ones((1, 2, 3, 4))] * 3, block_size=0)
    assert str(error.value) == "block_size is at least 1; got 0; pass another number."


def test_an_unknown_form_is_refused(shapes_unchecked):
    with pytest.raises(ValueError) as error:
        ops.attend(*[jnp.ones((1, 2, 3, 4))] * 3, form="flash")
    assert str(error.value) == (
        "form is one of auto, by_head, blocked, fused, kernel, dense; got 'flash'; leave it out for the default."
    )


def test_protecting_every_token_is_refused():
    with pytest.raises(ValueError, match=r"^num_protected is from 0 to 1 for 2 tokens; got 2; "):
        ops.attend(*[jnp.ones((1, 2, 3, 4))] * 3, with_saliency=True, num_protected=2)


@pytest.mark.parametrize("num_protected", [0, 2])
@pytest.mark.parametrize("form", ["dense", "by_head", "blocked"])
def test_the_attention_received_is_the_mean_of_the_plain_map(form, num_protected):
    query, key, value, size = make_inputs()
    found = attend_received(query, key, value, size, num_protected=num_protected, form=form, block_size=5)
    attention = oracle.attention_map(query, key)
    asking = attention[:, :, :num_protected] if num_protected else attention
    np.testing.assert_allclose(found.received, asking.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(found.update, oracle.attend(query, key, value, size), atol=1e-5)
    np.testing.assert_allclose(found.received.sum(1), 1.0, rtol=1e-5)
