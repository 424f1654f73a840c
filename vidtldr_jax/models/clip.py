"""CLIP's vision tower over video, frame by frame or all frames at once.

    model = CLIPVision(config, r=(300, 300) + (0,) * 10)
    out = model.apply({"params": params}, video)

`video` is `[B, T, Y, X, C]` float, channels last, of about -2 to 2. The class token comes first in every sequence; it
neither absorbs nor is absorbed.

Reference:
  CLIP, arXiv 2103.00020. Frame by frame with a mean over frames is the mean pooling of CLIP4Clip, arXiv 2104.08860.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax import ops
from vidtldr_jax.models.block import make_layer_norm
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.dropout import DropRates, find_key
from vidtldr_jax.models.encoder import Encoder, Tracing, join_sequences
from vidtldr_jax.models.patches import PatchEmbed, measure_novelty
from vidtldr_jax.models.positions import interpolate_positions
from vidtldr_jax.models.remat import Remat
from vidtldr_jax.models.video_vit import VideoOutput
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Method


class CLIPVision(nn.Module):
    """A CLIP vision tower with merging.

    Attributes:
      config: the model's description.
      r: tokens that each block loses per sequence; empty is the plain model.
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

    config: CLIPConfig
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
          A `VideoOutput`. `pooled` is the class token after its LayerNorm, and `embedding` its projection, both
          averaged over frames where these are encoded apart; tokens, sizes and trace are then frame after frame.

        Raises:
          ValueError: the video has another number of axes or colours, or sizes that patches don't divide, r is not
            one number per block, or there is no key to draw from.
        """
        config = self.config
        batch = video.shape[0]
        frames, rows, columns = self._find_grid(video.shape)
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        embed = PatchEmbed(config.dim, config.patch_size, 1, use_bias=False, name="patch_embed", **dtypes)
        patches = embed(video).reshape(batch, frames, rows * columns, config.dim)  # [B, T, y x, D]

        made_for = config.grid[1]
        table = self.param(
            "pos_embed", nn.initializers.normal(0.02), (made_for * made_for + 1, config.dim), self.param_dtype
        )
        places = jnp.asarray(interpolate_positions(table[1:], (1, made_for, made_for), (1, rows, columns)))
        patches = (patches + places.astype(self.dtype)[None, None]).reshape(
            batch * config.count_sequences(frames), -1, config.dim
        )  # [B, T y x, D] or [B T, y x, D]
        cls = self.param("cls_token", nn.initializers.normal(0.02), (config.dim,), self.param_dtype)
        cls = jnp.broadcast_to((cls + table[0]).astype(self.dtype), (patches.shape[0], 1, config.dim))
        tokens = jnp.concatenate([cls, patches], axis=1)
        tokens = make_layer_norm(config.norm_eps, name="pre_norm", **dtypes)(tokens)

        blocks = {"is_stacked": self.is_stacked, "drop_rates": self.drop_rates, "remat": self.remat, **dtypes}
        blocks |= {"merging": self.merging}
        encoder = Encoder(config, self.r, self.method, self.form, name="encoder", **blocks)
        key = find_key(self, self.drop_rates, deterministic=deterministic)
        novelty = None
        if self.method.is_early and any(self.r) and config.encoding == "joint":
            units = {"patch_size": config.patch_size, "tubelet_size": 1}
            novelty = measure_novelty(video, num_cls_tokens=config.num_cls_tokens, **units)
        state, path = encoder(tokens, trace=trace, novelty=novelty, dropout_key=key)
        pooled = make_layer_norm(config.norm_eps, name="pool_norm", **dtypes)(state.tokens[:, 0])
        pooled = pooled.astype(jnp.float32).reshape(batch, -1, config.dim).mean(1).astype(self.dtype)  # [B, D]
        embedding = None
        if config.embed_dim is not None:
            project = nn.Dense(config.embed_dim, use_bias=False, name="projection", **dtypes)
            embedding = project(pooled).astype(jnp.float32)  # [B, E]
        state, path = join_sequences(state, path, batch)
        return VideoOutput(state.tokens, state.size, pooled, embedding, None, path)

    def _find_grid(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        config = self.config
        unit = config.patch_size
        if len(shape) != 5 or shape[-1] != config.num_channels or shape[2] % unit or shape[3] % unit:
            raise ValueError(
                f"a video is [B, T, Y, X, {config.num_channels}] with Y and X multiples of {unit}; got "
                f"shape {shape}; resize it, pad it, or put channels last."
            )
        if self.r and len(self.r) != config.depth:
            raise ValueError(
                f"r has one number for each of {config.depth} blocks; got {len(self.r)}; "
                "resolve_schedule makes such a tuple."
            )
        return shape[1], shape[2] // unit, shape[3] // unit


def init_variables(config: CLIPConfig, key: Any) -> Any:
    """Makes the variables of a `CLIPVision`; use it under `jax.eval_shape` where only shapes are wanted."""
    video = jnp.zeros((1, config.num_frames, config.image_size, config.image_size, config.num_channels), jnp.float32)
    return CLIPVision(config).init(key, video)
