"""Blocks of ViViT that attend over time and over space apart (models 3 and 4); each needs the whole grid of patches.

Nothing is merged here: a token that is gone leaves a hole in the grid of every later block.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax import ops
from vidtldr_jax.models.block import MLP, SelfAttention, make_layer_norm
from vidtldr_jax.models.dropout import (
    BlockDrop,
    DropRates,
    attend_with_dropout,
    drop_update,
    drop_values,
    find_block_drop,
    fold_key,
    split_key,
)
from vidtldr_jax.models.remat import Remat, remat_module
from vidtldr_jax.models.stacking import get_stack, scan_blocks
from vidtldr_jax.models.vivit_config import ViViTConfig


class HalvedAttention(nn.Module):
    """Attention whose first half of heads looks over time, the second over space (factorised dot product).

    Attributes:
      config: the model's description.
      form: how attention is computed, see `ops.attend`; with dropout, with whole maps.
      dtype: computation dtype.
      param_dtype: parameter dtype.
      dropout_rate: of attention weights.
    """

    config: ViViTConfig
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    dropout_rate: float = 0.0

    @nn.compact
    def __call__(self, tokens: Float[Array, "B t s D"], dropout_key: Any = None) -> Float[Array, "B t s D"]:
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
        time_key, space_key = split_key(dropout_key, 2)
        by_place = self._attend(over_time, time_key).swapaxes(1, 2)  # [B, t, s, H/2, K]
        update = jnp.concatenate([by_place, self._attend(over_space, space_key)], axis=3)  # [B, t, s, H, K]
        return nn.Dense(dim, name="proj", **dtypes)(update.reshape(tokens.shape))

    def _attend(self, parts: list[Float[Array, "B A N H K"]], dropout_key: Any) -> Float[Array, "B A N H K"]:
        """Attends along the third axis, every A apart."""
        shape = parts[0].shape
        query, key, value = (part.reshape(-1, *shape[2:]) for part in parts)
        if dropout_key is not None and self.dropout_rate:
            update = attend_with_dropout(query, key, value, None, rate=self.dropout_rate, dropout_key=dropout_key)
        else:
            update = ops.attend(query, key, value, None, with_saliency=False, form=self.form).update
        return update.reshape(shape)


class FactorizedBlock(nn.Module):
    """Attention over time and space, MLP.

    Attributes:
      config: the model's description.
      form: how attention is computed, see `ops.attend`.
      dtype: computation dtype.
      param_dtype: parameter dtype.
      drop_rates: what is dropped in training.
    """

    config: ViViTConfig
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    drop_rates: DropRates = DropRates()

    @nn.compact
    def __call__(self, tokens: Float[Array, "B t s D"], drop: BlockDrop | None = None) -> Float[Array, "B t s D"]:
        """Returns the tokens after the block."""
        config, rates = self.config, self.drop_rates
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def normalise(values: Array, name: str) -> Array:
            return make_layer_norm(config.norm_eps, name=name, **dtypes)(values)

        def attend(values: Array, axis: str, place: int) -> Array:
            attention = SelfAttention(config, self.form, dropout_rate=rates.attention, name=f"attn_{axis}", **dtypes)
            sequences = normalise(values, f"norm_{axis}").reshape(-1, *values.shape[2:])
            update, _ = attention(sequences, None, dropout_key=fold_key(drop, place))
            return drop_update(update.reshape(values.shape), rates, drop, place + 1)

        if config.attention == "factorized_dot_product":
            halved = HalvedAttention(config, self.form, dropout_rate=rates.attention, name="attn", **dtypes)
            update = halved(normalise(tokens, "norm1"), fold_key(drop, 0))
            tokens = tokens + drop_update(update, rates, drop, 1)
        else:
            for place, axis in zip((0, 2), config.attention_order.split("_")):
                if axis == "time":
                    by_place = tokens.swapaxes(1, 2)  # [B, s, t, D]
                    tokens = (by_place + attend(by_place, axis, place)).swapaxes(1, 2)
                else:
                    tokens = tokens + attend(tokens, axis, place)
        mlp = MLP(config, dropout_rate=rates.hidden, name="mlp", **dtypes)
        update = mlp(normalise(tokens, "norm2"), fold_key(drop, 4))
        return tokens + drop_update(update, rates, drop, 5)


class FactorizedEncoder(nn.Module):
    """A stack of factorised blocks and a LayerNorm.

    Attributes:
      config: the model's description.
      form: how attention is computed, see `ops.attend`.
      dtype: computation dtype.
      param_dtype: parameter dtype.
      is_stacked: the parameters of the blocks are stacked, see `Encoder`.
      drop_rates: what is dropped in training.
      remat: compute blocks again in the backward pass, see `Encoder`.
    """

    config: ViViTConfig
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    is_stacked: bool = False
    drop_rates: DropRates = DropRates()
    remat: Remat = False

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "B N D"], *, num_times: int, dropout_key: Any = None
    ) -> Float[Array, "B N D"]:
        """Returns the tokens after the last block; N is num_times patches over time, each with its places."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        fields = {"drop_rates": self.drop_rates, **dtypes}
        depth = self.config.depth
        token_key, block_key = split_key(dropout_key, 2)
        tokens = drop_values(tokens, self.drop_rates.tokens, token_key)
        grid = tokens.reshape(tokens.shape[0], num_times, -1, tokens.shape[-1])  # [B, t, s, D]
        find_drop = functools.partial(find_block_drop, self.drop_rates, block_key, depth=depth)
        if self.is_stacked:
            block = FactorizedBlock(self.config, self.form, parent=None, **fields)
            grid = scan_blocks(
                lambda p, g, layer: block.apply({"params": p}, g, find_drop(layer)),
                get_stack(self),
                grid,
                first=0,
                remat=self.remat,
            )
        block_class = remat_module(FactorizedBlock, False if self.is_initializing() else self.remat)
        for layer in range(0 if self.is_stacked else depth):
            grid = block_class(self.config, self.form, name=f"block_{layer}", **fields)(grid, find_drop(layer))
        return make_layer_norm(self.config.norm_eps, name="norm", **dtypes)(grid.reshape(tokens.shape))
