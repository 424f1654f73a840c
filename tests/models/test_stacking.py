"""Blocks under one scan, with stacked parameters, are the blocks one after the other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from tests.models.test_vivit import EVERY as VIVITS
from tests.reference.inputs import make_params
from vidtldr_jax.models.architectures import make_module
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.stacking import stack_blocks, unstack_blocks

SIZES = {"num_frames": 4, "image_size": 24, "patch_size": 8, "dim": 16, "depth": 3, "num_heads": 2, "mlp_dim": 32}
CONFIGS = {
    "joint": VideoViTConfig(**SIZES, tubelet_size=2, num_classes=5, final_norm=True),
    "clip": CLIPConfig(**SIZES, embed_dim=5, encoding="per_frame"),
    **{f"vivit {name}": VIVITS[name] for name in ("spacetime cls", "factorized mean", "self attention", "dot product")},
}
# A sum in another order.
TOLERANCE = 1e-5


@functools.cache
def make(name):
    video = np.random.default_rng(1).standard_normal((2, 4, 24, 24, 3)).astype(np.float32)
    return make_params(CONFIGS[name]), video


def nest(flat):
    return {"params": traverse_util.unflatten_dict(flat, sep="/")}


def run(name, r, is_stacked, dtype=jnp.float32, trace=False):
    flat, video = make(name)
    module = make_module(CONFIGS[name], r=r, is_stacked=is_stacked, dtype=dtype, param_dtype=dtype)
    flat = {path: jnp.asarray(value, dtype) for path, value in flat.items()}
    variables = nest(stack_blocks(flat) if is_stacked else flat)
    return jax.jit(lambda v, x: module.apply(v, x, trace=trace))(variables, video)


CASES = [
    ("joint", ()), ("joint", (2, 0, 0)), ("joint", (0, 2, 0)), ("joint", (2, 2, 2)), ("clip", (0, 2, 0)),
    ("vivit spacetime cls", (2, 0, 0)), ("vivit factorized mean", (2, 0, 0)), ("vivit self attention", ()),
    ("vivit dot product", ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "r"), CASES)
def test_stacked_blocks_give_what_blocks_one_by_one_give(name, r):
    expected, found = (run(name, r, is_stacked, trace=True) for is_stacked in (False, True))
    assert jax.tree.structure(expected) == jax.tree.structure(found)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=TOLERANCE)


def test_bfloat16_stays_bfloat16_through_the_scan():
    expected, found = (run("joint", (2, 0, 0), is_stacked, jnp.bfloat16) for is_stacked in (False, True))
    assert found.tokens.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.logits, expected.logits, atol=0.1)


@pytest.mark.parametrize("name", CONFIGS)
def test_stacking_and_taking_apart_loses_nothing(name):
    flat, _ = make(name)
    stacked = stack_blocks(flat)
    assert not [path for path in stacked if "block_" in path]
    assert stack_blocks(stacked) == stacked
    apart = unstack_blocks(stacked)
    assert apart.keys() == flat.keys()
    for path, value in flat.items():
        np.testing.assert_array_equal(apart[path], value)


def count_bodies(r, is_stacked):
    """Counts how often a block's first dense layer of the MLP is written down in the program."""
    flat, video = make("joint")
    module = make_module(CONFIGS["joint"], r=r, is_stacked=is_stacked)
    variables = nest(stack_blocks(flat) if is_stacked else flat)
    text = jax.jit(module.apply).lower(variables, video).as_text(debug_info=True)
    # Every product of the first layer ends in 32 channels.
    return sum(
        "stablehlo.dot_general" in line and f"x{CONFIGS['joint'].mlp_dim}xf32>" in line.split("->")[-1]
        for line in text.splitlines()
    )


def test_blocks_after_the_last_reduction_are_compiled_once():
    assert count_bodies((2, 0, 0), is_stacked=False) == 3
    assert count_bodies((2, 0, 0), is_stacked=True) == 2
    assert count_bodies((), is_stacked=True) == 1
    assert count_bodies((2, 2, 2), is_stacked=True) == 3


def test_an_encoder_with_gaps_is_refused():
    flat, _ = make("joint")
    with pytest.raises(ValueError) as error:
        stack_blocks({path: value for path, value in flat.items() if "block_1/mlp/fc1/bias" not in path})
    assert str(error.value) == (
        "blocks are numbered from 0 on, each with the same parameters; got encoder/blocks/mlp/fc1/bias "
        "for blocks [0, 2]; give all of an encoder's."
    )


def test_parameters_that_are_not_stacked_are_refused():
    flat, video = make("joint")
    module = make_module(CONFIGS["joint"], is_stacked=True)
    message = "with is_stacked the parameters of all blocks lie along one axis, under 'blocks'; there are none"
    with pytest.raises(ValueError, match=message):
        module.apply(nest(flat), jnp.asarray(video))
    with pytest.raises(ValueError, match=message):
        module.init(jax.random.key(0), jnp.asarray(video))
