"""What every layer of a converted model gives, to compare with the original's hidden states."""

from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vidtldr_jax.inference.checkpoint import read_checkpoint
from vidtldr_jax.models.architectures import make_module


def collect_hidden_states(checkpoint: Path, video: np.ndarray) -> list[np.ndarray]:
    """Returns the tokens after each block, without the last norm."""
    stored = read_checkpoint(checkpoint)
    module = make_module(stored.config)
    params = traverse_util.unflatten_dict(stored.params, sep="/")
    _, seen = module.apply(
        {"params": params}, jnp.asarray(video), capture_intermediates=is_block, mutable=["intermediates"]
    )
    blocks = seen["intermediates"]["encoder"]
    return [np.asarray(blocks[f"block_{n}"]["__call__"][0][0].tokens) for n in range(stored.config.depth)]


def is_block(module: nn.Module, method: str) -> bool:
    return method == "__call__" and (module.name or "").startswith("block_")
