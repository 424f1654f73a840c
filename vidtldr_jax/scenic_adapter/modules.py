"""ViViT with Scenic's parameter tree, that merges tokens: what `apply` of Scenic's trainers calls. Imports no Scenic.

    module = MergingViViT(config, schedule=(800, 270, 135))
    logits = module.apply({"params": params}, video, train=False, debug=False)

Joint attention and the factorised encoder; the other two forms need the whole grid of patches in every block. Names of
modules and parameters, first values, dropout and computation dtypes are Scenic's, so that its checkpoints fit both
ways. All shapes are static and nothing is random but dropout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vidtldr_jax import ops
from vidtldr_jax.models.heads import pool_surviving, pool_tokens
from vidtldr_jax.models.patches import PATCH_INITS
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Evidence, Method, Need
from vidtldr_jax.reduction.schedule import ScheduleEntry, resolve_schedule

_XAVIER: Final = nn.initializers.xavier_uniform()


class MergingSelfAttention(nn.Module):
    """Self-attention that knows token sizes, with the parameters of `nn.MultiHeadDotProductAttention`.

    Attributes:
      num_heads: attention heads.
      num_protected: leading tokens that take no part in merging.
      dropout_rate: of attention weights; where it is above 0 in training, the update is computed with whole maps.
      form: one of the forms of `ops.attend`.
      dtype: computation dtype.
    """

    num_heads: int
    num_protected: int
    dropout_rate: float
    form: ops.AttentionForm
    dtype: Any

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "B N D"], size: Float[Array, "B N"] | None, *, needs: Sequence[Need], train: bool
    ) -> tuple[Float[Array, "B N D"], dict[Need, Array]]:
        """Returns the update of the residual stream and, of what the attention knows, what a method needs."""
        dim = tokens.shape[-1]
        shape = (self.num_heads, dim // self.num_heads)
        query, key, value = (
            nn.DenseGeneral(shape, kernel_init=_XAVIER, dtype=self.dtype, name=name)(tokens)
            for name in ("query", "key", "value")
        )  # [B, N, H, K]
        options: dict[str, Any] = {"num_protected": self.num_protected, "form": self.form}
        known: dict[Need, Array | None] = {"keys": key}
        if "received" in needs:
            update, known["received"] = ops.attend_received(query, key, value, size, **options)
        else:
            with_saliency = "saliency" in needs
            update, known["saliency"] = ops.attend(query, key, value, size, with_saliency=with_saliency, **options)
        if train and self.dropout_rate:
            bias = None if size is None else jnp.log(size)[:, None, None, :]
            update = nn.dot_product_attention(
                query,
                key,
                value,
                bias,
                broadcast_dropout=False,
                dropout_rng=self.make_rng("dropout"),
                dropout_rate=self.dropout_rate,
                dtype=self.dtype,
            )
        out = nn.DenseGeneral(dim, axis=(-2, -1), kernel_init=_XAVIER, dtype=self.dtype, name="out")
        known["update"] = update = out(update)
        return update, {need: found for need in needs if (found := known.get(need)) is not None}


class MLPBlock(nn.Module):
    """Two dense layers around tanh GELU, each with dropout after it.

    Attributes:
      mlp_dim: hidden channels.
      dropout_rate: of both layers.
      dtype: computation dtype.
    """

    mlp_dim: int
    dropout_rate: float
    dtype: Any

    @nn.compact
    def __call__(self, tokens: Float[Array, "B N D"], *, train: bool) -> Float[Array, "B N D"]:
        """Returns the update of the residual stream."""
        kwargs = {"kernel_init": _XAVIER, "bias_init": nn.initializers.normal(1e-6), "dtype": self.dtype}
        hidden = nn.gelu(nn.Dense(self.mlp_dim, name="Dense_0", **kwargs)(tokens), approximate=True)  # [B, N, mlp_dim]
        hidden = nn.Dropout(self.dropout_rate)(hidden, deterministic=not train)
        update = nn.Dense(tokens.shape[-1], name="Dense_1", **kwargs)(hidden)
        return nn.Dropout(self.dropout_rate)(update, deterministic=not train)


class MergingEncoderBlock(nn.Module):
    """Attention, reduction, MLP.

    Attributes:
      config: the encoder's description: heads, MLP, protected tokens.
      r: tokens that the block loses.
      is_sized: whether an earlier block has merged.
      method: how they are chosen.
      dropout_rate: of both updates.
      attention_dropout_rate: of attention weights.
      drop_probability: of leaving an update out, per example (stochastic depth).
      form: one of the forms of `ops.attend`.
      dtype: computation dtype; the residual stream has the embedding's.
    """

    config: ViViTConfig
    r: int
    is_sized: bool
    method: Method
    dropout_rate: float
    attention_dropout_rate: float
    drop_probability: float
    form: ops.AttentionForm
    dtype: Any

    @nn.compact
    def __call__(self, state: ops.MergeState, *, train: bool) -> ops.MergeState:
        """Returns the state after the block."""
        config = self.config
        attend = MergingSelfAttention(
            config.num_heads,
            config.num_protected,
            self.attention_dropout_rate,
            self.form,
            self.dtype,
            name="MultiHeadDotProductAttention_0",
        )
        size = state.size if self.is_sized else None
        normed = nn.LayerNorm(dtype=self.dtype, name="LayerNorm_0")(state.tokens)
        update, evidence = attend(normed, size, needs=self.method.needs if self.r else (), train=train)
        update = nn.Dropout(self.dropout_rate)(update, deterministic=not train)
        state = state._replace(tokens=state.tokens + self._keep_some(update, train))
        if self.r:
            seen = Evidence(state.tokens, **evidence)
            plan, weight, _ = self.method.choose(seen, r=self.r, num_protected=config.num_protected)
            state = ops.merge_tokens(state, plan, weight)
        normed = nn.LayerNorm(dtype=self.dtype, name="LayerNorm_1")(state.tokens)
        update = MLPBlock(config.mlp_dim, self.dropout_rate, self.dtype, name="MlpBlock_0")(normed, train=train)
        return state._replace(tokens=state.tokens + self._keep_some(update, train))

    def _keep_some(self, update: Float[Array, "B N D"], train: bool) -> Float[Array, "B N D"]:
        """Leaves the whole update out for some examples, in training."""
        if not train or not self.drop_probability:
            return update
        is_dropped = jax.random.bernoulli(self.make_rng("dropout"), self.drop_probability, (update.shape[0], 1, 1))
        return jnp.where(is_dropped, 0, update)


class MergingEncoder(nn.Module):
    """Learned positions, blocks, LayerNorm.

    Attributes:
      config: the encoder's description.
      schedule: entries of a schedule, resolved by the number of tokens that come; empty merges nothing.
      method: how tokens are chosen.
      dropout_rate: after the positions and in the blocks.
      attention_dropout_rate: of attention weights.
      stochastic_droplayer_rate: of the last block; it grows linearly from 0.
      form: one of the forms of `ops.attend`.
      dtype: computation dtype.
    """

    config: ViViTConfig
    schedule: tuple[ScheduleEntry, ...] = ()
    method: Method = DEFAULT_METHOD
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    stochastic_droplayer_rate: float = 0.0
    form: ops.AttentionForm = "dense"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, "B N D"], *, train: bool) -> ops.MergeState:
        """Returns the state after the last block."""
        depth, protected = self.config.depth, self.config.num_protected
        tokens = _AddPositions(name="posembed_input")(tokens)
        tokens = nn.Dropout(self.dropout_rate)(tokens, deterministic=not train)
        sizes = {"num_tokens": tokens.shape[1], "num_layers": depth, "num_protected": protected}
        counts = resolve_schedule(self.schedule, method=self.method, **sizes).r
        state = ops.init_merge_state(tokens)
        for layer, r in enumerate(counts):
            state = MergingEncoderBlock(
                self.config,
                r,
                self.method.grows and any(counts[:layer]),
                self.method,
                self.dropout_rate,
                self.attention_dropout_rate,
                self.stochastic_droplayer_rate * layer / max(depth - 1, 1),
                self.form,
                self.dtype,
                name=f"encoderblock_{layer}",
            )(state, train=train)
        return state._replace(tokens=nn.LayerNorm(name="encoder_norm")(state.tokens))


class _AddPositions(nn.Module):
    """Adds a learned table of the sequence's length."""

    @nn.compact
    def __call__(self, tokens: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
        shape = (1, *tokens.shape[1:])
        return tokens + self.param("pos_embedding", nn.initializers.normal(0.02), shape, tokens.dtype)


class MergingViViT(nn.Module):
    """Scenic's ViViT or SpaceTimeViViT with merging.

    Attributes:
      config: the model's description, see `settings.read_architecture`.
      schedule: entries of a schedule, for all tokens or for those of each frame; empty merges nothing.
      method: how tokens are chosen, see `reduction.methods`.
      num_sampled_frames: take so many frames of a video and cut plain patches, instead of tubelets; None cuts tubelets.
      dropout_rate: of updates.
      attention_dropout_rate: of attention weights.
      stochastic_droplayer_rate: of whole updates in the last block.
      return_prelogits: return what the classifier would read.
      return_preclassifier: return the tokens after the encoder; joint attention only.
      form: one of the forms of `ops.attend`.
      dtype: computation dtype of the blocks.
    """

    config: ViViTConfig
    schedule: tuple[ScheduleEntry, ...] = ()
    method: Method = DEFAULT_METHOD
    num_sampled_frames: int | None = None
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    stochastic_droplayer_rate: float = 0.0
    return_prelogits: bool = False
    return_preclassifier: bool = False
    form: ops.AttentionForm = "dense"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T Y X C"], *, train: bool, debug: bool = False, boxes: Any = None
    ) -> Float[Array, "B num_classes"]:
        """Classifies videos.

        Args:
          x: videos, of -1 to 1 where Scenic's data set centres them.
          train: whether dropout is on; its random numbers are the stream "dropout". Static.
          debug: ignored; Scenic's trainers pass it.
          boxes: must be None; the ObjectViViT trainer passes it.

        Returns:
          Logits, or what the `return_` attributes say.

        Raises:
          ValueError: boxes are given, the attention can't merge, or the schedule does not fit.
        """
        del debug
        config = self.config
        if boxes is not None:
            raise ValueError("MergingViViT looks at videos only; got boxes; take ObjectViViT's own model for them.")
        self.check_mergeable()
        grid = self._embed(x)  # [B, t, y, x, D]
        batch, times, rows, columns, dim = grid.shape
        if config.attention == "spacetime":
            state, num_tokens = self._encode(grid.reshape(batch, -1, dim), config, "Transformer", "cls", train)
            if self.return_preclassifier:
                return state.tokens
            pooled = pool_surviving(state, config.pooling, num_tokens=num_tokens)
        else:
            frames = grid.reshape(batch * times, rows * columns, dim)  # [B t, y x, D]
            name = "SpatialTransformer"
            state, num_tokens = self._encode(frames, config, name, f"cls_{name}", train)
            moments = pool_surviving(state, config.pooling, num_tokens=num_tokens).reshape(batch, times, dim)
            name, over_time = "TemporalTransformer", config.temporal
            if over_time is None:
                pooled = pool_tokens(moments)
            else:
                state, num_tokens = self._encode(moments, over_time, name, f"cls_{name}", train, merge=False)
                pooled = pool_surviving(state, config.pooling, num_tokens=num_tokens)
        if config.representation_dim is not None:
            pooled = jnp.tanh(nn.Dense(config.representation_dim, name="pre_logits")(pooled))
        if self.return_prelogits:
            return pooled
        return nn.Dense(config.num_classes, kernel_init=nn.initializers.zeros, name="output_projection")(pooled)

    def check_mergeable(self) -> None:
        """Makes sure that tokens can be merged.

        Raises:
          ValueError: every block of the model needs the whole grid of patches.
        """
        if not self.config.is_mergeable:
            raise ValueError(
                "merging takes tokens out of the grid, and this attention needs the whole grid in every "
                f"block; got {self.config.attention}; take out token_merging, or take spacetime or factorized_encoder."
            )

    def _embed(self, x: Float[Array, "B T Y X C"]) -> Float[Array, "B t y x D"]:
        config, side = self.config, self.config.patch_size
        if self.num_sampled_frames is None:
            tubelet = (config.tubelet_size, side, side)
            init = PATCH_INITS[config.patch_init]
            return nn.Conv(config.dim, tubelet, strides=tubelet, padding="VALID", kernel_init=init, name="embedding")(x)
        frames = x[:, sample_evenly(x.shape[1], self.num_sampled_frames)]  # [B, t, Y, X, C]
        patch = (side, side)
        return nn.Conv(config.dim, patch, strides=patch, padding="VALID", name="embedding")(frames)

    def _encode(
        self,
        tokens: Float[Array, "B N D"],
        config: ViViTConfig,
        name: str,
        cls_name: str,
        train: bool,
        *,
        merge: bool = True,
    ) -> tuple[ops.MergeState, int]:
        """Puts the class token in front, where there is one, and encodes; returns how many tokens went in, too."""
        if config.num_cls_tokens:
            cls = self.param(cls_name, nn.initializers.zeros, (1, 1, config.dim), tokens.dtype)
            tokens = jnp.concatenate([jnp.tile(cls, [tokens.shape[0], 1, 1]), tokens], axis=1)
        encoder = MergingEncoder(
            config,
            self.schedule if merge else (),
            self.method,
            self.dropout_rate,
            self.attention_dropout_rate,
            self.stochastic_droplayer_rate,
            self.form,
            self.dtype,
            name=name,
        )
        return encoder(tokens, train=train), tokens.shape[1]


def sample_evenly(num_frames: int, num_wanted: int) -> np.ndarray:
    """Returns which frames are taken: at equal steps, the first a step from the beginning; all where there are no more.

    Args:
      num_frames: of the video.
      num_wanted: fewer than that, or all are taken.

    Returns:
      Frame indices, rounded to the nearest frame, halves to the even one.
    """
    if num_wanted >= num_frames:
        return np.arange(num_frames)
    step = num_frames / (num_wanted + 1)
    return np.minimum(np.round(np.arange(step, num_frames, step)).astype(int), num_frames - 1)
