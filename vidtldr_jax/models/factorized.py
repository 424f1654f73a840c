"""Blocks of ViViT that attend over time and over space apart (models 3 and 4); each needs the whole grid of patches.

Nothing is merged here: a token that is gone leaves a hole in the grid of every later block.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax import ops
from vidtldr_jax.models.block import MLP, SelfAttention, make_layer_norm
from vidtldr_jax.models.stacking import get_stack, scan_blocks
from vidtldr_jax.models.vivit_config import ViViTConfig


class HalvedAttention(nn.Module):
    """Attention whose first half of heads looks over time, the second over space (factorised dot product).

    Attributes:
      config: the model's description.
      form: how attention is computed, see `ops.attend`.
      dtype: computation dtype.
      param_dtype: parameter dtype.
    """

    config: ViViTConfig
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, "B t s D"]) -> Float[Array, "B t s D"]:
        """Returns the update of the residual stream."""
        batch, times, places, dim = tokens.shape
        heads = self.config.num_heads
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def project(name: str) -> Array:
            dense = nn.Dense(dim, use_bias=self.config.qkv_bias == "all", name=name, **dtypes)
            return dense(tokens).reshape(batch, times, places, heads, dim // heads)  # [B, t, s, H, K]

        parts = [project(name) for name in ("query", "key", "value")]
        over_time = [part[..., : heads // 2, :].swapaxes(1, 2) for part in parts]  # [B, s, t, H/2, K]
        over_space = [part[..., heads // 2 :, :] for part in parts]  # [B, t, s, H/2, K]
        updates = [_attend(over_time, self.form).swapaxes(1, 2), _attend(over_space, self.form)]
        update = jnp.concatenate(updates, axis=3)  # [B, t, s, H, K]
        return nn.Dense(dim, name="proj", **dtypes)(update.reshape(tokens.shape))


class FactorizedBlock(nn.Module):
    """Attention over time and space, MLP.

    Attributes:
      config: the model's description.
      form: how attention is computed, see `ops.attend`.
      dtype: computation dtype.
      param_dtype: parameter dtype.
    """

    config: ViViTConfig
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, "B t s D"]) -> Float[Array, "B t s D"]:
        """Returns the tokens after the block."""
        config = self.config
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def normalise(values: Array, name: str) -> Array:
            return make_layer_norm(config.norm_eps, name=name, **dtypes)(values)

        def attend(values: Array, axis: str) -> Array:
            attention = SelfAttention(config, self.form, name=f"attn_{axis}", **dtypes)
            sequences = normalise(values, f"norm_{axis}").reshape(-1, *values.shape[2:])
            return attention(sequences, None)[0].reshape(values.shape)

        if config.attention == "factorized_dot_product":
            tokens = tokens + HalvedAttention(config, self.form, name="attn", **dtypes)(normalise(tokens, "norm1"))
        else:
            for axis in config.attention_order.split("_"):
                if axis == "time":
                    by_place = tokens.swapaxes(1, 2)  # [B, s, t, D]
                    tokens = (by_place + attend(by_place, axis)).swapaxes(1, 2)
                else:
                    tokens = tokens + attend(tokens, axis)
        return tokens + MLP(config, name="mlp", **dtypes)(normalise(tokens, "norm2"))


class FactorizedEncoder(nn.Module):
    """A stack of factorised blocks and a LayerNorm.

    Attributes:
      config: the model's description.
      form: how attention is computed, see `ops.attend`.
      dtype: computation dtype.
      param_dtype: parameter dtype.
      is_stacked: the parameters of the blocks are stacked, see `Encoder`.
    """

    config: ViViTConfig
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    is_stacked: bool = False

    @nn.compact
    def __call__(self, tokens: Float[Array, "B N D"], *, num_times: int) -> Float[Array, "B N D"]:
        """Returns the tokens after the last block; N is num_times patches over time, each with its places."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        grid = tokens.reshape(tokens.shape[0], num_times, -1, tokens.shape[-1])  # [B, t, s, D]
        if self.is_stacked:
            block = FactorizedBlock(self.config, self.form, parent=None, **dtypes)
            grid = scan_blocks(lambda p, g: block.apply({"params": p}, g), get_stack(self), grid, first=0)
        for layer in range(0 if self.is_stacked else self.config.depth):
            grid = FactorizedBlock(self.config, self.form, name=f"block_{layer}", **dtypes)(grid)
        return make_layer_norm(self.config.norm_eps, name="norm", **dtypes)(grid.reshape(tokens.shape))


def _attend(parts: list[Float[Array, "B A N H K"]], form: ops.AttentionForm) -> Float[Array, "B A N H K"]:
    """Attends along the third axis, every A apart."""
    shape = parts[0].shape
    query, key, value = (part.reshape(-1, *shape[2:]) for part in parts)
    return ops.attend(query, key, value, None, with_saliency=False, form=form).update.reshape(shape)
