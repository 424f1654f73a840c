"""Pixels as a model expects them, computed on the device: for programs that take uint8, and for training."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from vidtldr_jax.data.preprocessing import Preprocessing


def normalise_pixels(clips: Shaped[Array, "B T Y X C"], preprocessing: Preprocessing) -> Float[Array, "B T Y X C"]:
    """Map values of 0 to 255 to what a model expects, as `data.transforms.normalize_frames` does on the host.

    Args:
      clips: pixels; float where they were resized or blended.
      preprocessing: whose mean and std are used, per colour.

    Returns:
      (clips / 255 - mean) / std in float32.
    """
    mean, std = (jnp.array(part, jnp.float32, ndmin=5) for part in (preprocessing.mean, preprocessing.std))
    return (clips.astype(jnp.float32) / 255 - mean) / std
