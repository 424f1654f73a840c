"""The joint space-time ViT: UMT's vision encoder, and UMT's and VideoMAE's classifiers.

    model = VideoViT(config, r=(600, 200, 100) + (0,) * 9)
    out = model.apply({"params": params}, video, trace=True)

`video` is `[B, T, Y, X, C]` float, channels last, normalised by the mean and standard deviation that belong to the
weights (values of about -2 to 2). T, Y, X may differ from the config's: positions follow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax import ops
from vidtldr_jax.models.block import make_layer_norm
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.dropout import DropRates, drop_values, find_key, split_key
from vidtldr_jax.models.encoder import Encoder, Trace, Tracing
from vidtldr_jax.models.heads import pool_tokens
from vidtldr_jax.models.patches import PatchEmbed, measure_novelty
from vidtldr_jax.models.positions import interpolate_positions, sincos_positions
from vidtldr_jax.models.remat import Remat
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Method


class VideoOutput(NamedTuple):
    """What a video encoder returns.

    Attributes:
      tokens: `[B, M, D]`, the surviving tokens.
      size: `[B, M]` float32, how many original tokens each stands for.
      pooled: `[B, D]`, their mean, normalised where the model does so.
      embedding: `[B, E]` float32, the projection of `pooled`, or None for a model without one.
      logits: `[B, num_classes]` float32, or None for a model without a classifier.
      trace: where every original token went, or None if it was not asked for.
    """

    tokens: Float[Array, "B M D"]
    size: Float[Array, "B M"]
    pooled: Float[Array, "B D"]
    embedding: Float[Array, "B E"] | None
    logits: Float[Array, "B num_classes"] | None
    trace: Trace | None


class VideoViT(nn.Module):
    """A vision transformer over all patches of all frames at once.

    Attributes:
      config: the model's description.
      r: tokens that each block loses, one per block; empty is the plain model.
      method: how they are chosen, see `reduction.methods`.
      form: how attention is computed, see `ops.attend`.
      dtype: computation dtype; softmax, norms, saliency and merging are float32 in any case.
      param_dtype: parameter dtype.
      is_stacked: the parameters of the blocks are stacked, see `Encoder`.
      drop_rates: what is dropped in training, see `DropRates`.
      remat: compute blocks again in the backward pass, which needs less memory: no, yes, or all but what a policy of
        `jax.checkpoint_policies` keeps.
      merging: how absorbed tokens are summed, see `ops.merge_tokens`.
    """

    config: VideoViTConfig
    r: tuple[int, ...] = ()
    method: Method = DEFAULT_METHOD
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    is_stacked: bool = False
    drop_rates: DropRates = DropRates()
    remat: Remat = False
    merging: ops.MergeForm = "auto"

    @nn.compact
    def __call__(
        self, video: Float[Array, "B T Y X C"], *, trace: Tracing = False, deterministic: bool = True
    ) -> VideoOutput:
        """Encodes a batch of videos.

        Args:
          video: normalised frames, channels last.
          trace: also return where every token went, see `Encoder`. Static.
          deterministic: drop nothing; False draws from the stream "dropout" of `rngs`. Static.

        Returns:
          A `VideoOutput`.

        Raises:
          ValueError: the video has another number of axes or colours, or sizes that patches don't divide, r is not
            one number per block, or there is no key to draw from.
        """
        config = self.config
        grid = self._find_grid(video.shape)
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        embed = PatchEmbed(config.dim, config.patch_size, config.tubelet_size, name="patch_embed", **dtypes)
        tokens = embed(video)  # [B, N, D]
        tokens = tokens + self._find_positions(grid).astype(self.dtype)[None]
        blocks = {"is_stacked": self.is_stacked, "drop_rates": self.drop_rates, "remat": self.remat, **dtypes}
        blocks |= {"merging": self.merging}
        encoder = Encoder(config, self.r, self.method, self.form, name="encoder", **blocks)
        encoder_key, head_key = split_key(find_key(self, self.drop_rates, deterministic=deterministic), 2)
        novelty = None
        if self.method.is_early and any(self.r):
            novelty = measure_novelty(video, patch_size=config.patch_size, tubelet_size=config.tubelet_size)
        state, path = encoder(tokens, trace=trace, novelty=novelty, dropout_key=encoder_key)

        if config.pooling == "first":
            pooled = state.tokens[:, 0]  # [B, D]
        else:
            pooled = pool_tokens(state.tokens, state.size if config.pooling == "mean_by_size" else None)
        if config.pool_norm:
            epsilon = config.norm_eps if config.pool_norm_eps is None else config.pool_norm_eps
            pooled = make_layer_norm(epsilon, name="pool_norm", **dtypes)(pooled)
        embedding = logits = None
        if config.embed_dim is not None:
            embedding = nn.Dense(config.embed_dim, name="projection", **dtypes)(pooled).astype(jnp.float32)
        if config.num_classes is not None:
            read = drop_values(pooled, self.drop_rates.head, head_key)
            logits = nn.Dense(config.num_classes, name="head", **dtypes)(read).astype(jnp.float32)
        return VideoOutput(state.tokens, state.size, pooled, embedding, logits, path)

    def _find_grid(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        config = self.config
        units = (config.tubelet_size, config.patch_size, config.patch_size)
        if len(shape) != 5 or shape[-1] != config.num_channels or any(n % u for n, u in zip(shape[1:4], units)):
            raise ValueError(
                f"a video is [B, T, Y, X, {config.num_channels}] with T a multiple of {units[0]} and Y, X of "
                f"{units[1]}; got shape {shape}; resize it, pad it, or put channels last."
            )
        if self.r and len(self.r) != config.depth:
            raise ValueError(
                f"r has one number for each of {config.depth} blocks; got {len(self.r)}; "
                "resolve_schedule makes such a tuple."
            )
        t, y, x = (n // u for n, u in zip(shape[1:4], units))
        return t, y, x

    def _find_positions(self, grid: tuple[int, int, int]) -> Float[Array, "N D"]:
        config = self.config
        if config.positions == "learned":
            made_for = config.position_grid or config.grid
            shape = (made_for[0] * made_for[1] * made_for[2], config.dim)
            table = self.param("pos_embed", nn.initializers.truncated_normal(0.02), shape, self.param_dtype)
            return jnp.asarray(interpolate_positions(table, made_for, grid))
        is_separate_image = grid[0] == 1 and config.image_positions == "separate"
        made_for = grid if is_separate_image or config.position_grid is None else config.position_grid
        return jnp.asarray(interpolate_positions(sincos_positions(made_for, config.dim), made_for, grid))


def init_variables(config: VideoViTConfig, key: Any) -> Any:
    """Makes the variables of a `VideoViT`; use it under `jax.eval_shape` where only shapes are wanted."""
    video = jnp.zeros((1, config.num_frames, config.image_size, config.image_size, config.num_channels), jnp.float32)
    return VideoViT(config).init(key, video)
