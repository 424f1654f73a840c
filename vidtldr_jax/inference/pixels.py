"""Pixels as a model expects them, computed on the device: uint8 is a quarter of the bytes of normalised float32."""

from __future__ import annotations

from typing import Any, Final

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from vidtldr_jax.data.preprocessing import NUM_COLOURS
from vidtldr_jax.ops.checks import check_array

Colour = tuple[float, float, float]  # red, green, blue

_BITS: Final = 2.0**-16  # 255 * 257 = 2^16 - 1


def normalise_pixels(clips: Shaped[Array, "B T Y X 3"], *, mean: Colour, std: Colour) -> Float[Array, "B T Y X 3"]:
    """Map values of 0 to 255 to what a model expects, as `data.transforms.normalize_frames` does on the host.

    For whole numbers the result is the host's or a float32 next to it, on every platform. A plain `clips / 255` is not
    enough: compilers multiply by the rounded 1/255 instead, and where the mean is subtracted from a value near it that
    difference is hundreds of float32 steps. As 255 * 257 = 2^16 - 1, `v / 255 = (257 v + v / 255) / 2^16`: 257 v is
    exact and the quotient is so small beside it that its rounding can't reach the sum, nor does a fused multiply-add.

    Args:
      clips: pixels; float where they were resized or blended.
      mean: per colour, subtracted from values in [0, 1].
      std: per colour, divided by after that.

    Returns:
      (clips / 255 - mean) / std in float32.
    """
    values = clips.astype(jnp.float32)
    scaled = (257 * values + values / 255) * _BITS  # [B, T, Y, X, 3] in [0, 1]
    return (scaled - jnp.array(mean, jnp.float32, ndmin=5)) / jnp.array(std, jnp.float32, ndmin=5)


def normalise_video(video: Shaped[Array, "B T Y X C"], *, mean: Colour, std: Colour) -> Float[Array, "B T Y X C"]:
    """Normalise a video of uint8 pixels and return one of floats, which is normalised already, as it is."""
    return normalise_pixels(video, mean=mean, std=std) if video.dtype == jnp.uint8 else video


def check_video(video: Any) -> None:
    """Refuse what is neither normalised floats nor uint8 pixels of three colours.

    Args:
      video: what was given for a batch of clips.

    Raises:
      ValueError: it is no array, has another dtype, or is uint8 and has not three colours.
    """
    check_array("video", video)
    if video.dtype != jnp.uint8:
        if not jnp.issubdtype(video.dtype, jnp.floating):
            raise ValueError(
                f"a video is normalised floats, or pixels of 0 to 255 as uint8; got dtype {video.dtype}; "
                "convert pixels: video.astype(np.uint8)."
            )
    elif video.shape[-1:] != (NUM_COLOURS,):
        raise ValueError(
            f"a video of uint8 pixels has {NUM_COLOURS} colours in its last axis; got shape {tuple(video.shape)}; "
            "normalise other channels and pass floats."
        )
