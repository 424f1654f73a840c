"""What a schedule costs: multiply-accumulates by layer and part.

Counted: matrix products (projections, attention, matching, MLP, patches, heads) and LayerNorm at 5 per element.
Not counted: softmax, entropy, sorting, gathering and scattering.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vidtldr_jax.reduction.schedule import ResolvedSchedule

_NORM_MACS_PER_ELEMENT = 5


class Architecture(Protocol):
    """What the count needs to know of a model."""

    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def mlp_dim(self) -> int: ...  # noqa: D102
    @property
    def patch_size(self) -> int: ...  # noqa: D102
    @property
    def tubelet_size(self) -> int: ...  # noqa: D102
    @property
    def num_channels(self) -> int: ...  # noqa: D102
    @property
    def final_norm(self) -> bool: ...  # noqa: D102


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerCost:
    """Multiply-accumulates of one block for one clip.

    Attributes:
      tokens_in: tokens that attention sees.
      tokens_out: tokens that the MLP sees.
      projections: query, key, value and output projections.
      attention: q k^T and attention times values.
      matching: similarity of even and odd tokens; 0 where nothing is absorbed.
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
      layers: one `LayerCost` per block.
      final_norm: the LayerNorm after the last block.
    """

    patches: int
    layers: tuple[LayerCost, ...]
    final_norm: int

    @property
    def total(self) -> int:
        """Sum over everything."""
        return self.patches + sum(layer.total for layer in self.layers) + self.final_norm

    @property
    def gmacs(self) -> float:
        """The sum in units of 10^9."""
        return self.total / 1e9

    def by_part(self) -> dict[str, int]:
        """Returns the sum over layers of every part."""
        names = ("projections", "attention", "matching", "mlp", "norms")
        parts = {name: sum(getattr(layer, name) for layer in self.layers) for name in names}
        return {"patches": self.patches, **parts, "final_norm": self.final_norm}


def count_macs(config: Architecture, schedule: ResolvedSchedule) -> EncoderCost:
    """Counts the multiply-accumulates of one clip through the encoder, pooling and heads left out.

    Args:
      config: the model's description.
      schedule: the resolved schedule; its token counts are what is counted.

    Returns:
      An `EncoderCost`.

    Reference:
      Counted as the official release was with fvcore, so that published GMACs can be compared.
    """
    tubelet = config.tubelet_size * config.patch_size**2 * config.num_channels
    layers = tuple(
        _count_layer(config, before, after) for before, after in zip(schedule.tokens, schedule.tokens[1:], strict=False)
    )
    final_norm = _NORM_MACS_PER_ELEMENT * schedule.tokens[-1] * config.dim if config.final_norm else 0
    return EncoderCost(
        patches=schedule.tokens[0] * tubelet * config.dim,
        layers=layers,
        final_norm=final_norm,
    )


def _count_layer(config: Architecture, before: int, after: int) -> LayerCost:
    dim = config.dim
    even, odd = before - before // 2, before // 2
    return LayerCost(
        tokens_in=before,
        tokens_out=after,
        projections=4 * before * dim * dim,
        attention=2 * before * before * dim,
        matching=even * odd * dim if after < before else 0,
        mlp=2 * after * dim * config.mlp_dim,
        norms=_NORM_MACS_PER_ELEMENT * (before + after) * dim,
    )
