"""What a schedule costs: multiply-accumulates by layer and part.

Counted: matrix products (projections, attention, matching, MLP, patches, heads) and LayerNorm at 5 per element.
Not counted: softmax, entropy, sorting, gathering and scattering; `elementwise` counts what is done to single elements.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from vidtldr_jax.reduction.fitting import Reducible, check_frames, resolve_for_clips
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Method
from vidtldr_jax.reduction.schedule import Schedule

_NORM_MACS_PER_ELEMENT = 5


class Architecture(Reducible, Protocol):
    """What the count needs to know of a model."""

    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def mlp_dim(self) -> int: ...  # noqa: D102
    @property
    def num_heads(self) -> int: ...  # noqa: D102
    @property
    def qkv_bias(self) -> str: ...  # noqa: D102
    @property
    def gelu(self) -> str: ...  # noqa: D102
    @property
    def patch_size(self) -> int: ...  # noqa: D102
    @property
    def num_channels(self) -> int: ...  # noqa: D102
    @property
    def final_norm(self) -> bool: ...  # noqa: D102
    @property
    def num_cls_tokens(self) -> int: ...  # noqa: D102
    @property
    def temporal(self) -> Architecture | None: ...  # noqa: D102
    def count_sequences(self, frames: int) -> int: ...  # noqa: D102
    def count_attention(self, frames: int, tokens: int) -> tuple[int, int]: ...  # noqa: D102


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerCost:
    """Multiply-accumulates of one block for one clip, over all of its sequences.

    Attributes:
      tokens_in: tokens of a sequence that attention sees.
      tokens_out: tokens of a sequence that the MLP sees.
      projections: query, key, value and output projections.
      attention: q k^T and attention times values.
      matching: similarity of even and odd tokens; 0 where nothing is lost, and for methods that compare nothing.
      mlp: both dense layers.
      norms: both LayerNorms.
    """

    tokens_in: int
    tokens_out: int
    projections: int
    attention: int
    matching: int
    mlp: int
    norms: int

    @property
    def total(self) -> int:
        """Sum over the parts."""
        return self.projections + self.attention + self.matching + self.mlp + self.norms


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderCost:
    """Multiply-accumulates of a vision encoder for one clip.

    Attributes:
      patches: the patch embedding.
      layers: one `LayerCost` per block that a schedule speaks of.
      final_norm: the LayerNorm after the last block.
      temporal: everything of an encoder over frames that comes after them; 0 where there is none.
    """

    patches: int
    layers: tuple[LayerCost, ...]
    final_norm: int
    temporal: int = 0

    @property
    def total(self) -> int:
        """Sum over everything."""
        return self.patches + sum(layer.total for layer in self.layers) + self.final_norm + self.temporal

    @property
    def gmacs(self) -> float:
        """The sum in units of 10^9."""
        return self.total / 1e9

    def by_part(self) -> dict[str, int]:
        """Returns the sum over layers of every part."""
        names = ("projections", "attention", "matching", "mlp", "norms")
        parts = {name: sum(getattr(layer, name) for layer in self.layers) for name in names}
        return {"patches": self.patches, **parts, "final_norm": self.final_norm, "temporal": self.temporal}


def count_macs(config: Architecture, schedule: Schedule, *, num_frames: int | None = None) -> EncoderCost:
    """Counts the multiply-accumulates of one clip through the encoder, pooling and heads left out.

    Args:
      config: the model's description.
      schedule: anything `parse_schedule` reads; None is the plain model. Of one that was resolved before, the token
        counts are what is counted.
      num_frames: of the clip; None means the config's. It tells how many sequences a factorised encoder has.

    Returns:
      An `EncoderCost`.

    Raises:
      ValueError: config describes no model, or the schedule or num_frames does not fit it.

    Reference:
      Counted as the official release was with fvcore, so that published GMACs can be compared.
    """
    frames = check_frames(config, num_frames)
    schedule = resolve_for_clips(config, schedule, num_frames=frames)
    sequences = config.count_sequences(frames)
    tubelet = config.tubelet_size * config.patch_size**2 * config.num_channels
    temporal = 0
    over_time = config.temporal
    if over_time is not None:
        moments = sequences + config.num_cls_tokens
        block = _count_layer(over_time, moments, moments, frames=frames, sequences=1).total
        temporal = over_time.depth * block + _count_final_norm(over_time, moments)
    return EncoderCost(
        patches=sequences * (schedule.tokens[0] - config.num_cls_tokens) * tubelet * config.dim,
        layers=tuple(
            _count_layer(config, before, after, frames=frames, sequences=sequences, method=schedule.method)
            for before, after in zip(schedule.attended, schedule.tokens[1:], strict=True)
        ),
        final_norm=sequences * _count_final_norm(config, schedule.tokens[-1]),
        temporal=temporal,
    )


def _count_final_norm(config: Architecture, tokens: int) -> int:
    return _NORM_MACS_PER_ELEMENT * tokens * config.dim if config.final_norm else 0


def _count_layer(
    config: Architecture, before: int, after: int, *, frames: int, sequences: int, method: Method = DEFAULT_METHOD
) -> LayerCost:
    dim = config.dim
    attentions, pairs = config.count_attention(frames, before)
    matching = method.count_matching(before - config.num_protected, dim=dim, num_heads=config.num_heads)
    return LayerCost(
        tokens_in=before,
        tokens_out=after,
        projections=sequences * attentions * 4 * before * dim * dim,
        attention=sequences * 2 * pairs * dim,
        matching=sequences * matching if after < before else 0,
        mlp=sequences * 2 * after * dim * config.mlp_dim,
        norms=sequences * _NORM_MACS_PER_ELEMENT * (attentions * before + after) * dim,
    )
