"""The MLP in blocks of tokens is the MLP."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidtldr_jax.models import VideoViTConfig
from vidtldr_jax.models.block import MLP

CONFIG = VideoViTConfig(
    num_frames=2, image_size=8, patch_size=4, tubelet_size=1, dim=6, depth=1, num_heads=2, mlp_dim=10
)
TOKENS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 6)).astype(np.float32))
VARIABLES = MLP(CONFIG).init(jax.random.key(0), TOKENS)


def run(block_size, tokens=TOKENS, dtype=jnp.float32):
    return jax.jit(MLP(CONFIG, dtype=dtype, block_size=block_size).apply)(VARIABLES, tokens)


@pytest.mark.parametrize("block_size", [1, 4, 5, 13, 14, 99, None])
def test_blocks_of_any_size_give_what_all_at_once_gives(block_size):
    # A product of another size may add in another order.
    np.testing.assert_allclose(run(block_size), run(10**6), atol=1e-6)
    assert run(block_size).shape == TOKENS.shape


def test_blocks_have_the_same_parameters_and_gradients():
    blocked, whole = MLP(CONFIG, block_size=4), MLP(CONFIG, block_size=10**6)
    shapes = [jax.tree.map(jnp.shape, mlp.init(jax.random.key(0), TOKENS)) for mlp in (blocked, whole)]
    assert shapes[0] == shapes[1]
    assert set(shapes[0]["params"]) == {"fc1", "fc2"}
    gradients = [
        jax.jit(jax.grad(lambda v, mlp=mlp: (mlp.apply(v, TOKENS) ** 2).sum()))(VARIABLES) for mlp in (blocked, whole)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-5), *gradients)


def test_the_wide_layer_is_never_there_for_all_tokens():
    def widest(block_size):
        jaxpr = jax.make_jaxpr(MLP(CONFIG, block_size=block_size).apply)(VARIABLES, TOKENS)
        return max(rows for rows in find_wide_rows(jaxpr.jaxpr))

    assert (widest(10**6), widest(5)) == (14, 5)


def find_wide_rows(jaxpr):
    """Yields how many tokens every array as wide as the hidden layer has."""
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            shape = variable.aval.shape
            if len(shape) > 1 and shape[-1] == CONFIG.mlp_dim:
                yield int(np.prod(shape[:-1]))
        for parameter in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "jaxpr")):
            inner = getattr(parameter, "jaxpr", None)
            if inner is not None:
                yield from find_wide_rows(inner)
