"""AdamW over flat parameters: warm-up and cosine, no decay where it makes no sense, smaller rates in early blocks.

Parameters are flat here: path ("encoder/block_0/attn/query/kernel") -> array.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import jax.numpy as jnp
import optax

from vidtldr_jax.models.architectures import Config
from vidtldr_jax.train.recipe import Recipe

HEAD: Final = "head/"

_BLOCK: Final = re.compile(r"(?P<is_temporal>temporal_)?encoder/block_(?P<number>\d+)/.*")
_EMBEDDING: Final = re.compile(r"(?:patch_embed/.*|pos_embed|cls_token|pre_norm/.*)")
_TEMPORAL_EMBEDDING: Final = re.compile(r"temporal_(?:pos_embed|cls_token)")
_UNDECAYED: Final = re.compile(r"(?:temporal_)?(?:pos_embed|cls_token)")


def find_rate(step: Any, *, recipe: Recipe, num_steps: int) -> Any:
    """Returns the learning rate of a step.

    Args:
      step: from 0 on; a number or an array.
      recipe: has the highest rate and the warm-up.
      num_steps: of the whole run.

    Returns:
      rate * (step + 1) / W in the W steps of the warm-up, then rate * (1 + cos(pi * (step - W) / (num_steps - W))) / 2.
    """
    warmup = round(recipe.warmup * num_steps)
    grown = (step + 1) / max(warmup, 1)
    fallen = (1 + jnp.cos(jnp.pi * (step - warmup) / max(num_steps - warmup, 1))) / 2
    return recipe.learning_rate * jnp.where(step < warmup, grown, fallen)


def find_levels(paths: Iterable[str], config: Config) -> dict[str, int]:
    """Returns how deep each parameter is: 0 for what makes tokens, then the blocks, then all that comes after them.

    Args:
      paths: of parameters.
      config: the architecture.

    Returns:
      Path -> level. The encoder over time of a factorised encoder follows that over space.
    """
    depth = config.depth
    over_time = config.temporal.depth if config.temporal is not None else 0
    levels = {}
    for path in paths:
        if match := _BLOCK.fullmatch(path):
            levels[path] = int(match["number"]) + 1 + (depth if match["is_temporal"] else 0)
        elif _EMBEDDING.fullmatch(path):
            levels[path] = 0
        elif _TEMPORAL_EMBEDDING.fullmatch(path):
            levels[path] = depth
        elif path.startswith("encoder/"):  # the norm after the last block over space
            levels[path] = depth + (0 if over_time else 1)
        else:
            levels[path] = depth + over_time + 1
    return levels


def find_rate_scales(paths: Iterable[str], config: Config, *, layer_decay: float) -> dict[str, float]:
    """Returns the factor of each parameter's learning rate: layer_decay to the number of levels above it.

    Args:
      paths: of parameters.
      config: the architecture.
      layer_decay: in (0, 1].

    Returns:
      Path -> factor; 1 for the classifier.

    Reference:
      BEiT, arXiv 2106.08254, appendix; ELECTRA, arXiv 2003.10555, appendix A.
    """
    over_time = config.temporal.depth if config.temporal is not None else 0
    last = config.depth + over_time + 1
    return {path: layer_decay ** (last - level) for path, level in find_levels(paths, config).items()}


def find_decayed(params: Mapping[str, Any]) -> dict[str, bool]:
    """Returns which parameters decay: those of two axes and more, without position tables and class tokens."""
    return {path: value.ndim > 1 and not _UNDECAYED.fullmatch(path) for path, value in params.items()}


def make_optimizer(recipe: Recipe, config: Config, *, num_steps: int) -> optax.GradientTransformation:
    """Makes the optimiser of a run.

    Args:
      recipe: how to train.
      config: the architecture, for the depths of parameters.
      num_steps: of the whole run.

    Returns:
      A transformation of flat gradients. Weight decay is scaled by a parameter's rate, as AdamW does.
    """

    def scale(updates: Any, params: Any) -> Any:
        scales = find_rate_scales(updates, config, layer_decay=recipe.layer_decay)
        return {path: value * scales[path] for path, value in updates.items()}

    parts = [] if recipe.clip_norm == 0 else [optax.clip_by_global_norm(recipe.clip_norm)]
    return optax.chain(
        *parts,
        optax.adamw(
            lambda step: find_rate(step, recipe=recipe, num_steps=num_steps),
            b2=recipe.beta2,
            weight_decay=recipe.weight_decay,
            mask=find_decayed,
        ),
        optax.stateless(scale),
    )
