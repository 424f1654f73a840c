"""What CLIP's vision towers share, whoever named the keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from checkpoints_convert.families.family import VIDEO_FACTS
from vidtldr_jax.models.clip_config import CLIPConfig

# Towers of the published sizes have heads of 64 channels.
PUBLISHED_CLIPS: Final[tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...]] = tuple(
    ({"dim": dim, "depth": depth, "mlp_dim": 4 * dim}, {"num_heads": dim // 64})
    for dim, depth in ((768, 12), (1024, 24), (1280, 32), (1664, 48))
)
# An image model says neither how many frames there are nor how they meet.
REQUIRED: Final = (*VIDEO_FACTS, "encoding")
CONSTANTS: Final[dict[str, Any]] = {"tubelet_size": 1, "norm_eps": 1e-5, "num_extra_positions": 1}
MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
STD: Final = (0.26862954, 0.26130258, 0.27577711)


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
            f"build_clip: frames of {config.image_size} x {config.image_size} have {side * side} patches and a class "
            f"token; the position table in the weights has {positions}; give another image_size."
        )
    return config
