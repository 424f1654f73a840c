"""The frozen description of a ViViT."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Final, Literal

from vidtldr_jax.trust.fields import (
    PlainFields,
    check_choices,
    check_counts,
    check_multiples,
    is_count,
    list_given,
)

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "attention": ("spacetime", "factorized_encoder", "factorized_self_attention", "factorized_dot_product"),
    "attention_order": ("time_space", "space_time"),
    "pooling": ("cls", "first", "mean", "max", "sum", "mean_by_size", "sum_by_size"),
    "patch_init": ("normal", "central_frame", "average_frame"),
    "qkv_bias": ("all", "none"),
    "gelu": ("exact", "tanh"),
}
_POSITIVE: Final = (
    *("num_frames", "image_size", "patch_size", "tubelet_size", "dim", "depth", "num_heads", "mlp_dim"),
    "num_channels",
)
_COUNTS_OR_NONE: Final = ("num_classes", "representation_dim", "temporal_num_heads", "temporal_mlp_dim")
_TEMPORAL: Final = ("temporal_depth", "temporal_num_heads", "temporal_mlp_dim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViViTConfig(PlainFields):
    """A ViViT, arXiv 2103.15691, in one of its four forms.

    Attributes:
      attention: "spacetime", all patches at once (model 1); "factorized_encoder", frame by frame, then over frames
        (model 2); "factorized_self_attention", time and space in turn in every block (model 3);
        "factorized_dot_product", half of the heads over time, half over space (model 4).
      attention_order: "time_space" or "space_time", which comes first in a block of model 3; others ignore it.
      num_frames: frames of a clip.
      image_size: rows and columns of a frame, pixels.
      patch_size: rows and columns of a patch, pixels.
      tubelet_size: frames of a patch.
      dim: channels of a token.
      depth: number of blocks; of the spatial encoder where attention is factorised.
      temporal_depth: number of blocks of the factorised encoder's temporal encoder, None for other forms; 0 stands for
        an average of the frames' vectors instead.
      num_heads: attention heads; divides dim.
      mlp_dim: hidden channels of the MLP.
      temporal_num_heads: attention heads of the temporal encoder; None for num_heads.
      temporal_mlp_dim: hidden channels of its MLP; None for mlp_dim.
      num_channels: colours of a pixel.
      position_grid: (t, y, x) of the grid that the position tables were made for; None means that of num_frames and
        image_size. Where a clip's grid is another one, the tables are interpolated.
      pooling: "cls", the class token; "first", the first patch; "mean", "max" or "sum" of the surviving tokens
        (Scenic's `token`, `0`, `gap`, `gmp`, `gsp`). Where tokens were merged, "mean_by_size" weighs each by how many
        it stands for, and "sum_by_size" is that mean times the number of tokens before merging, so that a classifier
        gets the scale it was trained on. The factorised encoder pools frames, and then their vectors, by the same rule.
      representation_dim: channels of a dense layer with tanh between pooling and classifier (Scenic's
        `representation_size`); None for no such layer.
      patch_init: first values of the tubelets' projection: "normal", LeCun's; "central_frame", zero but for the frame
        in the middle; "average_frame", the same for all frames.
      qkv_bias: whether query, key and value have a bias: "all" or "none".
      gelu: "exact" (erf) or "tanh".
      norm_eps: epsilon of every LayerNorm.
      num_classes: outputs of the classifier; None for no classifier.
    """

    attention: Literal["spacetime", "factorized_encoder", "factorized_self_attention", "factorized_dot_product"] = (
        "spacetime"
    )
    attention_order: Literal["time_space", "space_time"] = "time_space"
    num_frames: int
    image_size: int
    patch_size: int
    tubelet_size: int
    dim: int
    depth: int
    temporal_depth: int | None = None
    num_heads: int
    mlp_dim: int
    temporal_num_heads: int | None = None
    temporal_mlp_dim: int | None = None
    num_channels: int = 3
    position_grid: tuple[int, int, int] | None = None
    pooling: Literal["cls", "first", "mean", "max", "sum", "mean_by_size", "sum_by_size"] = "cls"
    representation_dim: int | None = None
    patch_init: Literal["normal", "central_frame", "average_frame"] = "normal"
    qkv_bias: Literal["all", "none"] = "all"
    gelu: Literal["exact", "tanh"] = "tanh"
    norm_eps: float = 1e-6
    num_classes: int | None = None

    architecture: ClassVar[str] = "vivit"
    # What the blocks ask of every description.
    final_norm: ClassVar[bool] = True
    embed_dim: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.position_grid is not None:
            object.__setattr__(self, "position_grid", tuple(self.position_grid))
        faults = check_counts(self, _POSITIVE)
        faults += check_choices(self, _CHOICES)
        if not self.norm_eps > 0:
            faults.append(f"norm_eps = {self.norm_eps!r} is not a positive number")
        faults += check_counts(self, list_given(self, _COUNTS_OR_NONE))
        if not faults:
            faults += self._find_misfits()
        if faults:
            raise ValueError(f"{'; '.join(faults)}; change these fields.")

    def _find_misfits(self) -> list[str]:
        pairs = [("image_size", "patch_size"), ("num_frames", "tubelet_size"), ("dim", "num_heads")]
        pairs += [("dim", "temporal_num_heads")] if self.temporal_num_heads else []
        faults = check_multiples(self, pairs)
        is_factorized = self.attention == "factorized_encoder"
        if is_factorized and not is_count(self.temporal_depth, least=0):
            faults.append(f"temporal_depth = {self.temporal_depth!r} is neither 0 nor a positive int")
        if not self.is_mergeable and self.pooling == "cls":
            faults.append(f"pooling = 'cls' has no class token to take with attention = {self.attention!r}")
        if not self.is_mergeable and self.pooling == "first":
            faults.append(f"pooling = 'first' has no token that sees all others with attention = {self.attention!r}")
        if self.attention == "factorized_dot_product" and self.num_heads % 2:
            faults.append(f"num_heads = {self.num_heads} can't be halved between time and space")
        faults += [
            f"{name} = {getattr(self, name)!r} needs attention = 'factorized_encoder'"
            for name in _TEMPORAL
            if not is_factorized and getattr(self, name) is not None
        ]
        if self.position_grid is not None and len(tuple(self.position_grid)) != 3:
            faults.append(f"position_grid = {self.position_grid} is not (t, y, x)")
        return faults

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches of a clip over time, rows and columns."""
        side = self.image_size // self.patch_size
        return self.num_frames // self.tubelet_size, side, side

    @property
    def num_protected(self) -> int:
        """Leading tokens that take no part in merging: what the classifier reads by its place."""
        return 1 if self.pooling in ("cls", "first") else 0

    @property
    def num_cls_tokens(self) -> int:
        """Tokens of a sequence that stand for no patch: the class token, if there is one."""
        return 1 if self.pooling == "cls" else 0

    @property
    def num_tokens(self) -> int:
        """Tokens of one sequence that is reduced, the class token included: of a clip, or of a frame."""
        return self.count_tokens(self.num_frames, self.image_size, self.image_size)

    def count_tokens(self, frames: int, rows: int, columns: int) -> int:
        """Returns the tokens of one sequence that is reduced for a clip of some size, the class token included."""
        times = 1 if self.attention == "factorized_encoder" else frames // self.tubelet_size
        return times * (rows // self.patch_size) * (columns // self.patch_size) + self.num_cls_tokens

    def count_sequences(self, frames: int) -> int:
        """Returns how many sequences of tokens are reduced one by one: one, or one for each patch over time."""
        return frames // self.tubelet_size if self.attention == "factorized_encoder" else 1

    @property
    def temporal(self) -> ViViTConfig | None:
        """The encoder over frames, described as the blocks ask for it; None where there is none."""
        if not self.temporal_depth:
            return None
        return dataclasses.replace(
            self,
            depth=self.temporal_depth,
            num_heads=self.temporal_num_heads or self.num_heads,
            mlp_dim=self.temporal_mlp_dim or self.mlp_dim,
        )

    @property
    def is_mergeable(self) -> bool:
        """Whether tokens can be merged: not where every block needs the whole grid."""
        return self.attention in ("spacetime", "factorized_encoder")

    def count_attention(self, frames: int, tokens: int) -> tuple[int, int]:
        """Returns the attentions of a block, and the pairs of query and key that each head of all of them sees."""
        if self.is_mergeable:
            return 1, tokens * tokens
        times = frames // self.tubelet_size
        reach = times + tokens // times
        return (2, tokens * reach) if self.attention == "factorized_self_attention" else (1, tokens * reach // 2)
