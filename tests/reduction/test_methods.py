"""The conformance suite: what every method must pass, and what each one does, against the oracle."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import methods_oracle, oracle
from tests.reference.inputs import make_attention, make_qkv, make_size, make_tokens, make_weight
from vidtldr_jax import ops
from vidtldr_jax.reduction import METHODS, Choice, Evidence, Method, get_method, resolve_schedule
from vidtldr_jax.reduction.chance import draw_scores

BATCH, NUM_TOKENS, R = 3, 13, 4
NAMES = list(METHODS)
# What the controls draw for nine tokens, in ninths; results are compared over years.
PLACES_OF_9 = [3, 7, 1, 2, 0, 8, 5, 6, 4]
all_methods = pytest.mark.parametrize("name", NAMES)


def make_evidence(num_tokens=NUM_TOKENS, seed=0):
    """Everything that a method may look at; scores have ties and exact zeros."""
    shape = (BATCH, num_tokens)
    novelty = np.abs(make_tokens((*shape, 1), seed + 4)[..., 0])
    novelty[:, :4] = np.inf
    received = make_attention((BATCH, num_tokens, 2, 4), seed + 1).mean((1, 2))
    received[:, 5] = received[:, 8]
    return Evidence(
        features=jnp.asarray(make_tokens((*shape, 8), seed)),
        saliency=jnp.asarray(make_weight(shape, seed + 2)),
        received=jnp.asarray(received),
        keys=jnp.asarray(make_qkv((*shape, 2, 4), seed + 3)[1]),
        update=jnp.asarray(make_tokens((*shape, 8), seed + 5)),
        novelty=jnp.asarray(novelty),
    )


def make_state(num_tokens=NUM_TOKENS, seed=9):
    state = ops.init_merge_state(jnp.asarray(make_tokens((BATCH, num_tokens, 8), seed)), trace=True)
    return state._replace(size=jnp.asarray(make_size((BATCH, num_tokens), seed + 1)))


# A program is compiled once for all tests that run it.
@functools.cache
def compile_step(name, r=R, num_protected=0):
    def step(state, evidence):
        choice = METHODS[name].choose(evidence, r=r, num_protected=num_protected)
        return ops.merge_tokens(state, choice.plan, choice.weight), choice

    return jax.jit(step)


@pytest.mark.parametrize("num_protected", [0, 1])
@all_methods
def test_a_method_equals_the_oracle(name, num_protected):
    state, evidence = make_state(), make_evidence()
    merged, choice = compile_step(name, R, num_protected)(state, evidence)
    plans, weights = methods_oracle.decide_all(
        name, evidence._asdict(), r=R, protected=num_protected, places=draw_scores(NUM_TOKENS)
    )
    np.testing.assert_array_equal(choice.plan.kept, [kept for kept, _ in plans])
    tokens, size = oracle.merge(state.tokens, state.size, plans, weights)
    np.testing.assert_allclose(merged.tokens, tokens, atol=1e-5)
    np.testing.assert_allclose(merged.size, size, rtol=1e-6)
    matrix = ops.source_matrix(merged.source, merged.source_weight, num_tokens=NUM_TOKENS - R)
    identity = np.broadcast_to(np.eye(NUM_TOKENS), (BATCH, NUM_TOKENS, NUM_TOKENS))
    np.testing.assert_allclose(matrix, oracle.trace(plans, weights, identity), atol=1e-6)


@all_methods
def test_a_method_looks_at_what_it_says_and_at_nothing_else(name):
    method, evidence = METHODS[name], make_evidence()
    needed = Evidence(evidence.features, **{need: getattr(evidence, need) for need in method.needs})
    jax.eval_shape(functools.partial(method.choose, r=R, num_protected=0), needed)  # it asks for nothing else
    useless = {name: jnp.full_like(value, jnp.nan) for name, value in evidence._asdict().items()}
    blinded = Evidence(**useless | {name: value for name, value in needed._asdict().items() if value is not None})
    chex.assert_trees_all_equal(compile_step(name)(make_state(), blinded), compile_step(name)(make_state(), evidence))
    for need in method.needs:
        with pytest.raises(ValueError, match=f"looks at {need}; the evidence has none; pass all that its `needs`"):
            method.choose(needed._replace(**{need: None}), r=R, num_protected=0)


@all_methods
def test_r_of_0_changes_nothing(name):
    state = make_state()
    choice = METHODS[name].choose(make_evidence(), r=0, num_protected=1)
    merged = ops.merge_tokens(state, choice.plan, choice.weight)
    chex.assert_trees_all_equal(merged, state)


@all_methods
def test_a_batch_equals_its_examples_in_any_order(name):
    state, evidence = make_state(), make_evidence()
    order = np.array([2, 0, 1])
    straight = compile_step(name)(state, evidence)
    permuted = compile_step(name)(*jax.tree.map(lambda a: a[order], (state, evidence)))
    chex.assert_trees_all_equal(permuted, jax.tree.map(lambda a: a[order], straight))
    # The others don't matter: with two examples replaced by the first, the first stays what it is.
    repeated = compile_step(name)(*jax.tree.map(lambda a: jnp.broadcast_to(a[:1], a.shape), (state, evidence)))
    chex.assert_trees_all_equal(*(jax.tree.map(lambda a: a[:1], found) for found in (repeated, straight)))


@pytest.mark.parametrize("num_protected", [0, 1])
@all_methods
def test_every_token_is_kept_absorbed_or_dropped_once_and_survivors_stay_in_order(name, num_protected):
    _, choice = compile_step(name, R, num_protected)(make_state(), make_evidence())
    kept, absorbed, target = (np.asarray(part) for part in choice.plan)
    assert kept.dtype == absorbed.dtype == target.dtype == np.int32
    assert kept.shape == (BATCH, NUM_TOKENS - R)
    for b in range(BATCH):
        together = [*kept[b], *absorbed[b]]
        assert len(set(together)) == len(together)
        assert list(kept[b][:num_protected]) == list(range(num_protected))
        assert all(num_protected <= place < NUM_TOKENS for place in absorbed[b])
        assert all(num_protected <= place < NUM_TOKENS - R for place in target[b])
        free = kept[b][num_protected:] - num_protected
        runs = [free[free % 2 == 0], free[free % 2 == 1]] if METHODS[name].halves else [free]
        assert all((np.diff(run) > 0).all() for run in runs)
    assert absorbed.shape[1] in (0, R)
    assert (absorbed.shape[1] > 0) == METHODS[name].grows


@all_methods
def test_weights_and_scores_are_within_0_and_1_and_sizes_never_shrink(name):
    state, evidence = make_state(), make_evidence()
    merged, choice = compile_step(name)(state, evidence)
    for values in (choice.weight, choice.score):
        if values is not None:
            assert values.shape == (BATCH, NUM_TOKENS)
            assert values.dtype == jnp.float32
            assert 0 <= float(values.min()) <= float(values.max()) <= 1
    before = np.take_along_axis(np.asarray(state.size), np.asarray(choice.plan.kept), axis=1)
    assert (np.asarray(merged.size) >= before).all()
    if not METHODS[name].grows:
        np.testing.assert_array_equal(merged.size, before)
    elif choice.weight is None:
        np.testing.assert_allclose(merged.size.sum(1), state.size.sum(1), rtol=1e-6)


@all_methods
def test_a_method_goes_to_its_limit_and_no_further(name):
    method = METHODS[name]
    for num_tokens in (2, 5):
        evidence = jax.tree.map(lambda a, n=num_tokens: a[:, -n:], make_evidence())
        limit, _ = method.find_limit(num_tokens, num_first=1)
        plan = jax.eval_shape(functools.partial(method.choose, r=limit, num_protected=0), evidence).plan
        assert plan.kept.shape == (BATCH, num_tokens - limit)
        if not method.is_early:
            with pytest.raises(ValueError, match=rf"r is from 0 to {limit} \(.*\); got {limit + 1}"):
                method.choose(evidence, r=limit + 1, num_protected=0)
        with pytest.raises(ValueError, match="got -1"):
            method.choose(evidence, r=-1, num_protected=0)


@all_methods
def test_gradients_are_finite_and_reach_the_tokens(name):
    state, evidence = make_state(), make_evidence()

    def loss(tokens, floats):
        merged, _ = compile_step(name)(state._replace(tokens=tokens), Evidence(tokens, *floats[1:]))
        return jnp.square(merged.tokens).sum() + merged.size.sum()

    gradients = jax.grad(loss, argnums=(0, 1))(state.tokens, tuple(evidence))
    chex.assert_tree_all_finite(gradients)
    assert float(jnp.abs(gradients[0]).min(-1).max()) > 0


@all_methods
def test_16_bits_stay_16_bits(name):
    def halve(values):
        return values.astype(jnp.bfloat16)

    state, evidence = make_state(), make_evidence()
    evidence = evidence._replace(
        features=halve(evidence.features), keys=halve(evidence.keys), update=halve(evidence.update)
    )
    merged, _ = compile_step(name)(state._replace(tokens=halve(state.tokens)), evidence)
    assert merged.tokens.dtype == jnp.bfloat16
    assert merged.size.dtype == jnp.float32


@all_methods
def test_evidence_that_tells_nothing_gives_no_nan(name):
    flat = jax.tree.map(jnp.zeros_like, make_evidence())
    merged, choice = compile_step(name)(make_state(), flat)
    chex.assert_tree_all_finite((merged, choice.weight, choice.score))


def test_early_methods_keep_the_first_moment():
    _, choice = compile_step("rlt", NUM_TOKENS - 4)(make_state(), make_evidence())
    np.testing.assert_array_equal(choice.plan.kept, np.broadcast_to(np.arange(4), (BATCH, 4)))


def test_controls_are_the_same_everywhere_and_differ_by_length():
    assert (draw_scores(9) * 9).round().tolist() == PLACES_OF_9
    assert (draw_scores(10) * 10).round().tolist()[:9] != PLACES_OF_9


@pytest.mark.parametrize(("name", "num_free", "expected"), [
    ("vidtldr", 9, 5 * 4 * 12),
    ("tome", 9, 5 * 4 * 12),
    ("tome_mean_keys", 9, 5 * 4 * 4),
    ("random_merge", 9, 5 * 4 * 12),
    ("evit", 9, 0),
    ("random_drop", 9, 0),
])  # fmt: skip
def test_comparisons_are_counted(name, num_free, expected):
    assert METHODS[name].count_matching(num_free, dim=12, num_heads=3) == expected


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(ValueError, match=r"methods are vidtldr, .*; got 'tomme'; did you mean 'tome'\?"):
        get_method("tomme")
    with pytest.raises(ValueError, match="got 'xyz'; take one of them"):
        get_method("xyz")


def test_a_method_of_ones_own_is_passed_on():
    def keep_first(evidence, *, r, num_protected):
        score = -jnp.broadcast_to(
            jnp.arange(evidence.features.shape[1], dtype=jnp.float32), evidence.features.shape[:2]
        )
        return Choice(ops.keep_best(score, r=r, num_protected=num_protected))

    mine = Method(name="keep_first", summary="", source="", choose=keep_first, halves=False, grows=False)
    assert get_method(mine) is mine
    assert resolve_schedule("7", num_tokens=9, num_layers=2, method=mine).tokens == (9, 2, 2)
    other = dataclasses.replace(mine, halves=True)
    assert resolve_schedule("7", num_tokens=9, num_layers=2, method=other).clamps == (
        "layer 0: r = 7 clamped to 4, half of 9 tokens",
    )
