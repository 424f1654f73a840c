"""The block and encoder for big_vision in docs/own-model.md: in its stand-in, and in the original.

The original runs where it is on the path, PYTHONPATH=../big_vision, with TensorFlow, einops and ml_collections.
"""

import functools
import importlib
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.docs.page_definitions import define
from tests.docs.stand_in_modules import load_stand_in
from tests.reference.parameters import assert_trains, shake

DROPOUT = {"dropout": jax.random.key(5)}
SIZES = {"patch_size": (8, 8), "width": 32, "depth": 2, "mlp_dim": 48, "num_heads": 4, "head_zeroinit": False}


@pytest.fixture
def original(monkeypatch):
    """big_vision's own `models/vit.py`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module("big_vision.models.vit")
    except ImportError as error:
        pytest.skip(f"needs a clone of google-research/big_vision on the path, and what it imports: {error}")
    monkeypatch.setattr(module, "Encoder", module.Encoder)  # put back after the test
    return module


@pytest.fixture(params=["stand-in", "original"])
def vit(request):
    return load_stand_in("big_vision") if request.param == "stand-in" else request.getfixturevalue("original")


def make_images():
    return jnp.asarray(np.random.default_rng(2).normal(size=(2, 40, 40, 3)), jnp.float32)


def put_in(vit, schedule, num_protected=0):
    _, encoder = define("docs/own-model.md", "MergingViTBlock", "MergingEncoder", vit=vit, eqx=None)
    vit.Encoder = functools.partial(encoder, schedule=schedule, num_protected=num_protected)


def assert_close(found, expected):
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=3e-6, rtol=1e-6), found, expected)


@pytest.mark.parametrize("pool_type", ["gap", "tok"])
@pytest.mark.parametrize("is_training", [False, True])
def test_without_merging_its_models_are_what_they_were(vit, pool_type, is_training):
    model = vit.Model(10, **SIZES, dropout=0.2, pool_type=pool_type)
    first = model.init(jax.random.key(1), make_images())
    params = shake(first)

    def run(params):
        logits, out = model.apply(params, make_images(), train=is_training, rngs=DROPOUT)
        return logits, out["logits_2d"]

    expected = jax.jit(run)(params)
    put_in(vit, "none", num_protected=int(pool_type == "tok"))
    found = jax.jit(lambda params: run(params))(params)  # another function, so that nothing is taken from a cache
    assert_close(found, expected)
    jax.tree.map(np.testing.assert_array_equal, model.init(jax.random.key(1), make_images()), first)


@pytest.mark.parametrize("pool_type", ["gap", "tok"])
def test_its_models_merge_and_train(vit, pool_type):
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
    assert lengths == [tokens - 6, tokens - 10]
    assert dense.shape == (2, 5, 5, 10)
    places = np.asarray(dense).reshape(2, 25, 10)
    assert {len(np.unique(example.round(5), axis=0)) for example in places} <= set(range(14, 17))


def test_the_stand_in_has_the_parameters_and_outputs_of_the_original(original):
    model, stand_in = (module.Model(10, **SIZES) for module in (original, load_stand_in("big_vision")))
    params = model.init(jax.random.key(1), make_images())
    jax.tree.map(np.testing.assert_array_equal, stand_in.init(jax.random.key(1), make_images()), params)
    found, expected = (made.apply(shake(params), make_images())[0] for made in (stand_in, model))
    assert_close(found, expected)
