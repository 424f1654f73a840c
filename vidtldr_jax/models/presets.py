"""Published names -> configs, each with the publisher's file or paper that its numbers are from."""

from __future__ import annotations

import dataclasses

from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.ops.checks import describe
from vidtldr_jax.trust.nearest import suggest

# UMT as vid-TLDR was evaluated on it: 12 frames, retrieval projections of 512 and 768.
_UMT_B16 = VideoViTConfig(
    num_frames=12,
    image_size=224,
    patch_size=16,
    tubelet_size=1,
    dim=768,
    depth=12,
    num_heads=12,
    mlp_dim=3072,
    image_positions="separate",
    final_norm=True,
    embed_dim=512,
)
# VideoMAE fine-tuned on Kinetics-400.
_VIDEOMAE_B16 = VideoViTConfig(
    num_frames=16,
    image_size=224,
    patch_size=16,
    tubelet_size=2,
    dim=768,
    depth=12,
    num_heads=12,
    mlp_dim=3072,
    num_classes=400,
)
# ViViT on Kinetics-400, arXiv 2103.15691: 32 frames, tubelets of 2, a class token.
_VIVIT_B16X2 = ViViTConfig(
    num_frames=32,
    image_size=224,
    patch_size=16,
    tubelet_size=2,
    dim=768,
    depth=12,
    num_heads=12,
    mlp_dim=3072,
    patch_init="central_frame",
    num_classes=400,
)
_VIVIT_L16X2 = dataclasses.replace(_VIVIT_B16X2, dim=1024, depth=24, num_heads=16, mlp_dim=4096)
_VIVIT_H14X2 = dataclasses.replace(_VIVIT_B16X2, patch_size=14, dim=1280, depth=32, num_heads=16, mlp_dim=5120)


def _factorize_encoder(config: ViViTConfig) -> ViViTConfig:
    """Frame by frame, then four blocks over the frames: the paper's "FE"."""
    return dataclasses.replace(config, attention="factorized_encoder", temporal_depth=4)


PRESETS: dict[str, VideoViTConfig | ViViTConfig] = {
    "umt-b16": _UMT_B16,
    "umt-l16": dataclasses.replace(_UMT_B16, dim=1024, depth=24, num_heads=16, mlp_dim=4096, embed_dim=768),
    "videomae-s16": dataclasses.replace(_VIDEOMAE_B16, dim=384, num_heads=6, mlp_dim=1536),
    "videomae-b16": _VIDEOMAE_B16,
    "videomae-l16": dataclasses.replace(_VIDEOMAE_B16, dim=1024, depth=24, num_heads=16, mlp_dim=4096),
    "videomae-h16": dataclasses.replace(_VIDEOMAE_B16, dim=1280, depth=32, num_heads=16, mlp_dim=5120),
    "vivit-b16x2": _VIVIT_B16X2,
    "vivit-b16x2-fe": _factorize_encoder(_VIVIT_B16X2),
    "vivit-l16x2": _VIVIT_L16X2,
    "vivit-l16x2-fe": _factorize_encoder(_VIVIT_L16X2),
    "vivit-h14x2": _VIVIT_H14X2,
    "vivit-h14x2-fe": _factorize_encoder(_VIVIT_H14X2),
}

_UMT: str = "arXiv 2303.16058; video and text projections: arXiv 2403.13347's checkpoints"
_VIDEOMAE: str = "github.com/MCG-NJU/VideoMAE, modeling_finetune.py and run_class_finetuning.py"
_VIVIT: str = "github.com/google-research/scenic, scenic/projects/vivit/configs"
# Name -> where the numbers stand. Of ViViT-L joint and of both H there are no published weights.
PRESET_SOURCES: dict[str, str] = {
    **dict.fromkeys(("umt-b16", "umt-l16"), _UMT),
    **dict.fromkeys(("videomae-s16", "videomae-b16", "videomae-l16", "videomae-h16"), _VIDEOMAE),
    "vivit-b16x2": f"{_VIVIT}/kinetics400/vivit_base_k400.py",
    "vivit-b16x2-fe": f"{_VIVIT}/kinetics400/vivit_base_factorised_encoder.py",
    # Its Kinetics config has 24 blocks over frames, that for Epic Kitchens and the paper have 4.
    "vivit-l16x2-fe": f"{_VIVIT}/epic_kitchens/vivit_large_factorised_encoder.py",
    **dict.fromkeys(("vivit-l16x2", "vivit-h14x2", "vivit-h14x2-fe"), "arXiv 2103.15691, section 4.1 (ViT-L, ViT-H)"),
}


def get_preset(name: str) -> VideoViTConfig | ViViTConfig:
    """Looks a published model up.

    Args:
      name: a key of `PRESETS`.

    Returns:
      Its config.

    Raises:
      ValueError: there is no such preset; the nearest name is given.
    """
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    hint = suggest(name, PRESETS, otherwise="choose one of these.")
    raise ValueError(f"presets are {', '.join(PRESETS)}; got {describe(name)}; {hint}")
