"""The frozen description of a UMT: a video encoder, a text encoder that can look at the video, and heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from vidtldr_jax.models.bert_config import BertConfig
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.trust.fields import read_fields

_TASKS = ("retrieval", "question_answering")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UMTConfig:
    """A UMT, arXiv 2303.16058, for retrieval or for question answering.

    Attributes:
      task: "retrieval" (video and text embeddings, and whether a video and a text match) or "question_answering" (an
        answer out of a list).
      vision: the video encoder. Its embed_dim counts the channels of both embeddings; None for question answering.
      text: the text encoder; from its fusion_from_layer on it looks at the video tokens.
      decoder: what reads the question's tokens and rates answers; None for retrieval.
    """

    task: Literal["retrieval", "question_answering"]
    vision: VideoViTConfig
    text: BertConfig
    decoder: BertConfig | None = None

    architecture: ClassVar[str] = "umt"
    num_classes: ClassVar[None] = None

    def __post_init__(self) -> None:
        faults = []
        if self.task not in _TASKS:
            faults.append(f"task = {self.task!r} is none of {', '.join(_TASKS)}")
        if (self.task == "retrieval") != (self.vision.embed_dim is not None):
            faults.append(f"vision.embed_dim = {self.vision.embed_dim!r} does not fit task = {self.task!r}")
        if (self.task == "question_answering") != (self.decoder is not None):
            faults.append(f"decoder is {'missing' if self.decoder is None else 'given'} with task = {self.task!r}")
        if self.vision.num_classes is not None:
            faults.append(f"vision.num_classes = {self.vision.num_classes} and there is no classifier")
        if self.text.fusion_from_layer is None:
            faults.append("text.fusion_from_layer is None and the text has to look at the video")
        if self.text.is_causal:
            faults.append("text.is_causal is True and the text encoder looks both ways")
        faults += _compare_widths("text", self.text, "vision", self.vision.dim)
        if self.decoder is not None:
            faults += _compare_widths("decoder", self.decoder, "text", self.text.dim)
            if self.decoder.fusion_from_layer is None or not self.decoder.is_causal:
                faults.append("the decoder looks at the question and at no later token: fusion_from_layer, is_causal")
        if faults:
            raise ValueError(f"{'; '.join(faults)}; change these fields.")

    @property
    def depth(self) -> int:
        """Blocks of the video encoder, those that a schedule speaks of."""
        return self.vision.depth

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches of a clip over time, rows and columns."""
        return self.vision.grid

    @property
    def num_frames(self) -> int:
        """Frames of a clip."""
        return self.vision.num_frames

    @property
    def image_size(self) -> int:
        """Rows and columns of a frame, pixels."""
        return self.vision.image_size

    @property
    def patch_size(self) -> int:
        """Rows and columns of a patch, pixels."""
        return self.vision.patch_size

    @property
    def tubelet_size(self) -> int:
        """Frames of a patch."""
        return self.vision.tubelet_size

    @property
    def num_channels(self) -> int:
        """Colours of a pixel."""
        return self.vision.num_channels

    @property
    def dim(self) -> int:
        """Channels of a video token."""
        return self.vision.dim

    @property
    def num_heads(self) -> int:
        """Attention heads of the video encoder."""
        return self.vision.num_heads

    @property
    def mlp_dim(self) -> int:
        """Hidden channels of the video encoder's MLP."""
        return self.vision.mlp_dim

    @property
    def qkv_bias(self) -> str:
        """Which of query, key and value have a bias in the video encoder."""
        return self.vision.qkv_bias

    @property
    def gelu(self) -> str:
        """Which form of GELU the video encoder has."""
        return self.vision.gelu

    @property
    def embed_dim(self) -> int | None:
        """Channels of the embeddings of videos and texts."""
        return self.vision.embed_dim

    @property
    def num_tokens(self) -> int:
        """Patches of a clip."""
        return self.vision.num_tokens

    @property
    def num_protected(self) -> int:
        """Leading video tokens that take no part in merging."""
        return self.vision.num_protected

    @property
    def num_cls_tokens(self) -> int:
        """Tokens of the video encoder that stand for no patch."""
        return self.vision.num_cls_tokens

    def count_tokens(self, frames: int, rows: int, columns: int) -> int:
        """Returns the patches of a clip of some size."""
        return self.vision.count_tokens(frames, rows, columns)

    def count_sequences(self, frames: int) -> int:
        """Returns how many sequences of video tokens are reduced one by one."""
        return self.vision.count_sequences(frames)

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
        return self.vision.temporal

    @property
    def final_norm(self) -> bool:
        """LayerNorm on the video tokens after the last block."""
        return self.vision.final_norm

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain data for JSON."""
        return {
            "task": self.task,
            "vision": self.vision.to_dict(),
            "text": self.text.to_dict(),
            "decoder": None if self.decoder is None else self.decoder.to_dict(),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Builds a config from plain data.

        Args:
          fields: what `to_dict` returned.

        Returns:
          The config.

        Raises:
          ValueError: unknown or missing fields, all named together, or values that don't fit.
        """
        parts: dict[str, Any] = {"vision": VideoViTConfig, "text": BertConfig, "decoder": BertConfig}
        read = {
            name: _read_part(name, parts[name], value) if name in parts and isinstance(value, Mapping) else value
            for name, value in fields.items()
        }
        strange = [
            name
            for name, part in parts.items()
            if name in read and not isinstance(read[name], part) and not (name == "decoder" and read[name] is None)
        ]
        if strange:
            raise ValueError(
                f"{', '.join(strange)} are objects with fields; got something else; fix the architecture "
                "in config.json."
            )
        return read_fields(cls, read)


def _read_part(name: str, part: Any, fields: Mapping[str, Any]) -> Any:
    try:
        return part.from_dict(fields)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _compare_widths(name: str, reader: BertConfig, context: str, dim: int) -> list[str]:
    width = reader.dim if reader.context_dim is None else reader.context_dim
    return [] if width == dim else [f"{name}.context_dim = {width} is not {context}.dim = {dim}"]
