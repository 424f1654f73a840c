"""Which models are measured: a preset, or a tiny stand-in for smoke runs, and published schedules for either."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.reference.files import find_golden
from vidtldr_jax.models.bert_config import BertConfig
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.presets import get_preset
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.reduction.schedule import format_schedule

# What the published schedules were made for: 12 frames of 14 x 14 patches.
UMT_TOKENS: Final = 2352
MSRVTT: Final = (600, 200, 100)
_SMOKE = VideoViTConfig(
    num_frames=4,
    image_size=32,
    patch_size=8,
    tubelet_size=1,
    dim=32,
    depth=3,
    num_heads=2,
    mlp_dim=64,
    final_norm=True,
    embed_dim=8,
)


class Published(NamedTuple):
    """A schedule that was published for a model.

    Attributes:
      names: of the tasks that it was published for.
      r: tokens absorbed per layer.
      gmacs: published multiply-accumulates of the encoder.
      tokens_out: after the last layer.
    """

    names: tuple[str, ...]
    r: tuple[int, ...]
    gmacs: float
    tokens_out: int


def choose_config(preset: str, *, is_smoke: bool) -> VideoViTConfig:
    """Returns the config of a preset, or a model of 64 tokens that runs in no time."""
    return _SMOKE if is_smoke else get_preset(preset)


def choose_umt_config(*, is_smoke: bool) -> UMTConfig:
    """Returns UMT-B/16 for retrieval with bert-base, whose last three layers look at the video, or a tiny one."""
    if is_smoke:
        text = BertConfig(
            vocab_size=50, max_positions=32, dim=32, depth=3, num_heads=2, mlp_dim=64, fusion_from_layer=1
        )
        return UMTConfig(task="retrieval", vision=_SMOKE, text=text)
    text = BertConfig(
        vocab_size=30522, max_positions=512, dim=768, depth=12, num_heads=12, mlp_dim=3072, fusion_from_layer=9
    )
    return UMTConfig(task="retrieval", vision=dataclasses.replace(get_preset("umt-b16"), embed_dim=512), text=text)


def read_published(preset: str) -> list[Published]:
    """Reads the published schedules of a preset, the plain model among them; equal ones are one entry.

    Args:
      preset: "umt-b16" or "umt-l16".

    Returns:
      In the order of publication.
    """
    entries = json.loads(find_golden("schedules.json").read_text())[preset.replace("-", "_")]
    by_r: dict[tuple[int, ...], Published] = {}
    for name, entry in entries.items():
        r = tuple(entry["r"])
        names = (*by_r[r].names, name) if r in by_r else (name,)
        by_r[r] = Published(names, r, entry["gmacs"], entry["tokens_out"])
    return list(by_r.values())


def scale_schedule(r: Sequence[int], num_tokens: int) -> str:
    """Writes a schedule for 2352 tokens as counts of the same share of another number of tokens."""
    return format_schedule([count * num_tokens // UMT_TOKENS for count in r])
