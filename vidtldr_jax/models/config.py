"""Frozen descriptions of the models; they check themselves and name every fault at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol

from vidtldr_jax.trust.fields import PlainFields, check_choices, check_counts, check_multiples, list_given

_CHOICES: dict[str, tuple[str, ...]] = {
    "positions": ("sincos", "learned"),
    "image_positions": ("separate", "interpolate"),
    "qkv_bias": ("query_value", "all", "none"),
    "gelu": ("exact", "tanh"),
    "pooling": ("mean", "mean_by_size", "first"),
}
_POSITIVE = (
    *("num_frames", "image_size", "patch_size", "tubelet_size", "dim", "depth", "num_heads", "mlp_dim"),
    "num_channels",
)


class EncoderConfig(Protocol):
    """What the blocks ask of a description."""

    @property
    def depth(self) -> int:
        """Number of blocks."""

    @property
    def num_heads(self) -> int:
        """Attention heads."""

    @property
    def mlp_dim(self) -> int:
        """Hidden channels of the MLP."""

    @property
    def qkv_bias(self) -> str:
        """Which of query, key and value have a bias."""

    @property
    def gelu(self) -> str:
        """The form of GELU."""

    @property
    def norm_eps(self) -> float:
        """Epsilon of every LayerNorm."""

    @property
    def final_norm(self) -> bool:
        """LayerNorm on the tokens after the last block."""

    @property
    def num_protected(self) -> int:
        """Leading tokens that take no part in merging."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoViTConfig(PlainFields):
    """A joint space-time vision transformer: UMT and VideoMAE.

    Attributes:
      num_frames: frames of a clip.
      image_size: rows and columns of a frame, pixels.
      patch_size: rows and columns of a patch, pixels.
      tubelet_size: frames of a patch.
      dim: channels of a token.
      depth: number of blocks.
      num_heads: attention heads; divides dim.
      mlp_dim: hidden channels of the MLP.
      num_channels: colours of a pixel.
      positions: "sincos", a fixed table, or "learned", a parameter.
      position_grid: (t, y, x) of the grid that the position table was made for; where the clip's grid is another one,
        the table is interpolated. None means the grid of num_frames and image_size for a learned table, and for a
        sin-cos one that it is made for whatever grid comes.
      image_positions: what a clip of one frame gets: "separate", a sin-cos table of its own over (y, x), or
        "interpolate", the video's table interpolated.
      qkv_bias: which of query, key and value have a bias: "query_value" (UMT, VideoMAE), "all" or "none".
      gelu: "exact" (erf) or "tanh".
      norm_eps: epsilon of every LayerNorm.
      pool_norm_eps: epsilon of the LayerNorm on the pooled token where it is another; None means norm_eps.
      final_norm: LayerNorm on the tokens after the last block.
      pool_norm: LayerNorm on the pooled token.
      pooling: "mean" of the surviving tokens whatever their sizes (the official way), "mean_by_size", or "first": the
        token of the first patch (Hugging Face's VideoMAE without mean pooling), which merging leaves alone then.
      num_classes: outputs of the classifier; None for no classifier.
      embed_dim: channels of the projected embedding; None for no projection.
    """

    num_frames: int
    image_size: int
    patch_size: int
    tubelet_size: int
    dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    num_channels: int = 3
    positions: Literal["sincos", "learned"] = "sincos"
    position_grid: tuple[int, int, int] | None = None
    image_positions: Literal["separate", "interpolate"] = "interpolate"
    qkv_bias: Literal["query_value", "all", "none"] = "query_value"
    gelu: Literal["exact", "tanh"] = "exact"
    norm_eps: float = 1e-6
    pool_norm_eps: float | None = None
    final_norm: bool = False
    pool_norm: bool = True
    pooling: Literal["mean", "mean_by_size", "first"] = "mean"
    num_classes: int | None = None
    embed_dim: int | None = None

    architecture: ClassVar[str] = "video_vit"

    def __post_init__(self) -> None:
        if self.position_grid is not None:
            object.__setattr__(self, "position_grid", tuple(self.position_grid))
        faults = check_counts(self, _POSITIVE)
        faults += check_choices(self, _CHOICES)
        faults += check_counts(self, list_given(self, ("num_classes", "embed_dim")))
        faults += [
            f"{n} = {getattr(self, n)!r} is not a positive number"
            for n in ("norm_eps", "pool_norm_eps")
            if getattr(self, n) is not None and not getattr(self, n) > 0
        ]
        if not faults:
            faults += self._find_misfits()
        if faults:
            raise ValueError(f"{'; '.join(faults)}; change these fields.")

    def _find_misfits(self) -> list[str]:
        pairs = (("image_size", "patch_size"), ("num_frames", "tubelet_size"), ("dim", "num_heads"))
        faults = check_multiples(self, pairs)
        if self.positions == "learned" and self.image_positions == "separate":
            faults.append('image_positions = "separate" needs positions = "sincos"')
        position_grid: Sequence[int] | None = self.position_grid  # a file may have given any length
        if position_grid is not None and len(position_grid) != 3:
            faults.append(f"position_grid = {self.position_grid} is not (t, y, x)")
        return faults

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches of a clip over time, rows and columns."""
        side = self.image_size // self.patch_size
        return self.num_frames // self.tubelet_size, side, side

    @property
    def num_tokens(self) -> int:
        """Patches of a clip."""
        t, y, x = self.grid
        return t * y * x

    def count_tokens(self, frames: int, rows: int, columns: int) -> int:
        """Returns the patches of a clip of some size."""
        return (frames // self.tubelet_size) * (rows // self.patch_size) * (columns // self.patch_size)

    def count_sequences(self, frames: int) -> int:
        """Returns how many sequences of tokens are reduced one by one; all patches are one."""
        return 1

    @property
    def is_mergeable(self) -> bool:
        """Whether tokens can be merged."""
        return True

    def count_attention(self, frames: int, tokens: int) -> tuple[int, int]:
        """Returns the attentions of a block, and the pairs of query and key that each head of all of them sees."""
        return 1, tokens * tokens

    @property
    def temporal(self) -> None:
        """The encoder over frames; there is none."""
        return None

    @property
    def num_protected(self) -> int:
        """Leading tokens that take no part in merging: the first patch where the classifier reads it."""
        return 1 if self.pooling == "first" else 0

    @property
    def num_cls_tokens(self) -> int:
        """Tokens that stand for no patch; there are none."""
        return 0
