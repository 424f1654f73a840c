"""BERT as a text encoder, as one that looks at a context (video tokens, a question's), and as a decoder.

    model = Bert(config)
    tokens = model.apply({"params": params}, input_ids, attention_mask, method="encode_text")

`input_ids` is `[B, N]` int, `attention_mask` `[B, N]` with 1 for a token and 0 for padding. Norms come after the
residual sums, as in the paper, and cross-attention stands between self-attention and MLP.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from vidtldr_jax.models.bert_config import BertConfig
from vidtldr_jax.models.block import make_gelu, make_layer_norm
from vidtldr_jax.ops.attention_blocks import attend_by_head
from vidtldr_jax.ops.platform import find_platform

_TABLE_INIT = nn.initializers.normal(0.02)


class ProjectedContext(NamedTuple):
    """Keys and values of a context for one layer, so that many texts can look at it for one projection.

    Attributes:
      key: `[G, M, H, K]`.
      value: `[G, M, H, K]`.
    """

    key: Float[Array, "G M H K"]
    value: Float[Array, "G M H K"]


class TextAttention(nn.Module):
    """Multi-head attention of tokens to themselves or to a context.

    Attributes:
      config: the model's description.
      dtype: computation dtype.
      param_dtype: parameter dtype.
    """

    config: BertConfig
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Declares the four projections."""
        dim, dtypes = self.config.dim, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.query, self.key = nn.Dense(dim, **dtypes), nn.Dense(dim, **dtypes)
        self.value, self.proj = nn.Dense(dim, **dtypes), nn.Dense(dim, **dtypes)

    def __call__(
        self,
        tokens: Float[Array, "P N D"],
        context: ProjectedContext,
        mask: Shaped[Array, "G M"] | None,
        *,
        is_causal: bool = False,
    ) -> Float[Array, "P N D"]:
        """Returns the update of the tokens. P is a multiple of G: so many texts in a row look at the same context."""
        # Tokens of texts with the same context are one long row of queries.
        query = self._split(self.query(tokens), context.key.shape[0])  # [G, P/G N, H, K]
        seen = None if mask is None else mask.astype(bool)[:, None, None, :]  # [G, 1, 1, M]
        if seen is None and not is_causal and find_platform() == "cpu":
            # Head by head, a map is small enough to stay in the caches.
            update, _ = attend_by_head(query, context.key, context.value, None, with_sharpness=False)
        else:
            update = jax.nn.dot_product_attention(query, *context, mask=seen, is_causal=is_causal)
        return self.proj(update.reshape(tokens.shape))

    def project(self, context: Float[Array, "G M C"]) -> ProjectedContext:
        """Returns keys and values of a context."""
        groups = context.shape[0]
        return ProjectedContext(self._split(self.key(context), groups), self._split(self.value(context), groups))

    def _split(self, values: Float[Array, "P N D"], groups: int) -> Float[Array, "G M H K"]:
        heads = self.config.num_heads
        return values.reshape(groups, -1, heads, self.config.dim // heads)


class TextMLP(nn.Module):
    """Two dense layers around a GELU.

    Attributes:
      config: the model's description.
      dtype: computation dtype.
      param_dtype: parameter dtype.
    """

    config: BertConfig
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, "P N D"]) -> Float[Array, "P N D"]:
        """Returns the update of the tokens."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        hidden = nn.Dense(self.config.mlp_dim, name="fc1", **dtypes)(tokens)  # [P, N, mlp_dim]
        return nn.Dense(self.config.dim, name="fc2", **dtypes)(make_gelu(self.config.gelu)(hidden))


class TextLayer(nn.Module):
    """Self-attention, cross-attention where the layer has it, MLP; each followed by a LayerNorm of the sum.

    Attributes:
      config: the model's description.
      is_fusion: whether the layer looks at a context.
      dtype: computation dtype.
      param_dtype: parameter dtype.
    """

    config: BertConfig
    is_fusion: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Declares attention, MLP and norms."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def make_norm() -> nn.LayerNorm:
            return nn.LayerNorm(epsilon=self.config.norm_eps, use_fast_variance=False, **dtypes)

        self.attn, self.attn_norm = TextAttention(self.config, **dtypes), make_norm()
        if self.is_fusion:
            self.cross_attn, self.cross_norm = TextAttention(self.config, **dtypes), make_norm()
        self.mlp, self.mlp_norm = TextMLP(self.config, **dtypes), make_norm()

    def __call__(
        self,
        tokens: Float[Array, "P N D"],
        mask: Shaped[Array, "P N"],
        context: ProjectedContext | None = None,
        context_mask: Shaped[Array, "G M"] | None = None,
        *,
        first_only: bool = False,
    ) -> Float[Array, "P N D"]:
        """Returns the tokens after the layer, or the first of each text alone; all are seen in either case."""
        there = self.attn.project(tokens)
        tokens = tokens[:, :1] if first_only else tokens
        is_causal = self.config.is_causal
        tokens = self.attn_norm(tokens + self.attn(tokens, there, mask, is_causal=is_causal))
        if context is not None:
            tokens = self.cross_norm(tokens + self.cross_attn(tokens, context, context_mask))
        return self.mlp_norm(tokens + self.mlp(tokens))

    def project_context(self, context: Float[Array, "G M C"]) -> ProjectedContext:
        """Returns the keys and values by which the cross-attention sees a context."""
        return self.cross_attn.project(context)


class Bert(nn.Module):
    """Word, position and type embeddings, then layers; the last of them may look at a context.

    Attributes:
      config: the model's description.
      dtype: computation dtype; softmax and norms are float32 in any case.
      param_dtype: parameter dtype.
    """

    config: BertConfig
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Declares tables and layers; `layer_0` and on are their names."""
        config = self.config
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.word_embed = self._make_table("word_embed", config.vocab_size)
        self.position_embed = self._make_table("position_embed", config.max_positions)
        self.token_type_embed = self._make_table("token_type_embed", config.num_token_types)
        self.embed_norm = nn.LayerNorm(epsilon=config.norm_eps, use_fast_variance=False, **dtypes)
        self.layer = [
            TextLayer(config, is_fusion=number >= config.num_text_layers, **dtypes) for number in range(config.depth)
        ]

    def __call__(
        self,
        input_ids: Int[Array, "P N"],
        attention_mask: Shaped[Array, "P N"],
        context: Float[Array, "G M C"] | None = None,
        context_mask: Shaped[Array, "G M"] | None = None,
    ) -> Float[Array, "P N D"]:
        """Runs all layers.

        Args:
          input_ids: the texts' tokens.
          attention_mask: 1 for a token, 0 for padding.
          context: what the fusion layers look at; P is a multiple of G, and P/G texts in a row share one.
          context_mask: 1 for what is there in the context, 0 for padding; None where all of it is.

        Returns:
          The tokens after the last layer.

        Raises:
          ValueError: the text is longer than the position table, or a context is missing or left over.
        """
        tokens = self.encode_text(input_ids, attention_mask)
        if context is None and self.config.fusion_from_layer is None:
            return tokens
        return self.fuse(tokens, attention_mask, context, context_mask)

    def encode_text(self, input_ids: Int[Array, "P N"], attention_mask: Shaped[Array, "P N"]) -> Float[Array, "P N D"]:
        """Runs the layers that need no context.

        Args:
          input_ids: the texts' tokens; one outside the vocabulary gives NaN.
          attention_mask: 1 for a token, 0 for padding.

        Returns:
          The tokens before the first fusion layer.

        Raises:
          ValueError: the text is longer than the position table.
        """
        num_tokens = input_ids.shape[1]
        if num_tokens > self.config.max_positions:
            raise ValueError(
                f"a text has at most {self.config.max_positions} tokens; got {num_tokens}; cut it shorter."
            )
        words = jnp.take(self.word_embed, input_ids, axis=0, mode="fill", fill_value=jnp.nan)  # [P, N, D]
        tokens = words + self.position_embed[None, :num_tokens] + self.token_type_embed[None, :1]
        tokens = self.embed_norm(tokens.astype(self.dtype))
        for layer in self.layer[: self.config.num_text_layers]:
            tokens = layer(tokens, attention_mask)
        return tokens

    def fuse(
        self,
        tokens: Float[Array, "P N D"],
        attention_mask: Shaped[Array, "P N"],
        context: Float[Array, "G M C"] | None,
        context_mask: Shaped[Array, "G M"] | None = None,
    ) -> Float[Array, "P N D"]:
        """Continues texts through the layers that look at a context.

        Args:
          tokens: what `encode_text` returned.
          attention_mask: 1 for a token, 0 for padding.
          context: what the layers look at; P is a multiple of G, and P/G texts in a row share one.
          context_mask: 1 for what is there in the context, 0 for padding; None where all of it is.

        Returns:
          The tokens after the last layer.

        Raises:
          ValueError: there is no context, or it does not fit the model or the number of texts.
        """
        context = self._check_context(context, tokens.shape[0])
        for layer in self.layer[self.config.num_text_layers :]:
            tokens = layer(tokens, attention_mask, layer.project_context(context), context_mask)
        return tokens

    def project_context(self, context: Float[Array, "G M C"]) -> tuple[ProjectedContext, ...]:
        """Computes once what every text needs of a context.

        Args:
          context: what the fusion layers look at.

        Returns:
          Keys and values of each fusion layer.

        Raises:
          ValueError: the context does not fit the model.
        """
        context = self._check_context(context, context.shape[0])
        return tuple(layer.project_context(context) for layer in self.layer[self.config.num_text_layers :])

    def fuse_first(
        self,
        tokens: Float[Array, "P N D"],
        attention_mask: Shaped[Array, "P N"],
        projected: tuple[ProjectedContext, ...],
    ) -> Float[Array, "P D"]:
        """Continues texts as `fuse` does, as far as the first token of each needs it.

        Args:
          tokens: what `encode_text` returned.
          attention_mask: 1 for a token, 0 for padding.
          projected: what `project_context` returned of G contexts; P is a multiple of G, and P/G texts in a row share
            one.

        Returns:
          The first tokens after the last layer.
        """
        for number, layer in enumerate(self.layer[self.config.num_text_layers :]):
            is_last = number == len(projected) - 1
            tokens = layer(tokens, attention_mask, projected[number], first_only=is_last)
        return tokens[:, 0]

    def _check_context(self, context: Float[Array, "G M C"] | None, num_texts: int) -> Float[Array, "G M C"]:
        config = self.config
        width = config.dim if config.context_dim is None else config.context_dim
        is_fitting = context is not None and context.shape[-1] == width and num_texts % context.shape[0] == 0
        if context is None or config.fusion_from_layer is None or not is_fitting:
            got = "none" if context is None else context.shape
            raise ValueError(
                f"layers from {config.fusion_from_layer} on look at a context [G, M, {width}] with G a divisor "
                f"of the {num_texts} texts; got {got}; give such a one."
            )
        return context

    def _make_table(self, name: str, rows: int) -> Float[Array, "rows D"]:
        return self.param(name, _TABLE_INIT, (rows, self.config.dim), self.param_dtype)


class LanguageModelHead(nn.Module):
    """From a token to a logit for every word.

    Attributes:
      config: the description of the BERT before it.
      dtype: computation dtype.
      param_dtype: parameter dtype.
    """

    config: BertConfig
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, "P N D"]) -> Float[Array, "P N vocab_size"]:
        """Returns float32 logits."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        hidden = nn.Dense(self.config.dim, name="dense", **dtypes)(tokens)  # [P, N, D]
        hidden = make_layer_norm(self.config.norm_eps, name="norm", **dtypes)(make_gelu(self.config.gelu)(hidden))
        return nn.Dense(self.config.vocab_size, name="output", **dtypes)(hidden).astype(jnp.float32)
