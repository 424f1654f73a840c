"""Video -> tokens: non-overlapping tubelets, each projected to one token."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class PatchEmbed(nn.Module):
    """Cuts a video into tubelets and projects each to a token, ordered by time, row, column.

    The same as a 3-D convolution whose stride is its kernel, written as one matrix product.

    Attributes:
      dim: channels of a token.
      patch_size: rows and columns of a patch, pixels.
      tubelet_size: frames of a patch.
      use_bias: whether the projection has a bias.
      dtype: computation dtype.
      param_dtype: parameter dtype.
    """

    dim: int
    patch_size: int
    tubelet_size: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, video: Float[Array, "B T Y X C"]) -> Float[Array, "B N D"]:
        """Embeds `[B, T, Y, X, C]` as `[B, N, D]`."""
        batch, frames, rows, columns, colours = video.shape
        t, p = self.tubelet_size, self.patch_size
        kernel_shape = (t, p, p, colours, self.dim)
        # LeCun's variance of one output channel counts all t * p * p * C inputs.
        init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=(0, 1, 2, 3), out_axis=4)
        kernel = self.param("kernel", init, kernel_shape, self.param_dtype)

        patches = video.astype(self.dtype).reshape(batch, frames // t, t, rows // p, p, columns // p, p, colours)
        patches = patches.transpose(0, 1, 3, 5, 2, 4, 6, 7)  # [B, T/t, Y/p, X/p, t, p, p, C]
        patches = patches.reshape(batch, -1, t * p * p * colours)  # [B, N, t p p C]
        weights = kernel.reshape(-1, self.dim).astype(self.dtype)
        tokens = jnp.einsum("bnc,cd->bnd", patches, weights, preferred_element_type=jnp.float32)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.dim,), self.param_dtype)
            tokens = tokens + bias.astype(jnp.float32)
        return tokens.astype(self.dtype)  # [B, N, D]
