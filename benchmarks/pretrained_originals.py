"""The same weights in transformers' own classes, and how far ours are from them. Needs the extra `parity`.

python benchmarks/pretrained_originals.py          # fetches both encoders and compares; exit code 1 above 1e-4
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, Final

import jax
import numpy as np

from benchmarks.pretrained import (
    HEAD_DIM,
    PATCHES,
    POSITIONS,
    SOURCES,
    State,
    count_blocks,
    get_features,
    make_encoder,
    read_state,
)

TOLERANCE: Final = 1e-4


def run_dinov2(state: State, images: np.ndarray, *, head_dim: int = HEAD_DIM) -> np.ndarray:
    """Runs transformers' own DINOv2 with the same weights.

    Args:
      state: as for `convert_dinov2`.
      images: `[B, Y, X, C]`, normalised.
      head_dim: channels per head.

    Returns:
      The class token after the last norm, `[B, D]`.
    """
    import transformers

    positions, patches = state[POSITIONS], state[f"{PATCHES}.weight"]
    dim, hidden = positions.shape[-1], state["encoder.layer.0.mlp.fc1.bias"].shape[0]
    config = transformers.Dinov2Config(
        hidden_size=dim,
        num_hidden_layers=count_blocks(state),
        num_attention_heads=dim // head_dim,
        mlp_ratio=hidden // dim,
        patch_size=patches.shape[-1],
        image_size=patches.shape[-1] * round((positions.shape[1] - 1) ** 0.5),
    )
    unused = {"embeddings.mask_token": np.zeros((1, dim), np.float32)}
    return _run_original(transformers.Dinov2Model(config), {**unused, **state}, images, "pooler_output")


def run_clip(state: State, images: np.ndarray, *, head_dim: int = HEAD_DIM) -> np.ndarray:
    """Runs transformers' own CLIP image tower with the same weights.

    Args:
      state: as for `convert_clip`.
      images: `[B, Y, X, C]`, normalised.
      head_dim: channels per head.

    Returns:
      The projected class token, `[B, E]`.
    """
    import transformers

    patches = state["vision_model.embeddings.patch_embedding.weight"]
    positions = state["vision_model.embeddings.position_embedding.weight"]
    config = transformers.CLIPVisionConfig(
        hidden_size=patches.shape[0],
        intermediate_size=state["vision_model.encoder.layers.0.mlp.fc1.bias"].shape[0],
        projection_dim=state["visual_projection.weight"].shape[0],
        num_hidden_layers=count_blocks(state),
        num_attention_heads=patches.shape[0] // head_dim,
        patch_size=patches.shape[-1],
        image_size=patches.shape[-1] * round((len(positions) - 1) ** 0.5),
        hidden_act="quick_gelu",
    )
    return _run_original(transformers.CLIPVisionModelWithProjection(config), state, images, "image_embeds")


ORIGINALS: Final[dict[str, Callable[..., np.ndarray]]] = {"dinov2-s14": run_dinov2, "clip-b16": run_clip}


def compare_with_original(name: str, state: State, images: np.ndarray) -> float:
    """Encodes clips of one frame with ours and with transformers, at the matrix products' highest precision.

    Args:
      name: a key of `SOURCES`.
      state: from `read_state`.
      images: `[B, Y, X, C]`, normalised.

    Returns:
      The largest difference of a feature, as a share of the original's largest absolute value.
    """
    theirs = ORIGINALS[name](state, images)
    model = make_encoder(name, state, num_frames=1, image_size=images.shape[1])
    with jax.default_matmul_precision("highest"):
        ours = get_features(model.encode_video(images[:, None]))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _run_original(model: Any, state: State, images: np.ndarray, output: str) -> np.ndarray:
    import torch

    model.load_state_dict({key: torch.from_numpy(np.array(values)) for key, values in state.items()}, strict=True)
    with torch.inference_mode():
        found = model.eval()(pixel_values=torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    return getattr(found, output).numpy()


def main() -> int:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    worst = 0.0
    for name, source in SOURCES.items():
        shape = (2, source.image_size, source.image_size, 3)
        images = np.random.default_rng(0).standard_normal(shape, np.float32)
        state = read_state(name)
        difference = compare_with_original(name, state, images)
        count = sum(values.size for values in state.values())
        print(
            f"{name}: {source.weights}, {count / 1e6:.1f} M parameters; differs from transformers by {difference:.1e}"
        )
        worst = max(worst, difference)
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
