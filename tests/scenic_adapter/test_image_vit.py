"""Our encoder in Scenic's plain image ViT, as docs/scenic.md puts it there: in its stand-in, and in Scenic itself."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from tests.docs.page_definitions import define
from tests.docs.stand_in_modules import load_stand_in
from tests.reference.parameters import assert_trains, shake
from vidtldr_jax.scenic_adapter.availability import find_scenic_fault

SIZES = {"num_layers": 2, "num_heads": 4, "mlp_dim": 64, "hidden_size": 32, "num_classes": 10}
RATES = {"dropout_rate": 0.2, "attention_dropout_rate": 0.3}


@pytest.fixture
def original(monkeypatch):
    """Scenic's own module."""
    if (fault := find_scenic_fault()) is not None:
        pytest.skip(f"nothing is compared with Scenic: {fault}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scenic.projects.baselines import vit
    monkeypatch.setattr(vit, "Encoder", vit.Encoder)  # put back after the test
    return vit


@pytest.fixture(params=["stand-in", "original"])
def vit(request):
    return load_stand_in("Scenic") if request.param == "stand-in" else request.getfixturevalue("original")


def make_images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)), jnp.float32)


def make_model(vit, classifier):
    patches = ml_collections.ConfigDict({"size": (4, 4)})
    return vit.ViT(**SIZES, **RATES, patches=patches, classifier=classifier)


def init(model):
    return jax.jit(lambda: model.init(jax.random.key(1), make_images(), train=False))()


def run(model, params, train):
    rngs = {"dropout": jax.random.key(3)}
    return jax.jit(lambda params: model.apply(params, make_images(), train=train, rngs=rngs))(params)


def put_in(vit, classifier, schedule):
    _, config = define("docs/scenic.md", "sizes", "config", vit=vit)
    config = dataclasses.replace(config, depth=2, image_size=16, pooling="cls" if classifier == "token" else "mean")
    (vit.Encoder,) = define("docs/scenic.md", "make_encoder", vit=vit, config=config, schedule=schedule)


@pytest.mark.parametrize("classifier", ["gap", "token"])
def test_without_merging_it_is_what_it_was_in_training_too(vit, classifier):
    model = make_model(vit, classifier)
    first = init(model)
    params = shake(first)
    expected = [run(model, params, train) for train in (False, True)]
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    put_in(vit, classifier, schedule=())
    jax.tree.map(np.testing.assert_array_equal, init(model), first)
    for train in (False, True):
        np.testing.assert_allclose(run(model, params, train), expected[train], atol=1e-6)


@pytest.mark.parametrize("classifier", ["gap", "token"])
def test_it_merges_and_trains(vit, classifier):
    model = make_model(vit, classifier)
    params = shake(init(model))
    plain = run(model, params, train=False)
    put_in(vit, classifier, schedule=(6,))
    assert np.abs(run(model, params, train=False) - plain).max() > 1e-3

    @jax.jit
    @jax.grad
    def differentiate(params):
        rngs = {"dropout": jax.random.key(3)}
        return (model.apply(params, make_images(), train=True, rngs=rngs) ** 2).mean()

    assert_trains(differentiate(params))


def test_the_stand_in_has_the_parameters_and_outputs_of_the_original(original):
    for classifier in ("gap", "token"):
        model, stand_in = (make_model(module, classifier) for module in (original, load_stand_in("Scenic")))
        params = init(model)
        jax.tree.map(np.testing.assert_array_equal, init(stand_in), params)
        for train in (False, True):
            found, expected = (run(made, shake(params), train) for made in (stand_in, model))
            np.testing.assert_allclose(found, expected, atol=1e-6)
