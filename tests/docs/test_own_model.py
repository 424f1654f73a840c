"""The blocks of docs/own-model.md keep their promises: same parameters, r = 0 within 3e-6, dropout, jit, grad."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import vidtldr_jax as vt
from tests.docs.page_definitions import define as define_of_page
from tests.reference.parameters import assert_trains, shake
from vidtldr_jax import ops

PAGE = "docs/own-model.md"
DIM, HEADS, TOKENS = 32, 4, 24
ROUNDING = 3e-6  # of another order of the same sums, on values of about 2; 2e-6 was seen with jax 0.12
DROPOUT = {"dropout": jax.random.key(5)}


def define(*names):
    """Returns the classes of these names as the page has them."""
    return define_of_page(PAGE, *names, vit=None)


def make_tokens():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, TOKENS, DIM)), jnp.float32)


def assert_close(found, expected, atol=ROUNDING):
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=atol, rtol=1e-6), found, expected)


class TestLinen:
    def test_it_has_the_parameters_of_the_plain_block(self):
        plain, merging = define("Block", "MergingBlock")
        made = plain(HEADS).init(jax.random.key(1), make_tokens())
        ours = merging(HEADS, r=6).init(jax.random.key(1), ops.init_merge_state(make_tokens()))
        jax.tree.map(np.testing.assert_array_equal, made, ours)

    @pytest.mark.parametrize("is_training", [False, True])
    def test_without_merging_it_is_the_plain_block_in_values_and_gradients(self, is_training):
        plain, merging = (block(HEADS, dropout_rate=0.3) for block in define("Block", "MergingBlock"))
        params = shake(plain.init(jax.random.key(1), make_tokens()))
        call = {"deterministic": not is_training, "rngs": DROPOUT}

        @jax.jit
        @functools.partial(jax.value_and_grad, has_aux=True)
        def run_plain(params):
            found = plain.apply(params, make_tokens(), **call)
            return (found**2).mean(), found

        @jax.jit
        @functools.partial(jax.value_and_grad, has_aux=True)
        def run_merging(params):
            found = merging.apply(params, ops.init_merge_state(make_tokens()), **call).tokens
            return (found**2).mean(), found

        assert_close(run_merging(params), run_plain(params))
        if is_training:
            still = plain.apply(params, make_tokens())
            assert np.abs(run_plain(params)[0][1] - still).max() > 0.1

    def test_it_merges_and_trains_with_dropout(self):
        plain, merging = define("Block", "MergingBlock")
        params = shake(plain(HEADS).init(jax.random.key(1), make_tokens()))
        merging = merging(HEADS, r=6, dropout_rate=0.3)

        @jax.jit
        @jax.grad
        def differentiate(params):
            state = merging.apply(params, ops.init_merge_state(make_tokens()), deterministic=False, rngs=DROPOUT)
            assert state.tokens.shape == (2, TOKENS - 6, DIM)
            return (state.tokens**2).mean()

        assert_trains(differentiate(params))


class TestNnx:
    @staticmethod
    def make(r=0, dropout_rate=0.0):
        (block,) = define("NnxBlock")
        made = block(DIM, HEADS, r=r, dropout_rate=dropout_rate, rngs=nnx.Rngs(0))
        nnx.update(made, shake(nnx.state(made, nnx.Param)))
        return made

    @staticmethod
    def run_plain(block, x, deterministic=True):
        x = x + block.attend(block.norm1(x), deterministic=deterministic)
        return x + block.fc2(nnx.gelu(block.fc1(block.norm2(x))))

    @pytest.mark.parametrize("is_training", [False, True])
    def test_without_merging_it_is_the_plain_block_in_values_and_gradients(self, is_training):
        def run_plain(block, x):
            return (self.run_plain(block, x, deterministic=not is_training) ** 2).mean()

        def run_merging(block, x):
            return (block(ops.init_merge_state(x), deterministic=not is_training).tokens ** 2).mean()

        found, expected = (
            nnx.jit(nnx.value_and_grad(run))(self.make(dropout_rate=0.3), make_tokens())
            for run in (run_merging, run_plain)
        )
        assert_close(jax.tree.leaves(found), jax.tree.leaves(expected))

    def test_dropout_draws_anew_in_every_call(self):
        block = self.make(dropout_rate=0.3)
        run = nnx.jit(lambda block, state: block(state, deterministic=False).tokens)
        first, second = (run(block, ops.init_merge_state(make_tokens())) for _ in range(2))
        assert np.abs(first - second).max() > 0.1

    def test_it_merges_in_one_compilation_and_leaves_the_module_as_it_was(self):
        block, traces = self.make(r=6), []

        @nnx.jit
        def run(block, state):
            traces.append(None)
            return block(state)

        for _ in range(3):
            assert run(block, ops.init_merge_state(make_tokens())).tokens.shape == (2, TOKENS - 6, DIM)
        assert len(traces) == 1
        assert block.attend.attention_fn is self.make().attend.attention_fn
        gradient = nnx.jit(nnx.grad(lambda block, state: (block(state).tokens ** 2).mean()))
        assert_trains(gradient(block, ops.init_merge_state(make_tokens())))


class TestEquinox:
    @staticmethod
    def make(r=0, dropout_rate=0.0):
        (block,) = define("EquinoxBlock")
        return shake_equinox(block(DIM, HEADS, r=r, dropout_rate=dropout_rate, key=jax.random.key(0)))

    @staticmethod
    def run_plain(block, x, key=None):
        y = jax.vmap(block.norm1)(x)
        x = x + block.attend(y, y, y, key=key, inference=key is None)
        return x + jax.vmap(block.mlp)(jax.vmap(block.norm2)(x))

    def test_without_merging_it_is_the_plain_block_in_values_and_gradients(self):
        def run_merging(block, x):
            found = jax.vmap(lambda x: block(ops.init_merge_state(x[None])).tokens[0])(x)
            return (found**2).mean()

        def run_plain(block, x):
            return (jax.vmap(lambda x: self.run_plain(block, x))(x) ** 2).mean()

        found, expected = (
            eqx.filter_jit(eqx.filter_value_and_grad(run))(self.make(), make_tokens())
            for run in (run_merging, run_plain)
        )
        assert_close(jax.tree.leaves(found), jax.tree.leaves(expected))

    def test_it_merges_and_trains_with_dropout(self):
        @eqx.filter_jit
        @eqx.filter_grad
        def differentiate(block, x):
            state = block(ops.init_merge_state(x[None]), key=jax.random.key(7))
            assert state.tokens.shape == (1, TOKENS - 6, DIM)
            return (state.tokens**2).mean()

        assert_trains(differentiate(self.make(r=6, dropout_rate=0.3), make_tokens()[0]))

    def test_dropout_spreads_outputs_as_equinox_s_own_does(self):
        block, x = self.make(dropout_rate=0.3), make_tokens()[0]
        keys = jax.random.split(jax.random.key(1), 300)
        ours = jax.jit(jax.vmap(lambda key: block(ops.init_merge_state(x[None]), key=key).tokens[0]))(keys)
        theirs = jax.jit(jax.vmap(lambda key: self.run_plain(block, x, key)))(keys)
        spread, expected = np.std(ours, axis=0), np.std(theirs, axis=0)
        assert float(spread.mean()) == pytest.approx(float(expected.mean()), rel=0.03)
        assert (np.abs(ours.mean(0) - theirs.mean(0)) < 7 * expected / 300**0.5).all()


def shake_equinox(block):
    arrays, rest = eqx.partition(block, eqx.is_array)
    return eqx.combine(shake(arrays), rest)


def test_dropped_places_take_what_they_are_filled_with():
    tokens, source = jnp.arange(6.0).reshape(1, 3, 2), jnp.asarray([[0, -1, 2, 1]])
    filled = ops.unmerge_tokens(tokens, source, fill=tokens.mean(1, keepdims=True))
    np.testing.assert_array_equal(filled[0], [[0, 1], [2, 3], [4, 5], [2, 3]])


class TestMethods:
    def test_the_page_s_own_method_keeps_the_largest_tokens_wherever_it_is_taken(self):
        _, mine = define("keep_largest", "mine")
        tokens = make_tokens()
        order = np.argsort(-(np.asarray(tokens) ** 2).sum(-1), axis=1)[:, : TOKENS - 10]
        expected = np.take_along_axis(np.asarray(tokens), np.sort(order, axis=1)[..., None], axis=1)

        @jax.jit
        def run(tokens):
            state = ops.init_merge_state(tokens)
            reduced = vt.reduce_tokens(state, tokens, r=10, method=mine)
            attention = vt.MergingAttention(state, r=10, method=mine)
            heads = tokens.reshape(2, TOKENS, HEADS, -1)
            attention(heads, heads, heads)
            return reduced.tokens, attention.reduce(jnp.zeros_like(tokens)).tokens

        for found in run(tokens):
            np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(expected, axis=1))
        gradient = jax.grad(lambda tokens: run(tokens)[0].sum())(tokens)
        assert gradient.sum() == expected.size  # 1 for all that is kept, 0 for the rest

    def test_a_rival_needs_what_it_looks_at(self):
        tokens = make_tokens()
        state, heads = ops.init_merge_state(tokens), tokens.reshape(2, TOKENS, HEADS, -1)
        found = vt.reduce_tokens(state, tokens, r=6, method="tome", keys=heads)
        assert found.size.sum() == 2 * TOKENS  # ToMe drops nothing
        with pytest.raises(ValueError, match="looks at keys; the evidence has none"):
            vt.reduce_tokens(state, tokens, r=6, method="tome")
