"""One transformer block with a token reduction between attention and MLP."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax import ops
from vidtldr_jax.models.config import EncoderConfig
from vidtldr_jax.models.dropout import (
    BlockDrop,
    DropRates,
    attend_with_dropout,
    drop_update,
    drop_values,
    fold_key,
)
from vidtldr_jax.ops.blocks import balance_blocks
from vidtldr_jax.ops.platform import find_platform, is_known
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Evidence, Method, Need

# Tokens that pass the MLP at a time on a CPU: 2352 in two to five blocks are faster by a sixth than all at once.
_CPU_BLOCK_SIZE: Final = 588


def make_gelu(kind: str) -> Callable[[Array], Array]:
    """Returns GELU in its "exact" (erf), "tanh" or "quick" (sigmoid) form."""
    if kind == "quick":
        return lambda x: x * jax.nn.sigmoid(1.702 * x)
    return lambda x: jax.nn.gelu(x, approximate=kind == "tanh")


def make_layer_norm(epsilon: float, *, dtype: Any, param_dtype: Any, name: str) -> nn.LayerNorm:
    """Returns a LayerNorm with two-pass float32 variance and an explicit name."""
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, dtype=dtype, param_dtype=param_dtype, name=name)


class SelfAttention(nn.Module):
    """Multi-head self-attention that knows token sizes.

    Attributes:
      config: the model's description.
      form: one of the forms of `ops.attend`; with dropout the update is computed with whole maps.
      dtype: computation dtype.
      param_dtype: parameter dtype.
      dropout_rate: of attention weights. What a method needs is that of the map before dropout.
    """

    config: EncoderConfig
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    dropout_rate: float = 0.0

    @nn.compact
    def __call__(
        self,
        tokens: Float[Array, "B N D"],
        size: Float[Array, "B N"] | None,
        *,
        needs: Sequence[Need] = (),
        dropout_key: Any = None,
    ) -> tuple[Float[Array, "B N D"], dict[Need, Array]]:
        """Returns the update of the residual stream and, of what the attention knows, what a method needs."""
        batch, num_tokens, dim = tokens.shape
        heads = self.config.num_heads

        def project(name: str) -> Array:
            use_bias = self.config.qkv_bias == "all" or (self.config.qkv_bias == "query_value" and name != "key")
            dense = nn.Dense(dim, use_bias=use_bias, dtype=self.dtype, param_dtype=self.param_dtype, name=name)
            return dense(tokens).reshape(batch, num_tokens, heads, dim // heads)  # [B, N, H, K]

        query, key, value = (project(name) for name in ("query", "key", "value"))
        options: dict[str, Any] = {"num_protected": self.config.num_protected, "form": self.form}
        known: dict[Need, Array | None] = {"keys": key}
        is_dropping = dropout_key is not None and self.dropout_rate > 0
        with_saliency = "saliency" in needs
        if "received" in needs:
            update, known["received"] = ops.attend_received(query, key, value, size, **options)
        elif with_saliency or not is_dropping:
            update, known["saliency"] = ops.attend(query, key, value, size, with_saliency=with_saliency, **options)
        if is_dropping:
            update = attend_with_dropout(query, key, value, size, rate=self.dropout_rate, dropout_key=dropout_key)
        update = update.reshape(batch, num_tokens, dim)
        update = nn.Dense(dim, dtype=self.dtype, param_dtype=self.param_dtype, name="proj")(update)
        known["update"] = update
        return update, {need: found for need in needs if (found := known.get(need)) is not None}


class MLP(nn.Module):
    """Two dense layers around a GELU.

    On a CPU many tokens pass in blocks, one after the other: what lies between the layers is four times as wide as the
    tokens, and a block of it stays in the caches. Of a batch whose size is not known yet, all pass at once.

    Attributes:
      config: the model's description.
      dtype: computation dtype.
      param_dtype: parameter dtype.
      block_size: tokens of a block, of all examples together; None chooses.
      dropout_rate: of the values between the layers.
    """

    config: EncoderConfig
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    block_size: int | None = None
    dropout_rate: float = 0.0

    @nn.compact
    def __call__(self, tokens: Float[Array, "*B N D"], dropout_key: Any = None) -> Float[Array, "*B N D"]:
        """Returns the update of the residual stream."""
        num_tokens, dim = math.prod(tokens.shape[:-1]), tokens.shape[-1]
        if not is_known(num_tokens):
            return self._update(tokens, dropout_key)
        block_size = self.block_size or (_CPU_BLOCK_SIZE if find_platform() == "cpu" else num_tokens)
        num_blocks, rows = balance_blocks(num_tokens, block_size)
        if num_blocks == 1 or self.is_initializing():
            return self._update(tokens, dropout_key)
        flat = jnp.pad(tokens.reshape(-1, dim), ((0, num_blocks * rows - num_tokens), (0, 0)))
        over_blocks = nn.scan(
            lambda mlp, none, block: (none, mlp._update(*block)),
            variable_broadcast="params",
            split_rngs={"params": False},
        )
        keys = None if dropout_key is None else jax.random.split(dropout_key, num_blocks)
        _, update = over_blocks(self, None, (flat.reshape(num_blocks, rows, dim), keys))
        return update.reshape(-1, dim)[:num_tokens].reshape(tokens.shape)

    def _update(self, tokens: Float[Array, "*B N D"], dropout_key: Any) -> Float[Array, "*B N D"]:
        kwargs = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        hidden = nn.Dense(self.config.mlp_dim, name="fc1", **kwargs)(tokens)  # [B, N, mlp_dim]
        hidden = drop_values(make_gelu(self.config.gelu)(hidden), self.dropout_rate, dropout_key)
        return nn.Dense(tokens.shape[-1], name="fc2", **kwargs)(hidden)


class Block(nn.Module):
    """Attention, reduction, MLP.

    Attributes:
      config: the model's description.
      r: how many tokens this block takes out; 0 is the plain block.
      use_size: whether an earlier block has merged, so that sizes differ from 1.
      method: how they are chosen.
      form: how attention is computed, see `ops.attend`.
      dtype: computation dtype.
      param_dtype: parameter dtype.
      is_watched: let the method score the tokens even where r is 0.
      drop_rates: what is dropped in training.
      merging: how absorbed tokens are summed, see `ops.merge_tokens`.
    """

    config: EncoderConfig
    r: int = 0
    use_size: bool = False
    method: Method = DEFAULT_METHOD
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    is_watched: bool = False
    drop_rates: DropRates = DropRates()
    merging: ops.MergeForm = "auto"

    @nn.compact
    def __call__(
        self, state: ops.MergeState, drop: BlockDrop | None = None
    ) -> tuple[ops.MergeState, Float[Array, "B N"] | None]:
        """Returns the state after the block and the method's score (None where it was not asked, or has none)."""
        rates = self.drop_rates
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        attend = SelfAttention(self.config, self.form, dropout_rate=rates.attention, name="attn", **dtypes)
        mlp = MLP(self.config, dropout_rate=rates.hidden, name="mlp", **dtypes)
        norm1, norm2 = (make_layer_norm(self.config.norm_eps, name=name, **dtypes) for name in ("norm1", "norm2"))

        size = state.size if self.use_size else None
        score = None
        is_asked = self.r > 0 or self.is_watched
        needs = self.method.needs if is_asked else ()
        update, evidence = attend(norm1(state.tokens), size, needs=needs, dropout_key=fold_key(drop, 0))
        state = state._replace(tokens=state.tokens + drop_update(update, rates, drop, 1))
        if is_asked:
            seen = Evidence(state.tokens, **evidence)
            plan, weight, score = self.method.choose(seen, r=self.r, num_protected=self.config.num_protected)
            if self.r:
                state = ops.merge_tokens(state, plan, weight, form=self.merging)
        update = mlp(norm2(state.tokens), fold_key(drop, 2))
        state = state._replace(tokens=state.tokens + drop_update(update, rates, drop, 3))
        return state, score
