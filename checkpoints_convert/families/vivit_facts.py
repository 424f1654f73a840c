"""From facts to the description of a ViViT."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vidtldr_jax.models.vivit_config import ViViTConfig


def build_vivit(facts: Mapping[str, Any]) -> ViViTConfig:
    """Builds the description of a ViViT.

    Args:
      facts: its fields; `num_positions`, `num_frame_positions` and `num_moments` are the lengths of the position tables
        of the joint, the spatial and the temporal encoder, class token included; others are ignored.

    Returns:
      The description.

    Raises:
      ValueError: fields don't fit each other or the position tables.
    """
    fields = {field.name for field in dataclasses.fields(ViViTConfig)}
    known = {name: value for name, value in facts.items() if name in fields}
    if facts.get("attention") == "factorized_encoder":
        known.setdefault("temporal_depth", 0)  # no block over time in the weights
    config = ViViTConfig(**known)
    moments = config.grid[0] + config.num_cls_tokens
    wanted = {
        "num_positions": config.num_tokens,
        "num_frame_positions": config.num_tokens,
        "num_moments": moments,
    }
    faults = [
        f"{name} is {facts[name]} in the weights and {length} by the settings"
        for name, length in wanted.items()
        if facts.get(name, length) != length
    ]
    if faults:
        raise ValueError(
            f"{config.num_frames} frames of {config.image_size} x {config.image_size} fit the position "
            f"tables; {'; '.join(faults)}; give other settings for frames or image_size."
        )
    return dataclasses.replace(config, position_grid=config.grid)
