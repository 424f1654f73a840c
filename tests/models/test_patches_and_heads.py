"""Patch embedding and pooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import oracle
from tests.reference.files import require_torch
from tests.reference.inputs import make_size, make_tokens
from vidtldr_jax import ops
from vidtldr_jax.models.heads import pool_surviving, pool_tokens
from vidtldr_jax.models.patches import PATCH_INITS, PatchEmbed


def make_case():
    rng = np.random.default_rng(0)
    video, kernel, bias = (rng.normal(size=s).astype(np.float32) for s in ((2, 4, 8, 12, 3), (2, 4, 4, 3, 5), (5,)))
    module = PatchEmbed(dim=5, patch_size=4, tubelet_size=2)
    return video, kernel, bias, module.apply({"params": {"kernel": kernel, "bias": bias}}, jnp.asarray(video))


def test_patches_are_embedded_in_order_of_time_row_column():
    video, kernel, bias, tokens = make_case()
    np.testing.assert_allclose(tokens, oracle.embed_patches(video, kernel, bias), atol=1e-5)


def test_patch_embedding_equals_torch_s_3d_convolution():
    torch = require_torch()
    video, kernel, bias, tokens = make_case()
    expected = torch.nn.functional.conv3d(
        torch.tensor(video).permute(0, 4, 1, 2, 3), torch.tensor(kernel).permute(4, 3, 0, 1, 2), torch.tensor(bias),
        stride=(2, 4, 4),
    ).flatten(2).transpose(1, 2)  # fmt: skip
    np.testing.assert_allclose(tokens, expected.numpy(), atol=1e-5)


def test_a_fresh_kernel_has_the_variance_of_one_over_its_inputs():
    params = PatchEmbed(dim=256, patch_size=4, tubelet_size=2).init(jax.random.key(0), jnp.zeros((1, 2, 4, 4, 3)))
    assert np.var(params["params"]["kernel"]) == pytest.approx(1 / 96, rel=0.1)
    np.testing.assert_array_equal(params["params"]["bias"], np.zeros(256))


def test_pooling_is_a_mean_of_tokens_or_of_what_they_stand_for():
    tokens, size = make_tokens((2, 7, 3)), make_size((2, 7))
    np.testing.assert_allclose(pool_tokens(jnp.asarray(tokens)), tokens.mean(1), atol=1e-6)
    expected = np.stack([np.average(t, axis=0, weights=s) for t, s in zip(tokens, size, strict=True)])
    np.testing.assert_allclose(pool_tokens(jnp.asarray(tokens), jnp.asarray(size)), expected, atol=1e-6)


def test_pooling_of_bfloat16_is_summed_in_float32():
    tokens = jnp.full((1, 2000, 1), 1.0, jnp.bfloat16).at[0, :1000].set(3.0)
    pooled = pool_tokens(tokens)
    assert pooled.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(pooled, np.float32), [[2.0]])


def test_every_rule_of_pooling_by_its_definition():
    tokens, size = make_tokens((2, 7, 3)), make_size((2, 7))
    state = ops.MergeState(jnp.asarray(tokens), jnp.asarray(size), None, None)
    mean_by_size = (tokens * size[..., None]).sum(1) / size.sum(1, keepdims=True)
    expected = {
        "cls": tokens[:, 0], "first": tokens[:, 0], "mean": tokens.mean(1), "max": tokens.max(1), "sum": tokens.sum(1),
        "mean_by_size": mean_by_size, "sum_by_size": 20 * mean_by_size,
    }  # fmt: skip
    for pooling, values in expected.items():
        np.testing.assert_allclose(pool_surviving(state, pooling, num_tokens=20), values, atol=1e-5, err_msg=pooling)
    with pytest.raises(ValueError, match="got 'best'"):
        pool_surviving(state, "best", num_tokens=20)


def test_first_tubelet_kernels_see_the_frame_in_the_middle_or_all_alike():
    shape = (4, 2, 2, 3, 64)
    normal, central, average = (
        PATCH_INITS[name](jax.random.key(0), shape) for name in ("normal", "central_frame", "average_frame")
    )
    np.testing.assert_array_equal(central[2], normal[2])
    assert np.count_nonzero(central[jnp.array([0, 1, 3])]) == 0
    np.testing.assert_array_equal(average, np.broadcast_to(normal[:1], shape))
    module = PatchEmbed(dim=64, patch_size=2, tubelet_size=4, kernel_init="central_frame")
    params = module.init(jax.random.key(1), jnp.zeros((1, 4, 2, 2, 3)))["params"]
    assert np.count_nonzero(params["kernel"][:2]) == 0 < np.count_nonzero(params["kernel"][2])
