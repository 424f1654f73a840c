from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models.video_vit import VideoViT

pytest.importorskip("optax")


@pytest.fixture
def start(monkeypatch):
    import train

    small = dataclasses.replace(train.CONFIG, image_size=16, dim=24, depth=1, num_heads=2, mlp_dim=24)
    monkeypatch.setattr(train, "CONFIG", small)
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (2, 16, 16, 16, 3), dtype=np.uint8)
    shapes = find_param_shapes(train.CONFIG)
    flat = {
        name: (0.05 * rng.normal(size=shape) + name.endswith("scale")).astype(np.float32)
        for name, shape in shapes.items()
    }
    return clips, traverse_util.unflatten_dict(flat, sep="/")


def test_the_sparse_forward_pass_on_all_tokens_is_the_model(start):
    import train

    clips, params = start
    video = train.normalise(clips)
    kept = jnp.tile(jnp.arange(train.CONFIG.num_tokens), (2, 1))
    model = VideoViT(train.CONFIG)
    classify_some = jax.jit(train.classify_some_tokens)
    expected = jax.jit(lambda params: model.apply({"params": params}, video).logits)(params)
    everything = classify_some(params, video, kept)
    np.testing.assert_allclose(everything, expected, rtol=1e-4, atol=1e-5)  # float32 sums in another order
    fewer = classify_some(params, video, kept[:, ::3])
    assert np.abs(np.asarray(fewer - expected)).max() > 1e-3


def test_some_steps_lower_the_loss_of_one_batch(start):
    import train

    clips, params = start
    recipe = train.Recipe(warmup_steps=1, learning_rate=1e-3, sparse_tokens=12)
    copies = jax.tree.map(jnp.array, (params, params))
    state = train.TrainState(*copies, train.make_optimizer(recipe).init(params))
    labels = np.array([1, 7])
    losses = []
    for _ in range(4):
        state, loss = train.train_step(
            state, clips, labels, jax.random.key(0), recipe=recipe, num_tokens=recipe.sparse_tokens
        )
        losses.append(float(loss))
    assert losses[-1] < losses[1]
    assert all(np.isfinite(losses))


def test_evaluation_statistics_agree_with_known_values():
    import evaluate

    np.testing.assert_allclose(evaluate.find_interval(90, 100), (0.8256, 0.9448), atol=1e-4)
    assert evaluate.find_sign_test(0, 0) == 1.0
    assert evaluate.find_sign_test(5, 5) == 1.0
    np.testing.assert_allclose(evaluate.find_sign_test(1, 9), 22 / 1024)
