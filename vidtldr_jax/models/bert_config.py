"""The frozen description of a BERT: a text encoder, one that also looks at a video, or a decoder."""

from __future__ import annotations

import dataclasses
from typing import Final, Literal

from vidtldr_jax.trust.fields import PlainFields, check_counts, check_multiples, list_given

_POSITIVE: Final = ("vocab_size", "max_positions", "num_token_types", "dim", "depth", "num_heads", "mlp_dim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig(PlainFields):
    """A BERT, arXiv 1810.04805, whose last layers may look at a context: video tokens, or a question's.

    Attributes:
      vocab_size: rows of the word table.
      max_positions: rows of the position table, the most tokens of a text.
      num_token_types: rows of the token type table, of which the first is used.
      dim: channels of a token.
      depth: number of layers.
      num_heads: attention heads; divides dim.
      mlp_dim: hidden channels of the MLP.
      fusion_from_layer: first layer that also looks at the context, from 0; None where no layer does.
      context_dim: channels of the context; None means dim.
      is_causal: whether a token sees only itself and those before it.
      gelu: "exact" (erf) or "tanh".
      norm_eps: epsilon of every LayerNorm.
    """

    vocab_size: int
    max_positions: int
    num_token_types: int = 2
    dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    fusion_from_layer: int | None = None
    context_dim: int | None = None
    is_causal: bool = False
    gelu: Literal["exact", "tanh"] = "exact"
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        faults = check_counts(self, [*_POSITIVE, *list_given(self, ["context_dim"])])
        if self.gelu not in ("exact", "tanh"):
            faults.append(f"gelu = {self.gelu!r} is none of exact, tanh")
        if not self.norm_eps > 0:
            faults.append(f"norm_eps = {self.norm_eps!r} is not a positive number")
        is_causal: object = self.is_causal  # a file may have given anything
        if not isinstance(is_causal, bool):
            faults.append(f"is_causal = {self.is_causal!r} is neither True nor False")
        if not faults:
            faults += self._find_misfits()
        if faults:
            raise ValueError(f"{'; '.join(faults)}; change these fields.")

    def _find_misfits(self) -> list[str]:
        faults = check_multiples(self, [("dim", "num_heads")])
        first = self.fusion_from_layer
        if first is not None and (isinstance(first, bool) or first not in range(self.depth)):
            faults.append(f"fusion_from_layer = {first!r} is no layer of 0 to {self.depth - 1}")
        return faults

    @property
    def num_text_layers(self) -> int:
        """Layers before the first that looks at the context."""
        return self.depth if self.fusion_from_layer is None else self.fusion_from_layer
