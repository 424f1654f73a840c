"""The frozen description of a CLIP vision tower that encodes video."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Final, Literal

from vidtldr_jax.trust.fields import PlainFields, check_choices, check_counts, check_multiples, list_given

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "encoding": ("joint", "per_frame"),
    "gelu": ("quick", "exact", "tanh"),
}
_POSITIVE: Final = ("num_frames", "image_size", "patch_size", "dim", "depth", "num_heads", "mlp_dim", "num_channels")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPConfig(PlainFields):
    """A CLIP vision tower, arXiv 2103.00020: a ViT for images that here sees a clip.

    Attributes:
      encoding: "per_frame", every frame apart as CLIP was trained, then a mean over frames; or "joint", one class token
        and the patches of all frames in one sequence, every frame with the same positions.
      num_frames: frames of a clip.
      image_size: rows and columns of a frame, pixels; the position table was made for it.
      patch_size: rows and columns of a patch, pixels.
      dim: channels of a token.
      depth: number of blocks.
      num_heads: attention heads; divides dim.
      mlp_dim: hidden channels of the MLP.
      num_channels: colours of a pixel.
      gelu: "quick" (x sigmoid(1.702 x)), "exact" (erf) or "tanh".
      norm_eps: epsilon of every LayerNorm.
      embed_dim: channels of the projection into the space of texts; None for no projection.
    """

    encoding: Literal["joint", "per_frame"]
    num_frames: int
    image_size: int
    patch_size: int
    dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    num_channels: int = 3
    gelu: Literal["quick", "exact", "tanh"] = "quick"
    norm_eps: float = 1e-5
    embed_dim: int | None = None

    architecture: ClassVar[str] = "clip"
    # What the blocks and the converter ask of every description.
    tubelet_size: ClassVar[int] = 1
    num_protected: ClassVar[int] = 1
    num_cls_tokens: ClassVar[int] = 1
    num_classes: ClassVar[None] = None
    temporal: ClassVar[None] = None
    qkv_bias: ClassVar[str] = "all"
    final_norm: ClassVar[bool] = False
    is_mergeable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        faults = check_counts(self, [*_POSITIVE, *list_given(self, ["embed_dim"])])
        faults += check_choices(self, _CHOICES)
        if not self.norm_eps > 0:
            faults.append(f"norm_eps = {self.norm_eps!r} is not a positive number")
        if not faults:
            faults += check_multiples(self, [("image_size", "patch_size"), ("dim", "num_heads")])
        if faults:
            raise ValueError(f"{'; '.join(faults)}; change these fields.")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches of a clip over time, rows and columns."""
        side = self.image_size // self.patch_size
        return self.num_frames, side, side

    @property
    def num_tokens(self) -> int:
        """Tokens of one sequence that is reduced, the class token included: of a clip, or of a frame."""
        return self.count_tokens(self.num_frames, self.image_size, self.image_size)

    def count_tokens(self, frames: int, rows: int, columns: int) -> int:
        """Returns the tokens of one sequence that is reduced for a clip of some size, the class token included."""
        times = frames if self.encoding == "joint" else 1
        return times * (rows // self.patch_size) * (columns // self.patch_size) + self.num_cls_tokens

    def count_sequences(self, frames: int) -> int:
        """Returns how many sequences of tokens are reduced one by one: one, or one for each frame."""
        return 1 if self.encoding == "joint" else frames

    def count_attention(self, frames: int, tokens: int) -> tuple[int, int]:
        """Returns the attentions of a block, and the pairs of query and key that each head of all of them sees."""
        return 1, tokens * tokens
