"""Tracing every layer: what is merged stays what it was, and layers that merge nothing tell what the method sees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from tests.reference.inputs import make_params
from vidtldr_jax.models.architectures import make_module
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.stacking import stack_blocks
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction.methods import METHODS

FIELDS = {"num_frames": 4, "image_size": 24, "patch_size": 8, "tubelet_size": 2, "dim": 16, "num_heads": 2}
LAYERS = {"depth": 4, "mlp_dim": 32, "num_classes": 5}
CONFIGS = {
    "video_vit": VideoViTConfig(**FIELDS, **LAYERS),
    "class token": ViViTConfig(**FIELDS, **LAYERS),
    "factorised encoder": ViViTConfig(**FIELDS, **LAYERS, attention="factorized_encoder", temporal_depth=2),
}
R = (0, 3, 0, 2)


@functools.cache
def run(name, r, trace, method="vidtldr", is_stacked=False):
    config = CONFIGS[name]
    flat = make_params(config, 0)
    params = traverse_util.unflatten_dict(stack_blocks(flat) if is_stacked else flat, sep="/")
    video = jax.random.normal(jax.random.key(1), (2, config.num_frames, config.image_size, config.image_size, 3))
    module = make_module(config, r=r, method=METHODS[method], is_stacked=is_stacked)
    return jax.jit(lambda p, v: module.apply({"params": p}, v, trace=trace))(params, video)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_layer_has_a_step_and_who_went_where_is_the_same(name):
    usual, whole = run(name, R, True), run(name, R, "every_layer")
    assert (len(usual.trace.steps), len(whole.trace.steps)) == (2, 4)
    np.testing.assert_array_equal(whole.trace.source, usual.trace.source)
    np.testing.assert_allclose(whole.trace.weight, usual.trace.weight, atol=1e-5)  # float32, another attention form
    for step, layer in zip(usual.trace.steps, (1, 3)):
        np.testing.assert_array_equal(whole.trace.steps[layer].source, step.source)
        np.testing.assert_allclose(whole.trace.steps[layer].saliency, step.saliency, atol=1e-5)
    np.testing.assert_allclose(whole.logits, usual.logits, atol=2e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_layer_that_merges_nothing_tells_the_saliency_by_which_it_would_merge(name):
    watched = run(name, (0, 0, 0, 0), "every_layer").trace.steps
    merging = run(name, (3, 0, 0, 0), True).trace.steps
    np.testing.assert_allclose(watched[0].saliency, merging[0].saliency, atol=1e-5)
    spread = np.asarray(watched[3].saliency)
    assert spread.min() == 0.0
    assert spread.max() == 1.0
    assert np.unique(spread).size > 4


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_before_a_layer_are_those_of_the_sizes_there(name):
    out = run(name, R, "every_layer")
    assert (np.asarray(out.trace.steps[0].weight) == 1).all()
    for source, weight, size in [(out.trace.source, out.trace.weight, out.size)]:
        for example in range(2):
            held = np.asarray(source[example]) >= 0
            sums = np.bincount(np.asarray(source[example])[held], np.asarray(weight[example])[held], size.shape[1])
            np.testing.assert_allclose(sums, size[example], rtol=1e-6)
    for step in out.trace.steps:
        assert (np.asarray(step.weight)[np.asarray(step.source) < 0] == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_watched(method):
    if METHODS[method].is_early:
        assert len(run("video_vit", (5, 0, 0, 0), "every_layer", method).trace.steps) == 1
        return
    steps = run("video_vit", R, "every_layer", method).trace.steps
    assert [step.saliency.shape[1] for step in steps] == [18, 18, 15, 15]
    assert all(bool(jnp.isfinite(step.saliency).all()) for step in steps)


def test_stacked_blocks_can_be_watched():
    apart, stacked = run("video_vit", R, "every_layer"), run("video_vit", R, "every_layer", is_stacked=True)
    assert len(stacked.trace.steps) == 4
    for one, other in zip(apart.trace.steps, stacked.trace.steps):
        np.testing.assert_allclose(one.saliency, other.saliency, atol=1e-6)
        np.testing.assert_array_equal(one.source, other.source)
