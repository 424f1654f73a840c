"""Parameters of all blocks of an encoder along one leading axis, so that blocks of one shape run under one scan.

    stacked = stack_blocks(params)  # encoder/block_3/mlp/fc1/kernel [D, F] -> encoder/blocks/mlp/fc1/kernel [L, D, F]
    module = VideoViT(config, r=r, is_stacked=True)

Blocks up to the last one that absorbs tokens have shapes of their own and take their slice; all later ones are one
compiled body. One stack serves every schedule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vidtldr_jax.models.remat import Remat, remat_function

Carry = TypeVar("Carry")

STACK_NAME: Final = "blocks"
_BLOCK: Final = re.compile(r"(?P<encoder>(?:.*/)?(?:temporal_)?encoder)/block_(?P<number>\d+)/(?P<rest>.+)")
_STACK: Final = re.compile(rf"(?P<encoder>(?:.*/)?(?:temporal_)?encoder)/{STACK_NAME}/(?P<rest>.+)")


def stack_blocks(params: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the parameters of each encoder's blocks along a new leading axis.

    Args:
      params: flat parameter path -> array, NumPy's or JAX's; what is stacked already stays.

    Returns:
      Flat parameter path -> array of the same kind; everything that belongs to no block is passed on.

    Raises:
      ValueError: an encoder has no parameter of one of its blocks.
    """
    kept: dict[str, Any] = {}
    stacks: dict[str, dict[int, Any]] = {}
    for path, value in params.items():
        found = _BLOCK.fullmatch(path)
        if found is None:
            kept[path] = value
        else:
            place = f"{found['encoder']}/{STACK_NAME}/{found['rest']}"
            stacks.setdefault(place, {})[int(found["number"])] = value
    for place, layers in stacks.items():
        if sorted(layers) != list(range(len(layers))):
            raise ValueError(
                f"blocks are numbered from 0 on, each with the same parameters; got {place} for blocks "
                f"{sorted(layers)}; give all of an encoder's."
            )
        values = [layers[number] for number in range(len(layers))]
        stack = jnp.stack if isinstance(values[0], jax.Array) else np.stack
        kept[place] = stack(values)
    return kept


def unstack_blocks(params: Mapping[str, Any]) -> dict[str, Any]:
    """Takes stacks apart again; the opposite of `stack_blocks`."""
    apart = {}
    for path, value in params.items():
        found = _STACK.fullmatch(path)
        if found is None:
            apart[path] = value
        else:
            apart |= {
                f"{found['encoder']}/block_{number}/{found['rest']}": value[number] for number in range(value.shape[0])
            }
    return apart


def get_stack(module: nn.Module) -> Any:
    """Returns the stacked parameters of an encoder's blocks, nested.

    Args:
      module: the encoder, bound to variables.

    Returns:
      Nested parameters with a leading axis over blocks.

    Raises:
      ValueError: the variables have none, or are to be made.
    """
    stacked = None if module.is_initializing() else module.get_variable("params", STACK_NAME)
    if stacked is None:
        raise ValueError(
            f"with is_stacked the parameters of all blocks lie along one axis, under "
            f"{STACK_NAME!r}; there are none; initialise the module without is_stacked and pass them to stack_blocks."
        )
    return stacked


def take_block(stacked: Any, layer: int | Array) -> Any:
    """Returns the parameters of one block out of a nested stack."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, layer, keepdims=False), stacked)


def scan_blocks(
    apply_block: Callable[[Any, Carry, Array], Carry], stacked: Any, carry: Carry, *, first: int, remat: Remat = False
) -> Carry:
    """Runs blocks one after the other, compiled once.

    Args:
      apply_block: from a block's parameters, what enters and its number, what leaves, of the same shapes.
      stacked: nested parameters with a leading axis over blocks.
      carry: what comes into the first one.
      first: number of the first block to run; all later ones follow.
      remat: compute blocks again in the backward pass.

    Returns:
      What the last one gives.
    """
    depth = jax.tree.leaves(stacked)[0].shape[0]
    if first == depth:
        return carry

    # The stack is not cut first, which would copy it.
    def step(before: Carry, layer: Array) -> tuple[Carry, None]:
        return apply_block(take_block(stacked, layer), before, layer), None

    return jax.lax.scan(remat_function(step, remat, is_in_loop=True), carry, jnp.arange(first, depth))[0]
