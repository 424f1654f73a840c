"""Video -> tokens: non-overlapping tubelets, each projected to one token; and how much of each is new."""

from __future__ import annotations

from typing import Any, Final

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

# LeCun's variance of one output channel counts all t * p * p * C inputs.
_LECUN: Final = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=(0, 1, 2, 3), out_axis=4)


def _init_normal(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Float[Array, "t p p C D"]:
    """Draws a tubelet kernel from LeCun's truncated normal."""
    return _LECUN(key, shape, dtype)


def _init_central_frame(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Float[Array, "t p p C D"]:
    """Draws a tubelet kernel that sees only the frame t // 2, so that a model starts as one of images.

    Reference:
      ViViT, arXiv 2103.15691, equation 9.

    Deviation:
      Scenic's `central_frame_initializer` keeps column t // 2 of every frame instead, since its kernels have time
      first.
    """
    times = jnp.arange(shape[0])[:, None, None, None, None]
    return jnp.where(times == shape[0] // 2, _init_normal(key, shape, dtype), 0)


def _init_average_frame(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Float[Array, "t p p C D"]:
    """Draws a tubelet kernel that weighs all of its frames alike.

    Reference:
      ViViT, arXiv 2103.15691, equation 8.

    Deviation:
      The variance is that of a kernel over all t frames, as Scenic has it, which does not divide by t again.
    """
    return jnp.broadcast_to(_init_normal(key, shape, dtype)[:1], shape)


PATCH_INITS: Final = {
    "normal": _init_normal,
    "central_frame": _init_central_frame,
    "average_frame": _init_average_frame,
}


def measure_novelty(
    video: Float[Array, "B T Y X C"], *, patch_size: int, tubelet_size: int, num_cls_tokens: int = 0
) -> Float[Array, "B N"]:
    """Measures how far each patch is from the one at its place one moment earlier.

    Args:
      video: normalised frames, channels last.
      patch_size: rows and columns of a patch, pixels. Static.
      tubelet_size: frames of a patch. Static.
      num_cls_tokens: tokens at the front that stand for no patch. Static.

    Returns:
      Mean absolute difference between the first frame of the earlier patch and the last frame of the later one,
      float32, in the video's units; infinite for the first moment and for the tokens at the front.

    Reference:
      Run-length tokenization, arXiv 2411.05222, section 3.1.
    """
    batch, _, rows, columns, colours = video.shape
    first = video[:, 0::tubelet_size].astype(jnp.float32)  # [B, t, Y, X, C]
    last = video[:, tubelet_size - 1 :: tubelet_size].astype(jnp.float32)
    change = jnp.abs(last[:, 1:] - first[:, :-1])  # [B, t - 1, Y, X, C]
    p = patch_size
    change = change.reshape(batch, -1, rows // p, p, columns // p, p, colours).mean((3, 5, 6))  # [B, t - 1, y, x]
    num_first = num_cls_tokens + (rows // p) * (columns // p)
    return jnp.concatenate(
        [jnp.full((batch, num_first), jnp.inf, jnp.float32), change.reshape(batch, -1)], axis=1
    )  # [B, N]


class PatchEmbed(nn.Module):
    """Cuts a video into tubelets and projects each to a token, ordered by time, row, column.

    The same as a 3-D convolution whose stride is its kernel, written as one matrix product.

    Attributes:
      dim: channels of a token.
      patch_size: rows and columns of a patch, pixels.
      tubelet_size: frames of a patch.
      use_bias: whether the projection has a bias.
      kernel_init: a name in `PATCH_INITS`.
      dtype: computation dtype.
      param_dtype: parameter dtype.
    """

    dim: int
    patch_size: int
    tubelet_size: int
    use_bias: bool = True
    kernel_init: str = "normal"
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, video: Float[Array, "B T Y X C"]) -> Float[Array, "B N D"]:
        """Embeds `[B, T, Y, X, C]` as `[B, N, D]`.

        Args:
          video: normalised frames, channels last.

        Returns:
          The tokens.

        Raises:
          ValueError: the video holds whole numbers, such as pixels.
        """
        if not jnp.issubdtype(video.dtype, jnp.floating):
            raise ValueError(
                f"a module takes normalised floats; got dtype {video.dtype}; normalise pixels, (pixels / 255 - mean) / "
                "std, or use a VideoModel, which does."
            )
        batch, frames, rows, columns, colours = video.shape
        t, p = self.tubelet_size, self.patch_size
        kernel_shape = (t, p, p, colours, self.dim)
        kernel = self.param("kernel", PATCH_INITS[self.kernel_init], kernel_shape, self.param_dtype)

        patches = video.astype(self.dtype).reshape(batch, frames // t, t, rows // p, p, columns // p, p, colours)
        patches = patches.transpose(0, 1, 3, 5, 2, 4, 6, 7)  # [B, T/t, Y/p, X/p, t, p, p, C]
        patches = patches.reshape(batch, -1, t * p * p * colours)  # [B, N, t p p C]
        weights = kernel.reshape(-1, self.dim).astype(self.dtype)
        tokens = jnp.einsum("bnc,cd->bnd", patches, weights, preferred_element_type=jnp.float32)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.dim,), self.param_dtype)
            tokens = tokens + bias.astype(jnp.float32)[None, None]
        return tokens.astype(self.dtype)  # [B, N, D]
