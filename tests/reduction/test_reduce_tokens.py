"""The one-call form: counts, ratios, clamps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import oracle
from tests.reference.inputs import make_tokens, make_weight
from vidtldr_jax import ops
from vidtldr_jax.reduction import METHODS, Evidence, reduce_tokens


@pytest.mark.parametrize(
    ("r", "num_protected", "count"), [(3, 0, 3), (0.3, 0, 3), (0.3, 2, 2), (50, 0, 5), (0.9, 1, 5), (0.05, 0, 0)]
)
def test_r_is_a_count_or_a_ratio_and_is_clamped_to_half(r, num_protected, count):
    tokens, weight = make_tokens((2, 11, 4)), make_weight((2, 11))
    state = ops.init_merge_state(jnp.asarray(tokens))
    merge = jax.jit(lambda s, w: reduce_tokens(s, s.tokens, w, r=r, num_protected=num_protected))
    merged = merge(state, jnp.asarray(weight))
    expected, size = oracle.merge(tokens, np.ones((2, 11)), oracle.match(tokens, count, num_protected), weight)
    np.testing.assert_allclose(merged.tokens, expected, atol=1e-6)
    np.testing.assert_allclose(merged.size, size, rtol=1e-6)


def test_similarity_is_measured_on_the_features_not_on_the_tokens():
    tokens, features = make_tokens((1, 8, 4), seed=0), make_tokens((1, 8, 4), seed=9)
    assert oracle.match(tokens, 3) != oracle.match(features, 3), "the test needs two different plans"
    merged = reduce_tokens(ops.init_merge_state(jnp.asarray(tokens)), jnp.asarray(features), None, r=3)
    expected, _ = oracle.merge(tokens, np.ones((1, 8)), oracle.match(features, 3))
    np.testing.assert_allclose(merged.tokens, expected, atol=1e-6)


@pytest.mark.parametrize("r", [-1, 1.5, -0.2, float("nan")])
def test_what_is_no_r_is_refused(r):
    tokens = jnp.ones((1, 4, 2))
    with pytest.raises(ValueError, match="an entry is a whole number from 0 on, or a ratio above 0 and below 1"):
        reduce_tokens(ops.init_merge_state(tokens), tokens, None, r=r)


def test_any_method_is_taken_with_what_it_needs():
    tokens = jnp.asarray(make_tokens((2, 12, 8)))
    keys = jnp.asarray(make_tokens((2, 12, 8), seed=3)).reshape(2, 12, 2, 4)
    weight = jnp.asarray(make_weight((2, 12)))
    state = ops.init_merge_state(tokens)
    given = {"saliency": weight, "received": weight, "keys": keys, "update": tokens, "novelty": weight}
    for name, method in METHODS.items():
        needed = {need: given[need] for need in method.needs}
        found = reduce_tokens(state, tokens, r=3, method=name, **needed)
        choice = method.choose(Evidence(tokens, **needed), r=3, num_protected=0)
        np.testing.assert_array_equal(found.tokens, ops.merge_tokens(state, choice.plan, choice.weight).tokens)
        if method.needs:
            with pytest.raises(ValueError, match=f"this method looks at {method.needs[0]}; the evidence has none"):
                reduce_tokens(state, tokens, r=3, method=method)
    assert reduce_tokens(state, tokens, r=50, method="random_drop").tokens.shape[1] == 1
    assert reduce_tokens(state, tokens, r=50, method="tome", keys=keys).tokens.shape[1] == 6
