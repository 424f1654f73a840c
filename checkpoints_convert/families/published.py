"""What is known of published models by the shape of their weights; each row names the publisher's file that says it.

A shape that is in no row is a question to the user: heads can't be read off weights, and a guess would go unnoticed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """One published model, or several of one shape.

    Attributes:
      name: as its publisher calls it.
      source: the publisher's file: repository and path, or a paper.
      shape: facts that weights show; all of them must be known and equal.
      marks: facts that weights don't show; those that are known must be equal.
      follows: facts that follow where all models that fit agree; those that are known must be equal.
    """

    name: str
    source: str
    shape: Mapping[str, Any]
    marks: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    follows: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedInput:
    """The clips of published models.

    Attributes:
      num_frames: frames of a clip.
      image_size: rows and columns of a frame, pixels.
      tubelet_size: frames of a patch.
      source: the publisher's file.
    """

    num_frames: int
    image_size: int
    tubelet_size: int
    source: str


def describe_vit(size: str, patch_size: int) -> dict[str, int]:
    """Return the shape of a vision transformer.

    Args:
      size: "S", "B", "L" or "H".
      patch_size: rows and columns of a patch.

    Returns:
      Fact -> number.
    """
    dim, depth = {"S": (384, 12), "B": (768, 12), "L": (1024, 24), "H": (1280, 32)}[size]
    return {"dim": dim, "depth": depth, "mlp_dim": 4 * dim, "patch_size": patch_size}


_VIDEOMAE: Final = "github.com/MCG-NJU/VideoMAE, modeling_finetune.py"
_VIDEOMAE_RUN: Final = "github.com/MCG-NJU/VideoMAE, run_class_finetuning.py (defaults)"
_UMT: Final = "arXiv 2303.16058 (vanilla ViT-B/16 and ViT-L/16, whose heads are those of arXiv 2010.11929, table 1)"
_BERT: Final = "huggingface.co/google-bert/bert-{}-uncased, config.json (num_attention_heads)"
_VIVIT: Final = "github.com/google-research/scenic, scenic/projects/vivit/configs/kinetics400"

PUBLISHED_VIDEO_VITS: Final = (
    *(
        PublishedModel(
            name=f"VideoMAE {name}",
            source=f"{_VIDEOMAE} (vit_{name}_patch16_224)",
            shape=describe_vit(size, 16),
            follows={"num_heads": heads},
        )
        for size, name, heads in (("S", "small", 6), ("B", "base", 12), ("L", "large", 16), ("H", "huge", 16))
    ),
    *(
        PublishedModel(name=f"UMT-{size}/16", source=_UMT, shape=describe_vit(size, 16), follows={"num_heads": heads})
        for size, heads in (("B", 12), ("L", 16))
    ),
)
PUBLISHED_VIVITS: Final = (
    PublishedModel(
        name="ViViT-B/16x2",
        source=f"{_VIVIT}/vivit_base_k400.py",
        shape=describe_vit("B", 16),
        follows={"num_heads": 12},
    ),
    PublishedModel(
        name="ViViT-L/16x2 FE",
        source=f"{_VIVIT}/vivit_large_factorised_encoder.py",
        shape=describe_vit("L", 16),
        follows={"num_heads": 16},
    ),
)
PUBLISHED_UMTS: Final = tuple(
    PublishedModel(
        name=f"UMT-{size}/16 with bert-{bert}",
        source=f"{_UMT}; {_BERT.format(bert)}",
        shape={
            **describe_vit(size, 16),
            **{f"text_{name}": value for name, value in describe_vit(size, 16).items() if name != "patch_size"},
        },
        follows={"num_heads": heads, "text_heads": heads},
    )
    for size, bert, heads in (("B", "base", 12), ("L", "large", 16))
)

VIDEO_VIT_INPUTS: Final = (
    *(
        PublishedInput(num_frames=frames, image_size=size, tubelet_size=1, source="arXiv 2303.16058 (Kinetics, SSv2)")
        for frames, size in ((8, 224), (16, 224), (8, 384), (16, 384))
    ),
    PublishedInput(num_frames=16, image_size=224, tubelet_size=2, source=_VIDEOMAE_RUN),
)
VIVIT_INPUTS: Final = (
    PublishedInput(num_frames=32, image_size=224, tubelet_size=2, source=f"{_VIVIT}/vivit_base_k400.py"),
)
# Fine-tuned models are evaluated on 12 frames, those that are only pre-trained on 4.
UMT_INPUTS: Final = (
    PublishedInput(num_frames=12, image_size=224, tubelet_size=1, source="arXiv 2303.16058 (video-text retrieval)"),
)
UMT_PRETRAINED_INPUTS: Final = (
    PublishedInput(num_frames=4, image_size=224, tubelet_size=1, source="arXiv 2303.16058 (zero-shot retrieval)"),
)
