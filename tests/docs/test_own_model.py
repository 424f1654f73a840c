"""The blocks of docs/own-model.md do what the page promises: same parameters, r = 0 within 1e-6, dropout, jit and grad.

Those for big_vision run in its stand-in, and in the original where it is on the path: PYTHONPATH=../big_vision. It
imports TensorFlow, einops and ml_collections.
"""

import ast
import functools
import importlib
import warnings

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.docs.markdown_pages import read_blocks
from tests.docs.stand_in_modules import load_stand_in
from vidtldr_jax import ops

PAGE = "docs/own-model.md"
DIM, HEADS, TOKENS = 32, 4, 24
ROUNDING = 1e-6  # of another order of the same sums
DROPOUT = {"dropout": jax.random.key(5)}


def define(*names, **given):
    """Returns the classes of these names as the page has them; what else its blocks do is not done."""
    blocks = [block.text for block in read_blocks(PAGE) if block.language == "python"]
    kept = [text for text in blocks if "import vidtldr_jax" in text or any(f"class {name}(" in text for name in names)]
    nodes = [node for text in kept for node in ast.parse(text).body]
    is_kept = (ast.Import, ast.ImportFrom, ast.ClassDef)
    nodes = [node for node in nodes if isinstance(node, is_kept) and "big_vision" not in ast.unparse(node)]
    scope = {"__name__": "__main__", **given}
    exec(compile(ast.Module(nodes, []), PAGE, "exec"), scope)
    return [scope[name] for name in names]


@functools.cache
def make_tokens():
    return jax.random.normal(jax.random.key(0), (2, TOKENS, DIM))


def shake(tree):
    """Moves every parameter, so that no bias is 0 and no scale 1."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    shaken = [leaf + 0.05 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves)]
    return jax.tree.unflatten(structure, shaken)


def assert_close(found, expected, atol=ROUNDING):
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=atol, rtol=1e-6), found, expected)


def assert_trains(gradient):
    leaves = jax.tree.leaves(gradient)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert all(np.abs(leaf).max() > 0 for leaf in leaves if leaf.ndim > 1)


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
        spreads = [float(np.std(found, axis=0).mean()) for found in (ours, theirs)]
        assert spreads[0] == pytest.approx(spreads[1], rel=0.03)
        np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=6 * spreads[1] / 300**0.5)


def shake_equinox(block):
    arrays, rest = eqx.partition(block, eqx.is_array)
    return eqx.combine(shake(arrays), rest)


SIZES = {"patch_size": (8, 8), "width": DIM, "depth": 3, "mlp_dim": 48, "num_heads": HEADS, "head_zeroinit": False}


@pytest.fixture(params=["stand-in", "original"])
def vit(request, monkeypatch):
    """big_vision's `models/vit.py`, or what stands for it."""
    if request.param == "stand-in":
        return load_stand_in("big_vision")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module("big_vision.models.vit")
    except ImportError as error:
        pytest.skip(f"needs a clone of google-research/big_vision on the path, and what it imports: {error}")
    monkeypatch.setattr(module, "Encoder", module.Encoder)  # put back after the test
    return module


@functools.cache
def make_images():
    return jax.random.normal(jax.random.key(2), (2, 40, 40, 3))


def put_in(vit, schedule, num_protected=0):
    _, encoder = define("MergingViTBlock", "MergingEncoder", vit=vit)
    vit.Encoder = functools.partial(encoder, schedule=schedule, num_protected=num_protected)


class TestBigVision:
    @pytest.mark.parametrize("pool_type", ["gap", "tok"])
    @pytest.mark.parametrize("is_training", [False, True])
    def test_without_merging_its_models_are_what_they_were(self, vit, pool_type, is_training):
        model = vit.Model(10, **SIZES, dropout=0.2, pool_type=pool_type)
        first = model.init(jax.random.key(1), make_images())
        params = shake(first)

        def run(params):
            logits, out = model.apply(params, make_images(), train=is_training, rngs=DROPOUT)
            return logits, out["logits_2d"]

        expected = jax.jit(run)(params)
        put_in(vit, "none", num_protected=int(pool_type == "tok"))
        found = jax.jit(lambda params: run(params))(params)  # another function, so that nothing is taken from a cache
        assert_close(found, expected, atol=3 * ROUNDING)  # three blocks
        jax.tree.map(np.testing.assert_array_equal, model.init(jax.random.key(1), make_images()), first)

    @pytest.mark.parametrize("pool_type", ["gap", "tok"])
    def test_its_models_merge_and_train(self, vit, pool_type):
        model = vit.Model(10, **SIZES, dropout=0.2, pool_type=pool_type)
        params = shake(model.init(jax.random.key(1), make_images()))
        put_in(vit, "6,4", num_protected=int(pool_type == "tok"))
        lengths = []

        def note(next_call, arguments, fields, context):
            if isinstance(context.module, vit.MlpBlock):
                lengths.append(arguments[0].shape[1])
            return next_call(*arguments, **fields)

        @jax.jit
        @functools.partial(jax.grad, has_aux=True)
        def differentiate(params):
            with nn.intercept_methods(note):
                logits, out = model.apply(params, make_images(), train=True, rngs=DROPOUT)
            return (logits**2).mean(), out["logits_2d"]

        gradient, dense = differentiate(params)
        assert_trains(gradient)
        tokens = 25 + (pool_type == "tok")
        assert lengths == [tokens - 6, tokens - 10, tokens - 10]
        assert dense.shape == (2, 5, 5, 10)
        places = np.asarray(dense).reshape(2, 25, 10)
        assert {len(np.unique(example.round(5), axis=0)) for example in places} <= set(range(14, 17))

    def test_the_stand_in_has_the_parameters_and_outputs_of_the_original(self, vit):
        model, stand_in = (module.Model(10, **SIZES) for module in (vit, load_stand_in("big_vision")))
        params = model.init(jax.random.key(1), make_images())
        jax.tree.map(np.testing.assert_array_equal, stand_in.init(jax.random.key(1), make_images()), params)
        found, expected = (made.apply(shake(params), make_images())[0] for made in (stand_in, model))
        assert_close(found, expected)


def test_dropped_places_take_what_they_are_filled_with():
    tokens, source = jnp.arange(6.0).reshape(1, 3, 2), jnp.asarray([[0, -1, 2, 1]])
    filled = ops.unmerge_tokens(tokens, source, fill=tokens.mean(1, keepdims=True))
    np.testing.assert_array_equal(filled[0], [[0, 1], [2, 3], [4, 5], [2, 3]])
