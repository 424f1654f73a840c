"""Parameters for comparisons, and what their gradients must be."""

import jax
import numpy as np


def shake(tree):
    """Moves every parameter, so that no bias is 0 and no scale 1."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    shaken = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves)]
    return jax.tree.unflatten(structure, shaken)


def assert_trains(gradient):
    """Demands finite gradients, and some for every matrix; a key's bias moves no softmax."""
    leaves = jax.tree.leaves(gradient)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert all(np.abs(leaf).max() > 0 for leaf in leaves if leaf.ndim > 1)
