"""Stands for Scenic's plain image ViT where that is not installed: its names, fields and parameters, in few words.

tests/scenic_adapter/test_image_vit.py compares it with the original where Scenic is on the path.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

_XAVIER = nn.initializers.xavier_uniform()


class Encoder1DBlock(nn.Module):
    mlp_dim: int
    num_heads: int
    dropout_rate: float
    attention_dropout_rate: float

    @nn.compact
    def __call__(self, x, deterministic):
        update = nn.MultiHeadDotProductAttention(
            self.num_heads, kernel_init=_XAVIER, broadcast_dropout=False, deterministic=deterministic,
            dropout_rate=self.attention_dropout_rate,
        )(nn.LayerNorm()(x))  # fmt: skip
        x = x + nn.Dropout(self.dropout_rate)(update, deterministic)
        mlp = MlpBlock(self.mlp_dim, self.dropout_rate, name="MlpBlock_0")
        return x + mlp(nn.LayerNorm()(x), deterministic)


class MlpBlock(nn.Module):
    mlp_dim: int
    dropout_rate: float

    @nn.compact
    def __call__(self, x, deterministic):
        inits = {"kernel_init": _XAVIER, "bias_init": nn.initializers.normal(1e-6)}
        hidden = nn.Dropout(self.dropout_rate)(nn.gelu(nn.Dense(self.mlp_dim, **inits)(x)), deterministic)
        return nn.Dropout(self.dropout_rate)(nn.Dense(x.shape[-1], **inits)(hidden), deterministic)


class AddPositionEmbs(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + self.param("pos_embedding", nn.initializers.normal(0.02), (1, *x.shape[1:]), x.dtype)


class Encoder(nn.Module):
    num_layers: int
    mlp_dim: int
    num_heads: int
    positional_embedding: str = "learned_1d"
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.1
    stochastic_depth: float = 0.0
    dtype: Any = jnp.float32
    has_cls_token: bool = False

    @nn.compact
    def __call__(self, x, *, train=False):
        x = AddPositionEmbs(name="posembed_input")(x)
        x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
        for layer in range(self.num_layers):
            fields = (self.mlp_dim, self.num_heads, self.dropout_rate, self.attention_dropout_rate)
            x = Encoder1DBlock(*fields, name=f"encoderblock_{layer}")(x, not train)
        return nn.LayerNorm(name="encoder_norm")(x)


class ViT(nn.Module):
    num_classes: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    patches: Any
    hidden_size: int
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.1
    classifier: str = "gap"

    @nn.compact
    def __call__(self, x, *, train):
        size = tuple(self.patches.size)
        x = nn.Conv(self.hidden_size, size, strides=size, padding="VALID", name="embedding")(x)
        x = x.reshape(x.shape[0], -1, self.hidden_size)
        has_cls_token = self.classifier == "token"
        if has_cls_token:
            cls = self.param("cls", nn.initializers.zeros, (1, 1, self.hidden_size), x.dtype)
            x = jnp.concatenate([jnp.tile(cls, [x.shape[0], 1, 1]), x], axis=1)
        fields = {"num_layers": self.num_layers, "mlp_dim": self.mlp_dim, "num_heads": self.num_heads}
        fields |= {"dropout_rate": self.dropout_rate, "attention_dropout_rate": self.attention_dropout_rate}
        fields |= {"positional_embedding": "learned_1d", "stochastic_depth": 0.0, "dtype": jnp.float32}
        x = Encoder(**fields, has_cls_token=has_cls_token, name="Transformer")(x, train=train)
        x = x[:, 0] if has_cls_token else x.mean(1)
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="output_projection")(x)
