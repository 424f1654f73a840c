"""Blocks that are computed again in the backward pass: the same gradients through merging, from fewer kept values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

import vidtldr_jax as vt
from tests.models.test_stacking import nest
from tests.reference.inputs import make_params
from vidtldr_jax.models.remat import remat_function
from vidtldr_jax.models.stacking import stack_blocks

KEY = jax.random.key(3)
RATES = vt.DropRates(tokens=0.1, attention=0.1, update=0.1, hidden=0.1, path=0.3, head=0.1)
POLICY = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
SIZES = {
    "num_frames": 4, "image_size": 24, "patch_size": 8, "tubelet_size": 2, "dim": 8, "depth": 2, "num_heads": 2,
    "mlp_dim": 16, "num_classes": 5,
}  # fmt: skip
CONFIGS = {
    "joint": vt.VideoViTConfig(**SIZES),
    "spacetime": vt.ViViTConfig(**SIZES),
    "factorized": vt.ViViTConfig(**SIZES, attention="factorized_encoder", temporal_depth=1),
    "self attention": vt.ViViTConfig(**SIZES, attention="factorized_self_attention", pooling="mean"),
}
VIDEO = np.random.default_rng(1).standard_normal((2, 4, 24, 24, 3)).astype(np.float32)


@functools.cache
def make_variables(name, is_stacked):
    flat = make_params(CONFIGS[name])
    return nest(stack_blocks(flat) if is_stacked else flat)


def make_loss(name, remat, *, is_stacked=False, rates=RATES):
    module = vt.make_module(
        CONFIGS[name],
        r=(2, 0) if CONFIGS[name].is_mergeable else (),
        is_stacked=is_stacked,
        drop_rates=rates,
        remat=remat,
    )
    video = jnp.asarray(VIDEO)

    def find_loss(variables):
        out = module.apply(variables, video, deterministic=False, rngs={"dropout": KEY})
        return (out.logits * jnp.arange(5.0)[None]).sum()

    return find_loss


@functools.cache
def find_gradients(name, remat, *, is_stacked=False):
    variables = make_variables(name, is_stacked)
    gradients = jax.jit(jax.grad(make_loss(name, remat, is_stacked=is_stacked)))(variables)
    return traverse_util.flatten_dict(gradients["params"], sep="/")


CASES = [("joint", True, False), ("joint", True, True), ("spacetime", True, False), ("factorized", True, False)]


@pytest.mark.parametrize(("name", "remat", "is_stacked"), CASES)
def test_gradients_through_merging_and_dropout_are_the_same(name, remat, is_stacked):
    expected = find_gradients(name, False)
    expected = stack_blocks(expected) if is_stacked else expected
    found = find_gradients(name, remat, is_stacked=is_stacked)
    assert found.keys() == expected.keys()
    largest = max(np.abs(value).max() for value in expected.values())
    for path, value in expected.items():
        assert np.isfinite(value).all(), path
        # Sums of float32 in another order.
        np.testing.assert_allclose(found[path], value, rtol=1e-4, atol=1e-6 * largest, err_msg=path)
    still = {path for path, value in expected.items() if np.abs(value).max() < 1e-5 * largest}
    assert all(path.endswith("key/bias") for path in still), "that bias alone shifts all logits of a query alike"


def count_kept(name, remat, *, is_stacked=False):
    """Returns the bytes that the forward pass keeps for the backward pass, besides what it was given."""
    variables = make_variables(name, is_stacked)
    loss = make_loss(name, remat, is_stacked=is_stacked, rates=vt.DropRates())
    _, pull = jax.eval_shape(lambda v: jax.vjp(loss, v), variables)
    given = sum(leaf.nbytes for leaf in jax.tree.leaves(variables)) + VIDEO.nbytes
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pull)) - given


@pytest.mark.parametrize("is_stacked", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_less_is_kept_for_the_backward_pass(name, is_stacked):
    everything, blocks, policy = (count_kept(name, remat, is_stacked=is_stacked) for remat in (False, True, POLICY))
    assert blocks < everything / 5
    assert blocks < policy < everything


@pytest.mark.parametrize("remat", ["dots", 2])
def test_what_is_no_policy_is_refused(remat):
    with pytest.raises(ValueError, match=r"^remat is True, False or a policy of jax\.checkpoint_policies; got"):
        remat_function(jnp.sin, remat)
