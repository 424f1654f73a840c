"""Targets and losses, in float32.

targets = make_targets(labels, num_classes=12, smoothing=0.1)
targets = blend(targets, targets[partner], weight)            # mixup, arXiv 1710.09412
loss = compute_cross_entropy(logits, targets)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def make_targets(labels: Int[Array, " B"], *, num_classes: int, smoothing: float = 0.0) -> Float[Array, "B classes"]:
    """Makes the distribution that a classifier should give.

    Args:
      labels: the right class of each clip.
      num_classes: how many there are. Static.
      smoothing: share that is spread evenly over all classes, the right one among them. Static.

    Returns:
      Float32 rows that sum to 1.

    Reference:
      Rethinking the Inception Architecture, arXiv 1512.00567, section 7.
    """
    hot = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    return (1 - smoothing) * hot + smoothing / num_classes


def blend(first: Float[Array, "B ..."], second: Float[Array, "B ..."], weight: Float[Array, " B"]) -> Array:
    """Returns weight * first + (1 - weight) * second for each example."""
    share = weight.reshape(-1, *[1] * (first.ndim - 1)).astype(jnp.float32)
    return share * first + (1 - share) * second


def compute_cross_entropy(logits: Float[Array, "B classes"], targets: Float[Array, "B classes"]) -> Float[Array, ""]:
    """Returns the mean over clips of minus the targets' log-likelihood."""
    return -(targets * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1).mean()
