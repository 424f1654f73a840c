"""The module with Scenic's parameters, without Scenic: its stored numbers, and our own ViViT as merging twin."""

import dataclasses
import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import roofline

from checkpoints_convert import convert_checkpoint
from tests.reference.files import find_golden, load_golden
from tests.reference.golden_checkpoints import SCENIC_SETTINGS
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction import count_xla_gmacs, resolve_schedule
from vidtldr_jax.scenic_adapter.modules import MergingViViT, sample_evenly

FACTORIZED = {"attention": "factorized_encoder", "temporal_depth": 1}
SIZE = {"num_frames": 8, "image_size": 32, "patch_size": 8, "tubelet_size": 2}
FIELDS = {**SIZE, "dim": 32, "depth": 3, "num_heads": 4, "mlp_dim": 64, "num_classes": 8}
CONFIGS = {
    "spacetime_token": ViViTConfig(**FIELDS),
    "spacetime_gap": ViViTConfig(**FIELDS, pooling="mean"),
    "factorized_encoder_token": ViViTConfig(**FIELDS, attention="factorized_encoder", temporal_depth=2),
    "factorized_encoder_gap": ViViTConfig(
        **FIELDS, attention="factorized_encoder", temporal_depth=2, pooling="mean"
    ),
}  # fmt: skip


def nest(params):
    return flax.traverse_util.unflatten_dict(params, sep="/")


def flatten(params):
    return flax.traverse_util.flatten_dict(params, sep="/")


@functools.cache
def read_golden(name):
    golden = load_golden(f"scenic/{name}.npz")
    params = {key.removeprefix("params/"): value for key, value in golden.items() if key.startswith("params/")}
    return params, golden["input"], golden.get("logits")


@functools.partial(jax.jit, static_argnames=("module", "train"))
def run(module, params, video, train=False, key=None):
    rngs = None if key is None else {"dropout": key}
    return module.apply({"params": params}, video, train=train, mutable=False, debug=False, rngs=rngs)


@pytest.mark.parametrize("name", CONFIGS)
def test_scenic_s_stored_logits_come_from_scenic_s_own_parameters(name):
    params, video, logits = read_golden(name)
    np.testing.assert_allclose(run(MergingViViT(CONFIGS[name]), nest(params), video), logits, atol=1e-5, rtol=0)


def test_the_layout_of_2023_gives_its_stored_logits():
    state = flax.serialization.msgpack_restore(find_golden("scenic/checkpoint_2023_layout").read_bytes())
    golden = load_golden("scenic/checkpoint_2023_layout.npz")
    logits = run(MergingViViT(CONFIGS["spacetime_token"]), state["optimizer"]["target"], golden["input"])
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_parameter_tree_is_scenic_s(name):
    params, video, _ = read_golden(name)
    module = MergingViViT(CONFIGS[name], schedule=(4,))
    made = jax.eval_shape(lambda key: module.init(key, video, train=False), jax.random.key(0))["params"]
    assert {path: leaf.shape for path, leaf in flatten(made).items()} == {p: v.shape for p, v in params.items()}


@pytest.mark.parametrize(
    ("name", "by_size"),
    [
        ("spacetime_token", False),
        ("spacetime_gap", True),
        ("factorized_encoder_token", False),
        ("factorized_encoder_gap", False),
        ("factorized_encoder_gap", True),
    ],
)
def test_merged_it_equals_our_own_vivit(tmp_path, name, by_size):
    params, video, logits = read_golden(name)
    config = CONFIGS[name]
    convert_checkpoint(find_golden(f"scenic/{name}.npz"), tmp_path / "model", settings=SCENIC_SETTINGS[name])
    model = load_model(tmp_path / "model")
    if by_size:
        config = dataclasses.replace(config, pooling="mean_by_size")
        stored = dataclasses.replace(model.config, pooling="mean_by_size")
        model = VideoModel(model.params, stored, preprocessing=model.preprocessing)
    schedule = "5,3" if config.attention == "factorized_encoder" else "20,0.2"
    entries = resolve_schedule(schedule, num_tokens=config.num_tokens, num_layers=3).requested
    ours = run(MergingViViT(config, schedule=entries), nest(params), video)
    np.testing.assert_allclose(ours, model.with_schedule(schedule).classify(video), atol=1e-5, rtol=0)
    assert np.abs(ours - logits).max() > 1e-3, "merging changes the logits"


@pytest.mark.parametrize(
    ("pooling", "fields"),
    [
        ("max", {}),
        ("sum", {"representation_dim": 12}),
        ("first", {}),
        ("mean", {**FACTORIZED, "temporal_depth": 0}),
        ("cls", {**FACTORIZED, "temporal_num_heads": 2, "temporal_mlp_dim": 9}),
    ],
    ids=["gmp", "gsp with pre_logits", "first patch", "no encoder over time", "another encoder over time"],
)  # fmt: skip
def test_rarer_forms_convert_and_agree_with_our_own_vivit(tmp_path, pooling, fields):
    config = ViViTConfig(**{**FIELDS, "depth": 1, **fields}, pooling=pooling)
    video = read_golden("spacetime_token")[1]
    module = MergingViViT(config, schedule=(3,))
    shapes = jax.eval_shape(lambda key: module.init(key, video, train=False), jax.random.key(0))["params"]
    rng = np.random.default_rng(0)
    params = {
        path: (0.3 * rng.normal(size=leaf.shape)).astype(np.float32) + path.endswith("scale")
        for path, leaf in flatten(shapes).items()
    }
    np.savez(tmp_path / "weights.npz", **params)
    settings = {"pooling": pooling, "frames": 8, "image_size": 32, "attention": config.attention}
    convert_checkpoint(tmp_path / "weights.npz", tmp_path / "model", settings=settings)
    model = load_model(tmp_path / "model", schedule="3")
    for field in ("temporal_depth", "representation_dim", "pooling"):
        assert getattr(model.config, field) == getattr(config, field)
    np.testing.assert_allclose(run(module, nest(params), video), model.classify(video), atol=2e-5, rtol=0)


def test_the_description_of_the_temporal_encoder_is_read_from_its_weights(tmp_path):
    params = dict(read_golden("factorized_encoder_token")[0])
    np.savez(tmp_path / "weights.npz", **params)
    convert_checkpoint(tmp_path / "weights.npz", tmp_path / "model")
    config = load_model(tmp_path / "model").config
    assert (config.temporal_depth, config.temporal_num_heads, config.temporal_mlp_dim) == (2, 4, 64)


def test_dropout_is_random_in_training_only():
    params, video, _ = read_golden("spacetime_token")
    params = nest(params)
    module = MergingViViT(CONFIGS["spacetime_token"], schedule=(8,), dropout_rate=0.2, stochastic_droplayer_rate=0.5)
    plain = run(MergingViViT(CONFIGS["spacetime_token"], schedule=(8,)), params, video)
    np.testing.assert_array_equal(run(module, params, video), plain)
    first, again, other = (run(module, params, video, True, jax.random.key(n)) for n in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3 < np.abs(first - plain).max()


def test_dropout_of_attention_weights_that_drops_none_is_attention():
    params, video, _ = read_golden("spacetime_token")
    module = MergingViViT(CONFIGS["spacetime_token"], schedule=(20, 8), attention_dropout_rate=1e-9)
    trained = run(module, nest(params), video, True, jax.random.key(0))
    np.testing.assert_allclose(trained, run(module, nest(params), video), atol=1e-5, rtol=0)
    dropped = run(dataclasses.replace(module, attention_dropout_rate=0.5), nest(params), video, True, jax.random.key(0))
    assert np.abs(dropped - trained).max() > 1e-3


def test_a_layer_that_is_always_dropped_adds_nothing():
    params, video, _ = read_golden("spacetime_gap")
    silent = {
        path: np.zeros_like(value) if path.startswith("Transformer/encoderblock_2/M") else value
        for path, value in params.items()
    }
    config = CONFIGS["spacetime_gap"]
    kept = run(MergingViViT(config), nest(silent), video)
    # The probability grows from 0 in the first layer to 1 in the last; the middle one is dropped half of the time.
    module = MergingViViT(config, stochastic_droplayer_rate=1.0)
    middle_dropped = {
        path: np.zeros_like(value) if path.startswith("Transformer/encoderblock_1/M") else value
        for path, value in silent.items()
    }
    both = run(MergingViViT(config), nest(middle_dropped), video)
    seen = [np.asarray(run(module, nest(middle_dropped), video, True, jax.random.key(n))) for n in range(2)]
    np.testing.assert_allclose(seen[0], both, atol=1e-6)
    np.testing.assert_allclose(seen[1], both, atol=1e-6)
    assert np.abs(kept - both).max() > 1e-3


def test_gradients_flow_through_the_merge():
    params, video, _ = read_golden("factorized_encoder_gap")
    module = MergingViViT(CONFIGS["factorized_encoder_gap"], schedule=(5, 3))
    grads = flatten(jax.grad(lambda p: jnp.square(run(module, p, video)).sum())(nest(params)))
    # A key's bias moves all logits of a query alike, which changes nothing.
    flat = {path for path, grad in grads.items() if np.abs(grad).max() < 1e-9}
    assert all(np.isfinite(grad).all() for grad in grads.values())
    assert flat <= {path for path in grads if path.endswith("key/bias")}


def test_what_it_can_t_do_is_refused_in_words():
    params, video, _ = read_golden("spacetime_token")
    with pytest.raises(ValueError, match="MergingViViT looks at videos only; got boxes"):
        MergingViViT(CONFIGS["spacetime_token"]).apply({"params": params}, video, train=False, boxes=np.zeros(4))
    halved = ViViTConfig(**FIELDS, attention="factorized_dot_product", pooling="mean")
    with pytest.raises(ValueError, match="needs the whole grid in every block; got factorized_dot_product"):
        MergingViViT(halved).apply({"params": params}, video, train=False)


def test_frames_are_sampled_at_equal_steps_and_cut_into_plain_patches():
    # Every step of 32 / 17 frames, rounded.
    assert sample_evenly(32, 16).tolist() == [2, 4, 6, 8, 9, 11, 13, 15, 17, 19, 21, 23, 24, 26, 28, 30]
    assert sample_evenly(4, 4).tolist() == sample_evenly(4, 9).tolist() == [0, 1, 2, 3]
    config = ViViTConfig(**{**FIELDS, "num_frames": 3, "tubelet_size": 1})
    video = read_golden("spacetime_token")[1]
    module = MergingViViT(config, num_sampled_frames=3, return_preclassifier=True)
    tokens, variables = jax.eval_shape(lambda key: module.init_with_output(key, video, train=False), jax.random.key(0))
    assert variables["params"]["embedding"]["kernel"].shape == (8, 8, 3, 32)
    assert tokens.shape == (2, 3 * 16 + 1, 32)


def test_the_trainers_count_of_flops_sees_all_of_it_and_falls_with_merging():
    config = dataclasses.replace(CONFIGS["spacetime_token"], image_size=64, mlp_dim=128)
    video = jax.ShapeDtypeStruct((1, 8, 64, 64, 3), jnp.float32)

    def count(schedule):
        module = MergingViViT(config, schedule=schedule)
        variables = jax.eval_shape(lambda v: module.init(jax.random.key(0), v, train=False), video)
        _, result = roofline.roofline(functools.partial(module.apply, train=False))(variables, video)
        return result.unfused_flops / 2e9

    def expect(schedule):
        sizes = {"num_tokens": config.num_tokens, "num_layers": config.depth, "num_protected": 1}
        return count_xla_gmacs(config, resolve_schedule(schedule, **sizes))

    # Queries are scaled after the product here, so every map has one more operation.
    assert count(()) == pytest.approx(expect(()), rel=0.02)
    assert count((100, 40)) == pytest.approx(expect((100, 40)), rel=0.08)
    assert count((100, 40)) < 0.7 * count(())
