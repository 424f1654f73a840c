"""A step: parts add up to the batch, averages, gradients through merging, half precision, one compilation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.squares import CONFIG, PREPROCESSING, make_params
from vidtldr_jax.data.transforms import normalize_frames
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.dropout import DropRates
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction.methods import DEFAULT_METHOD
from vidtldr_jax.train.examples import make_batch
from vidtldr_jax.train.recipe import Recipe
from vidtldr_jax.train.steps import (
    StepSetup,
    choose_params,
    compute_loss,
    find_drop_rates,
    init_state,
    make_dropout_key,
    split_params,
    train_step,
)

RNG = np.random.default_rng(5)
CLIPS = RNG.integers(0, 256, (4, 4, 16, 16, 3), dtype=np.uint8)
CLASSES = np.array([0, 3, 1, 2])
MERGED = (3, 1)
ONE_BLOCK = dataclasses.replace(CONFIG, depth=1)  # half of the compiling


def make_setup(config=ONE_BLOCK, r=(), **fields):
    recipe = Recipe(**({"steps": 4, "batch_size": 4, "learning_rate": 0.01, "warmup": 0.0} | fields))
    return StepSetup(config, PREPROCESSING, recipe, r, DEFAULT_METHOD, 4, 4)


def run(setup, *, steps, params=None, key=None):
    """Takes steps on the same clips; returns the states, and what each step told."""
    trained, frozen = split_params(params or make_params(ONE_BLOCK), setup.recipe)
    state, states, told = init_state(trained, setup), [], []
    for step in range(steps):
        batch = make_batch(CLIPS, CLASSES, setup.recipe, step=step)
        state, metrics = train_step(state, frozen, batch, key, setup=setup)
        states.append(jax.tree.map(np.asarray, state))
        told.append(jax.tree.map(float, metrics))
    return states, told


@functools.cache
def run_averaged():
    return run(make_setup(ema=0.75, label_smoothing=0.1), steps=3)


def test_steps_lower_the_loss_and_count_themselves():
    states, told = run_averaged()
    assert told[2].loss < told[0].loss
    assert [int(state.step) for state in states] == [1, 2, 3]
    expected = [0.01 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(3)]
    np.testing.assert_allclose([metrics.learning_rate for metrics in told], expected, rtol=1e-6)


def test_the_average_is_that_of_numpy():
    states, _ = run_averaged()
    average = make_params(ONE_BLOCK)
    for state in states:
        average = {path: 0.75 * old + 0.25 * state.params[path].astype(np.float64) for path, old in average.items()}
    assert choose_params(states[-1]) is states[-1].average
    for path, value in average.items():
        np.testing.assert_allclose(states[-1].average[path], value, rtol=1e-5, atol=1e-6)
    assert np.abs(states[-1].average["head/kernel"] - states[-1].params["head/kernel"]).max() > 1e-3


def test_parts_add_up_to_the_whole_batch():
    whole, told = run_averaged()
    parts, told_parts = run(make_setup(ema=0.75, label_smoothing=0.1, accumulation=2), steps=1)
    # Sums of float32 in another order; AdamW's first step is near the sign of a gradient, whatever its size.
    assert told_parts[0].loss == pytest.approx(told[0].loss, rel=1e-5)
    assert told_parts[0].gradient_norm == pytest.approx(told[0].gradient_norm, rel=1e-4)
    assert told_parts[0].accuracy == told[0].accuracy
    for path, value in whole[0].params.items():
        np.testing.assert_allclose(parts[0].params[path], value, rtol=1e-3, atol=1e-4, err_msg=path)


def test_runs_that_differ_in_their_clips_alone_share_a_program():
    fields = {"seed": 4, "few": 2, "mirror": True, "crop": 0.5, "keep": "best", "evaluate_every": 3, "steps": 9}
    assert Recipe(**fields).strip() == Recipe().strip()
    assert Recipe(ema=0.5).strip() != Recipe().strip()
    everything = Recipe(probe=True, ema=0.5, clip_norm=2.0, dtype="bfloat16", random_time=False)
    assert everything.strip() == everything.strip().strip()


def test_one_setup_is_compiled_once():
    setup = make_setup(label_smoothing=0.2, probe=True)
    before = train_step._cache_size()
    run(setup, steps=2)
    run(make_setup(label_smoothing=0.2, probe=True), steps=1, params=make_params(ONE_BLOCK, seed=3))
    assert train_step._cache_size() == before + 1


def test_a_probe_moves_the_classifier_alone():
    setup = make_setup(label_smoothing=0.2, probe=True)
    states, _ = run(setup, steps=2)
    assert set(states[-1].params) == {"head/kernel", "head/bias"}
    start = make_params(ONE_BLOCK)
    assert all(np.abs(states[-1].params[path] - start[path]).max() > 1e-3 for path in states[-1].params)
    assert set(split_params(start, setup.recipe)[1]) == set(start) - {"head/kernel", "head/bias"}


@functools.cache
def get_gradient_function():
    setup = make_setup(CONFIG, MERGED)
    part = jax.tree.map(lambda leaf: leaf[0], make_batch(CLIPS, CLASSES, setup.recipe, step=0))
    return jax.jit(jax.value_and_grad(lambda params: compute_loss(params, {}, part, setup=setup)[0]))


def test_gradients_go_through_merging_to_every_parameter():
    _, gradients = get_gradient_function()(make_params())
    assert all(np.isfinite(value).all() for value in gradients.values())
    sizes = {path: float(np.abs(value).max()) for path, value in gradients.items()}
    assert [path for path, size in sizes.items() if size < 1e-6] == []


def test_the_merged_loss_is_that_of_the_merged_model():
    loss, _ = get_gradient_function()(make_params())
    model = VideoModel(make_params(), CONFIG, preprocessing=PREPROCESSING, schedule=list(MERGED))
    video = normalize_frames(CLIPS, mean=PREPROCESSING.mean, std=PREPROCESSING.std)
    logits = np.asarray(model.classify(video), np.float64)
    own = logits[np.arange(len(CLASSES)), CLASSES]
    assert float(loss) == pytest.approx((np.log(np.exp(logits).sum(-1)) - own).mean(), abs=1e-5)


def test_gradients_are_the_slope_of_the_merged_loss():
    function, params = get_gradient_function(), make_params()
    rng = np.random.default_rng(8)
    # Query and key of the first block reach the loss through its saliency, that is through the merge, too.
    for path in ("encoder/block_0/attn/query/kernel", "encoder/block_0/attn/proj/kernel", "patch_embed/bias"):
        way = rng.normal(size=params[path].shape).astype(np.float32)
        way /= np.linalg.norm(way)
        _, gradients = function(params)
        ahead, behind = (function(params | {path: params[path] + np.float32(sign * 2e-3) * way})[0] for sign in (1, -1))
        slope = (float(ahead) - float(behind)) / 4e-3
        expected = float((gradients[path] * way).sum())
        assert slope == pytest.approx(expected, rel=0.05, abs=2e-4), path


def test_half_precision_computes_but_keeps_single_precision_parameters():
    states, told = run(make_setup(label_smoothing=0.1, dtype="bfloat16"), steps=3)
    assert {value.dtype for value in states[-1].params.values()} == {np.dtype("float32")}
    _, exact = run_averaged()
    assert told[0].loss == pytest.approx(exact[0].loss, rel=0.03)
    assert told[0].loss != exact[0].loss
    assert told[2].loss < told[0].loss


def test_a_step_draws_from_the_key_of_the_run_and_its_own_number():
    fields = {"dropout": 0.3, "drop_path": 0.3, "head_dropout": 0.3}
    setup, key = make_setup(**fields), make_dropout_key(5)
    states, told = run(setup, steps=2, key=key)
    part = jax.tree.map(lambda leaf: leaf[0], make_batch(CLIPS, CLASSES, setup.recipe, step=0))
    find = jax.jit(lambda params, key: compute_loss(params, {}, part, key, setup=setup)[0])
    for step, params in enumerate((make_params(ONE_BLOCK), states[0].params)):
        losses = [float(find(params, jax.random.fold_in(key, number))) for number in range(3)]
        assert told[step].loss == pytest.approx(losses[step], rel=1e-5)
        assert len({round(loss, 3) for loss in losses}) == 3
    _, told_again = run(make_setup(remat=True, **fields), steps=2, key=key)
    assert told_again[1].loss == pytest.approx(told[1].loss, rel=1e-4), "blocks computed again draw the same"
    assert not jnp.array_equal(jax.random.key_data(make_dropout_key(6)), jax.random.key_data(key))


def test_parts_of_a_batch_draw_apart(monkeypatch):
    monkeypatch.setattr(
        "vidtldr_jax.train.steps.compute_loss",
        lambda trained, frozen, part, key, *, setup: (jax.random.uniform(key), jnp.zeros(())),
    )
    setup = make_setup(accumulation=2, dropout=0.25)
    _, told = run(setup, steps=1, key=make_dropout_key(0))
    keys = jax.random.split(jax.random.fold_in(make_dropout_key(0), 0), 2)
    assert told[0].loss == pytest.approx(float(jax.vmap(jax.random.uniform)(keys).mean()), rel=1e-5)


def test_what_is_dropped_is_what_the_original_drops():
    recipe = Recipe(dropout=0.1, attention_dropout=0.2, drop_path=0.3, head_dropout=0.4)
    shared = {"tokens": 0.1, "update": 0.1, "attention": 0.2, "path": 0.3, "head": 0.4}
    vivit = ViViTConfig(
        num_frames=4, image_size=16, patch_size=8, tubelet_size=2, dim=8, depth=1, num_heads=2, mlp_dim=8
    )
    assert find_drop_rates(recipe, CONFIG) == DropRates(**shared)
    assert find_drop_rates(recipe, vivit) == DropRates(**shared, hidden=0.1, rescale_path=False)
    assert find_drop_rates(Recipe(), vivit).is_zero


def test_a_step_that_drops_needs_a_key():
    with pytest.raises(ValueError, match="got no 'dropout' among rngs"):
        run(make_setup(dropout=0.2), steps=1)
