"""The whole vision transformer against the oracle, and what must hold for any model."""

import dataclasses
import functools

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import oracle
from vidtldr_jax import ops
from vidtldr_jax.models import VideoViT, VideoViTConfig
from vidtldr_jax.models.positions import interpolate_positions, sincos_positions

CONFIG = VideoViTConfig(
    num_frames=4, image_size=16, patch_size=4, tubelet_size=2, dim=12, depth=3, num_heads=3, mlp_dim=20, num_classes=5
)
R = (9, 5, 2)
VIDEO = np.random.default_rng(1).normal(size=(2, 4, 16, 16, 3)).astype(np.float32)
# Three layers in float32; normalised values of about 1.
TOLERANCE = 2e-5


def make_params(config, video=VIDEO):
    """Random parameters: biases and scales too, where 0 and 1 would hide a swap. Flat, path -> array."""
    shapes = jax.eval_shape(lambda: VideoViT(config).init(jax.random.key(0), jnp.asarray(video)))["params"]
    rng = np.random.default_rng(0)
    return {
        path: (0.35 * rng.normal(size=leaf.shape) + path.endswith("scale")).astype(np.float32)
        for path, leaf in sorted(flax.traverse_util.flatten_dict(shapes, sep="/").items())
    }


# A program is compiled once for all tests that run it.
@functools.cache
def compile_model(config, r, dtype, trace):
    model = VideoViT(config, r=r, dtype=dtype)
    return jax.jit(lambda params, video: model.apply({"params": params}, video, trace=trace))


def run(config, r=(), video=VIDEO, params=None, *, dtype=jnp.float32, trace=False):
    tree = flax.traverse_util.unflatten_dict(make_params(config) if params is None else params, sep="/")
    return compile_model(config, r, dtype, trace)(tree, jnp.asarray(video))


@pytest.mark.parametrize(
    ("changes", "r"),
    [
        ({}, R),
        ({}, ()),
        (
            {
                "norm_eps": 1e-3,
                "pool_norm_eps": 0.1,
                "gelu": "tanh",
                "qkv_bias": "all",
                "final_norm": True,
                "embed_dim": 7,
                "pooling": "mean_by_size",
            },
            (0, 9, 3),
        ),
        ({"norm_eps": 1e-2, "qkv_bias": "none", "positions": "learned", "pool_norm": False, "num_classes": None}, R),
    ],
    ids=["merged", "plain", "every-option-on", "every-option-off"],
)
def test_the_model_equals_the_oracle(changes, r):
    config = dataclasses.replace(CONFIG, **changes)
    params = make_params(config)
    output = run(config, r, params=params, trace=True)
    positions = params["pos_embed"] if config.positions == "learned" else oracle.sincos(32, 12)
    tokens, size, source = oracle.encode(
        params, VIDEO, positions, heads=3, r=r or (0, 0, 0), epsilon=config.norm_eps, gelu_kind=config.gelu
    )
    np.testing.assert_allclose(output.tokens, tokens, atol=TOLERANCE, rtol=TOLERANCE)
    np.testing.assert_allclose(output.size, size, rtol=TOLERANCE)
    matrix = ops.source_matrix(output.trace.source, output.trace.weight, num_tokens=tokens.shape[1])
    np.testing.assert_allclose(matrix, source, atol=TOLERANCE)
    weights = size if config.pooling == "mean_by_size" else np.ones_like(size)
    pooled = np.stack([np.average(t, axis=0, weights=w) for t, w in zip(tokens, weights, strict=True)])
    if config.pool_norm:
        epsilon = config.norm_eps if config.pool_norm_eps is None else config.pool_norm_eps
        pooled = oracle.layer_norm(pooled, params["pool_norm/scale"], params["pool_norm/bias"], epsilon)
    np.testing.assert_allclose(output.pooled, pooled, atol=TOLERANCE, rtol=TOLERANCE)
    for name, actual in (("projection", output.embedding), ("head", output.logits)):
        if actual is None:
            assert f"{name}/kernel" not in params
        else:
            expected = pooled @ params[f"{name}/kernel"] + params[f"{name}/bias"]
            np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_parameter_paths_and_shapes():
    config = dataclasses.replace(CONFIG, positions="learned", position_grid=(1, 2, 2), final_norm=True, embed_dim=7)
    shapes = {path: array.shape for path, array in make_params(config).items()}
    block = {
        "norm1/scale": (12,), "norm1/bias": (12,), "norm2/scale": (12,), "norm2/bias": (12,),
        "attn/query/kernel": (12, 12), "attn/query/bias": (12,), "attn/key/kernel": (12, 12),
        "attn/value/kernel": (12, 12), "attn/value/bias": (12,), "attn/proj/kernel": (12, 12), "attn/proj/bias": (12,),
        "mlp/fc1/kernel": (12, 20), "mlp/fc1/bias": (20,), "mlp/fc2/kernel": (20, 12), "mlp/fc2/bias": (12,),
    }  # fmt: skip
    assert shapes == {
        "patch_embed/kernel": (2, 4, 4, 3, 12), "patch_embed/bias": (12,), "pos_embed": (4, 12),
        **{f"encoder/block_{i}/{path}": shape for i in range(3) for path, shape in block.items()},
        "encoder/norm/scale": (12,), "encoder/norm/bias": (12,), "pool_norm/scale": (12,), "pool_norm/bias": (12,),
        "projection/kernel": (12, 7), "projection/bias": (7,), "head/kernel": (12, 5), "head/bias": (5,),
    }  # fmt: skip


def test_r_of_0_everywhere_is_the_plain_model_bit_for_bit():
    plain, zeros = run(CONFIG), run(CONFIG, (0, 0, 0))
    chex.assert_trees_all_equal(plain, zeros)
    assert plain.tokens.shape == (2, 32, 12)


def test_r_of_0_costs_nothing_extra():
    tree = flax.traverse_util.unflatten_dict(make_params(CONFIG), sep="/")
    plain, zeros = (
        str(jax.make_jaxpr(lambda v, r=r: VideoViT(CONFIG, r=r).apply({"params": tree}, v))(VIDEO))
        for r in ((), (0, 0, 0))
    )
    assert plain == zeros
    assert not any(word in plain for word in ("top_k", "sort", "log", "scatter"))


def test_a_merged_batch_equals_its_examples_one_by_one():
    together = run(CONFIG, R)
    for b in range(2):
        alone = run(CONFIG, R, VIDEO[b : b + 1])
        chex.assert_trees_all_close(jax.tree.map(lambda a, b=b: a[b : b + 1], together), alone, atol=TOLERANCE)


def test_the_other_examples_of_a_merged_batch_change_no_bit():
    together, swapped = run(CONFIG, R), run(CONFIG, R, np.stack([VIDEO[0], 3 * VIDEO[1][::-1]]))
    chex.assert_trees_all_equal(*(jax.tree.map(lambda a: a[0], out) for out in (together, swapped)))
    assert np.abs(together.logits[1] - swapped.logits[1]).max() > 0.01


@pytest.mark.usefixtures("all_optimizations")
def test_a_trace_changes_no_output_and_shows_every_step():
    traced, untraced = run(CONFIG, (9, 0, 2), trace=True), run(CONFIG, (9, 0, 2))
    assert untraced.trace is None
    chex.assert_trees_all_equal(traced._replace(trace=None), untraced)
    first, second = traced.trace.steps
    assert (first.saliency.shape, second.saliency.shape) == ((2, 32), (2, 23))
    np.testing.assert_array_equal(first.source, [range(32)] * 2)
    assert np.asarray(second.source).max() == 22


def test_bfloat16_is_close_and_float32_where_promised():
    exact, rounded = run(CONFIG), run(CONFIG, dtype=jnp.bfloat16)
    assert (rounded.tokens.dtype, rounded.pooled.dtype) == (jnp.bfloat16, jnp.bfloat16)
    assert (rounded.logits.dtype, rounded.size.dtype) == (jnp.float32, jnp.float32)
    # Eight bits and three layers.
    np.testing.assert_allclose(rounded.logits, exact.logits, atol=0.12)
    merged = run(CONFIG, R, dtype=jnp.bfloat16)
    assert merged.tokens.dtype == jnp.bfloat16
    chex.assert_tree_all_finite(merged)


@pytest.mark.parametrize("positions", ["separate", "interpolate", "learned"])
def test_a_single_frame_gets_its_positions(positions):
    changes = {"positions": "learned"} if positions == "learned" else {"image_positions": positions}
    config = dataclasses.replace(CONFIG, tubelet_size=1, position_grid=(4, 4, 4), **changes)
    params = make_params(config)
    if positions == "separate":
        table = oracle.sincos(16, 12)
    else:
        made = params["pos_embed"] if positions == "learned" else sincos_positions((4, 4, 4), 12)
        table = interpolate_positions(made, (4, 4, 4), (1, 4, 4))
    tokens, _, _ = oracle.encode(params, VIDEO[:, :1], table, heads=3, r=(8, 4, 0))
    clamped = run(config, (8, 4, 0), VIDEO[:, :1], params=params)
    np.testing.assert_allclose(clamped.tokens, tokens, atol=TOLERANCE, rtol=TOLERANCE)


def test_one_shape_is_compiled_once():
    tree = flax.traverse_util.unflatten_dict(make_params(CONFIG), sep="/")
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def apply(params, video):
        return VideoViT(CONFIG, r=R).apply({"params": params}, video).logits

    assert not np.array_equal(apply(tree, VIDEO), apply(tree, VIDEO[::-1].copy()))


def test_gradients_through_the_merge_are_finite_and_reach_every_parameter():
    tree = flax.traverse_util.unflatten_dict(make_params(CONFIG), sep="/")
    video = jnp.asarray(VIDEO)
    loss = jax.jit(jax.grad(lambda p: jnp.square(VideoViT(CONFIG, r=R).apply({"params": p}, video).logits).sum()))
    gradients = flax.traverse_util.flatten_dict(loss(tree), sep="/")
    chex.assert_tree_all_finite(gradients)
    assert all(np.abs(g).max() > 0 for g in gradients.values())


@pytest.mark.parametrize("shape", [(2, 4, 16, 16), (2, 4, 16, 16, 1), (2, 3, 16, 16, 3), (2, 4, 16, 18, 3)])
def test_a_video_that_does_not_fit_is_refused(shape, shapes_unchecked):
    with pytest.raises(ValueError) as error:
        VideoViT(CONFIG).init(jax.random.key(0), jnp.zeros(shape))
    assert str(error.value) == (
        f"a video is [B, T, Y, X, 3] with T a multiple of 2 and Y, X of 4; got shape {shape}; "
        "resize it, pad it, or put channels last."
    )


def test_an_r_of_another_length_is_refused():
    with pytest.raises(ValueError) as error:
        VideoViT(CONFIG, r=(3, 0)).init(jax.random.key(0), jnp.asarray(VIDEO))
    assert str(error.value) == ("r has one number for each of 3 blocks; got 2; resolve_schedule makes such a tuple.")
