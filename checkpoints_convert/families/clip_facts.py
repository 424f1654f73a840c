"""What CLIP's vision towers share, whoever named the keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from checkpoints_convert.families.family import VIDEO_FACTS
from vidtldr_jax.models.clip_config import CLIPConfig

# An image model says neither how many frames there are nor how they meet.
REQUIRED: Final = (*VIDEO_FACTS, "encoding")
CONSTANTS: Final[dict[str, Any]] = {"tubelet_size": 1, "norm_eps": 1e-5, "num_extra_positions": 1}


def build_clip(facts: Mapping[str, Any]) -> CLIPConfig:
    """Builds the description of a CLIP vision tower.

    Args:
      facts: its fields; `num_frame_positions` is the length of the position table, others are ignored.

    Returns:
      The description.

    Raises:
      ValueError: fields don't fit each other or the position table.
    """
    fields = {field.name for field in dataclasses.fields(CLIPConfig)}
    config = CLIPConfig(**{name: value for name, value in facts.items() if name in fields})
    side = config.image_size // config.patch_size
    positions = facts.get("num_frame_positions")
    if positions is not None and positions != side * side + 1:
        raise ValueError(
            f"frames of {config.image_size} x {config.image_size} have {side * side} patches and a class "
            f"token; the position table in the weights has {positions}; give another image_size."
        )
    return config
