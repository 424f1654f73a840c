"""The optimiser by hand: levels of parameters, what decays, the rate of every step, one update in float64."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.train.squares import CONFIG
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.train.optimizer import find_decayed, find_levels, find_rate, find_rate_scales, make_optimizer
from vidtldr_jax.train.recipe import Recipe

VIVIT = ViViTConfig(
    num_frames=4, image_size=16, patch_size=8, tubelet_size=2, dim=8, depth=2, num_heads=2, mlp_dim=16, num_classes=3,
    attention="factorized_encoder", temporal_depth=3, representation_dim=4,
)  # fmt: skip


def test_levels_count_from_what_makes_tokens_to_the_classifier():
    levels = find_levels(find_param_shapes(CONFIG), CONFIG)
    assert {path.split("/")[0] for path, level in levels.items() if level == 0} == {"patch_embed"}
    assert levels["encoder/block_0/mlp/fc1/kernel"] == 1
    assert levels["encoder/block_1/norm1/scale"] == 2
    assert {levels[path] for path in ("pool_norm/scale", "head/kernel", "head/bias")} == {3}


def test_the_encoder_over_time_follows_that_over_space():
    levels = find_levels(find_param_shapes(VIVIT), VIVIT)
    assert {levels[path] for path in ("pos_embed", "cls_token", "patch_embed/kernel")} == {0}
    assert [levels[f"encoder/block_{n}/mlp/fc1/bias"] for n in range(2)] == [1, 2]
    assert {levels[path] for path in ("encoder/norm/scale", "temporal_pos_embed", "temporal_cls_token")} == {2}
    assert [levels[f"temporal_encoder/block_{n}/mlp/fc1/bias"] for n in range(3)] == [3, 4, 5]
    assert {levels[path] for path in ("temporal_encoder/norm/bias", "pre_logits/kernel", "head/bias")} == {6}


def test_rates_fall_from_the_classifier_down():
    scales = find_rate_scales(find_param_shapes(CONFIG), CONFIG, layer_decay=0.5)
    assert scales["head/kernel"] == 1
    assert scales["encoder/block_1/attn/query/bias"] == 0.5
    assert scales["encoder/block_0/attn/query/bias"] == 0.25
    assert scales["patch_embed/bias"] == 0.125


def test_what_has_one_axis_and_tables_do_not_decay():
    shapes = {**find_param_shapes(VIVIT), **find_param_shapes(dataclasses.replace(CONFIG, positions="learned"))}
    decayed = find_decayed({path: np.zeros(shape) for path, shape in shapes.items()})
    assert decayed["head/kernel"]
    assert decayed["encoder/block_0/attn/query/kernel"]
    assert decayed["patch_embed/kernel"]
    kept = {path for path, is_decayed in decayed.items() if not is_decayed}
    assert {"pos_embed", "temporal_pos_embed", "cls_token", "temporal_cls_token", "head/bias"} <= kept
    assert not any(path.endswith("kernel") for path in kept)
    assert all(path in kept for path in shapes if path.endswith(("scale", "bias")))


def test_the_rate_grows_and_falls_as_said():
    recipe = Recipe(learning_rate=0.2, warmup=0.25)
    rates = [float(find_rate(step, recipe=recipe, num_steps=8)) for step in range(8)]
    expected = [0.1, 0.2, *(0.1 * (1 + np.cos(np.pi * step / 6)) for step in range(6))]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    without = Recipe(learning_rate=0.2, warmup=0.0)
    assert float(find_rate(0, recipe=without, num_steps=8)) == pytest.approx(0.2)


@pytest.mark.parametrize("clip_norm", [0.0, 1.5])
def test_two_updates_are_those_of_float64(clip_norm):
    recipe = Recipe(learning_rate=0.1, warmup=0.5, weight_decay=0.3, layer_decay=0.5, clip_norm=clip_norm, beta2=0.99)
    rng = np.random.default_rng(3)
    shapes = {"head/kernel": (3, 2), "head/bias": (2,), "encoder/block_1/mlp/fc1/kernel": (2, 2)}
    params = {path: rng.normal(size=shape) for path, shape in shapes.items()}
    scales = {"head/kernel": 1, "head/bias": 1, "encoder/block_1/mlp/fc1/kernel": 0.5}
    optimizer = make_optimizer(recipe, CONFIG, num_steps=4)
    ours = {path: np.float32(value) for path, value in params.items()}
    state, update = optimizer.init(ours), jax.jit(optimizer.update)
    first, second = ({path: np.zeros(shape) for path, shape in shapes.items()} for _ in range(2))
    for step in range(2):
        gradients = {path: rng.normal(size=shape) for path, shape in shapes.items()}
        updates, state = update({path: np.float32(value) for path, value in gradients.items()}, state, ours)
        ours = {path: value + updates[path] for path, value in ours.items()}
        norm = np.sqrt(sum((value**2).sum() for value in gradients.values()))
        shorter = min(1.0, clip_norm / norm) if clip_norm else 1.0
        rate = 0.1 * (step + 1) / 2
        for path in shapes:
            gradient = gradients[path] * shorter
            first[path] = 0.9 * first[path] + 0.1 * gradient
            second[path] = 0.99 * second[path] + 0.01 * gradient**2
            moment, square = first[path] / (1 - 0.9 ** (step + 1)), second[path] / (1 - 0.99 ** (step + 1))
            decay = 0.0 if path.endswith("bias") else 0.3 * params[path]
            params[path] = params[path] - rate * scales[path] * (moment / (np.sqrt(square) + 1e-8) + decay)
        for path in shapes:
            np.testing.assert_allclose(ours[path], params[path], rtol=2e-5, atol=1e-6)
