from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.models.video_vit import VideoViT

pytest.importorskip("optax")


@pytest.fixture
def start():
    import train
    import training

    config = dataclasses.replace(train.CONFIG, image_size=16, dim=24, depth=1, num_heads=2, mlp_dim=24, embed_dim=5)
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (2, 16, 16, 16, 3), dtype=np.uint8)
    flat = {
        name: (0.05 * rng.normal(size=shape) + name.endswith("scale")).astype(np.float32)
        for name, shape in find_param_shapes(config).items()
    }
    params = traverse_util.unflatten_dict(flat, sep="/")
    task = training.Task(
        config=config,
        make_params=lambda seed: jax.tree.map(jnp.array, params),
        pick_video=lambda params: params,
        find_loss=train.find_cross_entropy,
        draw_batch=lambda step, hardness: (clips, np.array([1, 7])),
        find_score=lambda params: float(np.abs(params["head"]["bias"]).sum()),
    )
    return clips, params, task


def test_the_sparse_forward_pass_on_all_tokens_is_the_model(start):
    import training

    clips, params, task = start
    video = training.normalise(clips)
    kept = jnp.tile(jnp.arange(task.config.num_tokens), (2, 1))
    model = VideoViT(task.config)
    encode_some = jax.jit(functools.partial(training.encode_some_tokens, config=task.config))
    expected = jax.jit(lambda params: model.apply({"params": params}, video))(params)
    everything, fewer = encode_some(params, video, kept), encode_some(params, video, kept[:, ::3])
    for name in ("logits", "embedding"):  # float32 sums in another order
        wanted = getattr(expected, name)
        np.testing.assert_allclose(getattr(everything, name), wanted, rtol=1e-4, atol=1e-5)
        assert np.abs(np.asarray(getattr(fewer, name) - wanted)).max() > 1e-3


@pytest.mark.parametrize(("optimizer", "num_tokens", "size"), [("adamw", 12, 16), ("muon", 32, 16), ("muon", 32, 8)])
def test_some_steps_lower_the_loss_of_one_batch(start, optimizer, num_tokens, size):
    import training

    clips, params, task = start
    recipe = training.Recipe(warmup_steps=1, learning_rate=1e-3, optimizer=optimizer)
    state = training.TrainState(task.make_params(0), task.make_params(0), training.make_optimizer(recipe).init(params))
    labels = np.array([1, 7])
    losses = []
    for _ in range(4):
        state, loss = training.train_step(
            state, clips, labels, jax.random.key(0), task=task, recipe=recipe, num_tokens=num_tokens, size=size
        )
        losses.append(float(loss))
    assert losses[-1] < losses[1]
    assert all(np.isfinite(losses))


def test_a_run_writes_a_checkpoint_that_the_package_reads_and_leaves_no_progress_file(start, tmp_path, capsys):
    import training

    _, params, task = start
    recipe = training.Recipe(steps=2, sparse_steps=0, warmup_steps=1, ema=0.0)
    written = training.run(
        tmp_path / "model", lambda recipe: task, recipe, made_by="a test", labels=list("abcdefghijkl")
    )
    model = load_model(str(tmp_path / "model"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert model.source["recipe"]["steps"] == 2
    assert "step 2/2" in capsys.readouterr().out
    np.testing.assert_array_equal(model.params["head"]["kernel"], written["head"]["kernel"].astype(np.float32))
    assert np.abs(written["head"]["kernel"].astype(np.float32) - params["head"]["kernel"]).max() > 1e-5


def test_a_fault_while_rendering_reaches_the_one_who_trains(start):
    import training

    _, _, task = start

    def draw_batch(step, hardness):
        raise OSError("no such photo")

    broken = dataclasses.replace(task, draw_batch=draw_batch)
    with pytest.raises(OSError, match="no such photo"):
        next(training.stream_batches(broken, training.Recipe(steps=3)))


def test_evaluation_statistics_agree_with_known_values():
    import evaluate

    np.testing.assert_allclose(evaluate.find_interval(90, 100), (0.8256, 0.9448), atol=1e-4)
    assert evaluate.find_sign_test(0, 0) == 1.0
    assert evaluate.find_sign_test(5, 5) == 1.0
    np.testing.assert_allclose(evaluate.find_sign_test(1, 9), 22 / 1024)
