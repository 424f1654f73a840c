"""Stands for big_vision's `models/vit.py` where that is not installed: its names, fields and parameters, in few words.

tests/docs/test_big_vision.py compares it with the original where big_vision is on the path.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp


class MlpBlock(nn.Module):
    mlp_dim: int | None = None
    dropout: float = 0.0
    dtype_mm: str = "float32"

    @nn.compact
    def __call__(self, x, deterministic=True):
        hidden = nn.gelu(_dense(self.mlp_dim or 4 * x.shape[-1], self.dtype_mm)(x))
        return _dense(x.shape[-1], self.dtype_mm)(nn.Dropout(self.dropout)(hidden, deterministic))


def _dense(dim, dtype):
    inits = {"kernel_init": nn.initializers.xavier_uniform(), "bias_init": nn.initializers.normal(1e-6)}
    return nn.Dense(dim, dtype=dtype, **inits)


class Encoder1DBlock(nn.Module):
    mlp_dim: int | None = None
    num_heads: int = 12
    dropout: float = 0.0
    dtype_mm: str = "float32"

    @nn.compact
    def __call__(self, x, deterministic=True):
        fields = {"num_heads": self.num_heads, "kernel_init": nn.initializers.xavier_uniform(), "dtype": self.dtype_mm}
        update = nn.MultiHeadDotProductAttention(**fields, deterministic=deterministic)(nn.LayerNorm()(x))
        x = x + nn.Dropout(self.dropout)(update, deterministic)
        update = MlpBlock(self.mlp_dim, self.dropout, self.dtype_mm)(nn.LayerNorm()(x), deterministic)
        return x + nn.Dropout(self.dropout)(update, deterministic), {}


class Encoder(nn.Module):
    depth: int
    mlp_dim: int | None = None
    num_heads: int = 12
    dropout: float = 0.0
    scan: bool = False
    remat_policy: str = "nothing_saveable"
    dtype_mm: str = "float32"

    @nn.compact
    def __call__(self, x, deterministic=True):
        fields = {"mlp_dim": self.mlp_dim, "num_heads": self.num_heads, "dropout": self.dropout}
        for layer in range(self.depth):
            block = Encoder1DBlock(**fields, dtype_mm=self.dtype_mm, name=f"encoderblock_{layer}")
            x, _ = block(x, deterministic)
        return nn.LayerNorm(name="encoder_norm")(x), {}


class Model(nn.Module):
    num_classes: int
    patch_size: Any = (16, 16)
    width: int = 768
    depth: int = 12
    mlp_dim: int | None = None
    num_heads: int = 12
    dropout: float = 0.0
    pool_type: str = "gap"
    head_zeroinit: bool = True

    @nn.compact
    def __call__(self, image, *, train=False):
        embed = nn.Conv(self.width, self.patch_size, strides=self.patch_size, padding="VALID", name="embedding")
        grid = embed(image)
        x = grid.reshape(grid.shape[0], -1, self.width)
        init = nn.initializers.normal(self.width**-0.5)
        x = x + self.param("pos_embedding", init, (1, x.shape[1], self.width), x.dtype)
        if self.pool_type == "tok":
            cls = self.param("cls", nn.initializers.zeros, (1, 1, self.width), x.dtype)
            x = jnp.concatenate([jnp.tile(cls, [x.shape[0], 1, 1]), x], axis=1)
        x = nn.Dropout(self.dropout)(x, not train)
        fields = {"depth": self.depth, "mlp_dim": self.mlp_dim, "num_heads": self.num_heads, "dropout": self.dropout}
        fields |= {"scan": False, "remat_policy": "nothing_saveable", "dtype_mm": "float32"}
        x, _ = Encoder(**fields, name="Transformer")(x, deterministic=not train)
        pooled, patches = (x[:, 0], x[:, 1:]) if self.pool_type == "tok" else (x.mean(1), x)
        init = nn.initializers.zeros if self.head_zeroinit else nn.initializers.lecun_normal()
        head = nn.Dense(self.num_classes, kernel_init=init, name="head")
        return head(pooled), {"logits_2d": head(patches.reshape(grid.shape))}
