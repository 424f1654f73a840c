"""ViViT, arXiv 2103.15691: joint space-time attention, the factorised encoder, and the two factorised attentions.

    model = ViViT(config, r=(300, 300) + (0,) * 10)
    out = model.apply({"params": params}, video)

`video` is `[B, T, Y, X, C]` float, channels last, of about -1 to 1. A class token, where there is one, comes first in
every sequence; it neither absorbs nor is absorbed. In the factorised encoder every frame loses the same number of
tokens; the tokens over time are never merged. The factorised attentions need the whole grid: they merge nothing.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax import ops
from vidtldr_jax.models.dropout import DropRates, drop_values, find_key, split_key
from vidtldr_jax.models.encoder import Encoder, Trace, Tracing, join_sequences
from vidtldr_jax.models.factorized import FactorizedEncoder
from vidtldr_jax.models.heads import pool_surviving, pool_tokens
from vidtldr_jax.models.patches import PatchEmbed, measure_novelty
from vidtldr_jax.models.positions import interpolate_positions
from vidtldr_jax.models.remat import Remat
from vidtldr_jax.models.video_vit import VideoOutput
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Method

Grid = tuple[int, int, int]


class ViViT(nn.Module):
    """A ViViT with merging in its joint or its spatial encoder.

    Attributes:
      config: the model's description.
      r: tokens that each block of the (spatial) encoder loses per sequence; empty is the plain model.
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

    config: ViViTConfig
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
          trace: also return where every token went, class tokens included, see `Encoder`. Static.
          deterministic: drop nothing; False draws from the stream "dropout" of `rngs`. Static.

        Returns:
          A `VideoOutput`. Of a factorised encoder, tokens, sizes and trace are those of the spatial encoder, frame
          after frame, and `pooled` comes from the temporal one.

        Raises:
          ValueError: the video has another number of axes or colours, or sizes that patches don't divide, r is not one
            number per block, tokens are to be merged where every block needs the whole grid, or there is no key to
            draw from.
        """
        config = self.config
        batch = video.shape[0]
        grid = self._find_grid(video.shape)
        made_for = config.position_grid or config.grid
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        blocks = {"form": self.form, "is_stacked": self.is_stacked, **dtypes}
        blocks |= {"drop_rates": self.drop_rates, "remat": self.remat}
        key, temporal_key, head_key = split_key(find_key(self, self.drop_rates, deterministic=deterministic), 3)
        sizes = (config.dim, config.patch_size, config.tubelet_size)
        embed = PatchEmbed(*sizes, kernel_init=config.patch_init, name="patch_embed", **dtypes)
        tokens = embed(video)  # [B, t y x, D]
        path: Trace | None = None

        if config.attention == "spacetime":
            tokens = self._add_positions(tokens, "", made_for, grid)
            novelty = None
            if self.method.is_early and any(self.r):
                units = {"patch_size": config.patch_size, "tubelet_size": config.tubelet_size}
                novelty = measure_novelty(video, num_cls_tokens=config.num_cls_tokens, **units)
            encoder = Encoder(config, self.r, self.method, name="encoder", merging=self.merging, **blocks)
            state, path = encoder(tokens, trace=trace, novelty=novelty, dropout_key=key)
            pooled = pool_surviving(state, config.pooling, num_tokens=tokens.shape[1])  # [B, D]
        elif config.attention == "factorized_encoder":
            frames = tokens.reshape(batch * grid[0], grid[1] * grid[2], config.dim)  # [B t, y x, D]
            frames = self._add_positions(frames, "", (1, *made_for[1:]), (1, *grid[1:]))
            encoder = Encoder(config, self.r, self.method, name="encoder", merging=self.merging, **blocks)
            state, path = encoder(frames, trace=trace, dropout_key=key)
            moments = pool_surviving(state, config.pooling, num_tokens=frames.shape[1])  # [B t, D]
            moments = moments.reshape(batch, grid[0], config.dim)  # [B, t, D]
            if config.temporal is not None:
                moments = self._add_positions(moments, "temporal_", (made_for[0], 1, 1), (grid[0], 1, 1))
                temporal = Encoder(config.temporal, name="temporal_encoder", **blocks)
                over_time, _ = temporal(moments, dropout_key=temporal_key)
                pooled = pool_surviving(over_time, config.pooling, num_tokens=moments.shape[1])  # [B, D]
            else:
                pooled = pool_tokens(moments)  # [B, D]
            state, path = join_sequences(state, path, batch)
        else:
            tokens = self._add_positions(tokens, "", made_for, grid)
            factorized = FactorizedEncoder(config, name="encoder", **blocks)
            state = ops.init_merge_state(factorized(tokens, num_times=grid[0], dropout_key=key), trace=bool(trace))
            if state.source is not None and state.source_weight is not None:
                path = Trace(state.source, state.source_weight, ())
            pooled = pool_surviving(state, config.pooling, num_tokens=tokens.shape[1])  # [B, D]
        if config.representation_dim is not None:
            pooled = jnp.tanh(nn.Dense(config.representation_dim, name="pre_logits", **dtypes)(pooled))
        logits = None
        if config.num_classes is not None:
            read = drop_values(pooled, self.drop_rates.head, head_key)
            logits = nn.Dense(config.num_classes, name="head", **dtypes)(read).astype(jnp.float32)
        return VideoOutput(state.tokens, state.size, pooled, None, logits, path)

    def _add_positions(self, tokens: Float[Array, "B N D"], prefix: str, made_for: Grid, grid: Grid) -> Array:
        """Puts the class token in front, where there is one, and adds the learned positions."""
        config = self.config
        extra = config.num_cls_tokens
        shape = (made_for[0] * made_for[1] * made_for[2] + extra, config.dim)
        table = self.param(f"{prefix}pos_embed", nn.initializers.normal(0.02), shape, self.param_dtype)
        patches = jnp.asarray(interpolate_positions(table[extra:], made_for, grid))
        if extra:
            cls = self.param(f"{prefix}cls_token", nn.initializers.zeros, (config.dim,), self.param_dtype)
            cls = jnp.broadcast_to(cls.astype(self.dtype), (tokens.shape[0], 1, config.dim))
            tokens = jnp.concatenate([cls, tokens], axis=1)  # [B, 1 + N, D]
        return tokens + jnp.concatenate([table[:extra], patches]).astype(self.dtype)[None]

    def _find_grid(self, shape: tuple[int, ...]) -> Grid:
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
        if any(self.r) and not config.is_mergeable:
            raise ValueError(
                f"merging takes tokens out of the grid, and {config.attention} needs the whole grid in every "
                f"block; got r = {self.r}; leave it empty, or take a spacetime or factorized_encoder model."
            )
        t, y, x = (n // u for n, u in zip(shape[1:4], units))
        return t, y, x


def init_variables(config: ViViTConfig, key: Any) -> Any:
    """Makes the variables of a `ViViT`; use it under `jax.eval_shape` where only shapes are wanted."""
    video = jnp.zeros((1, config.num_frames, config.image_size, config.image_size, config.num_channels), jnp.float32)
    return ViViT(config).init(key, video)
