"""BERT as a text encoder, as one that looks at a context (video tokens, a question's), and as a decoder.

    model = Bert(config)
    tokens = model.apply({"params": params}, input_ids, attention_mask, method="encode_text")

`input_ids` is `[B, N]` int, `attention_mask` `[B, N]` with 1 for a token and 0 for padding. Norms come after the
residual sums, as in the paper, and cross-attention stands between self-attention and MLP.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from vidtldr_jax.models.bert_config import BertConfig
from vidtldr_jax.models.block import make_gelu, make_layer_norm

_TABLE_INIT = nn.initializers.normal(0.02)


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

    @nn.compact
    def __call__(
        self,
        tokens: Float[Array, "P N D"],
        context: Float[Array, "G M C"],
        mask: Shaped[Array, "G M"] | None,
        *,
        is_causal: bool,
    ) -> Float[Array, "P N D"]:
        """Returns the update of the tokens. P is a multiple of G: so many texts in a row look at the same context."""
        heads = self.config.num_heads
        num_texts, num_tokens, dim = tokens.shape
        groups = context.shape[0]

        def project(name: str, values: Array) -> Array:
            dense = nn.Dense(dim, dtype=self.dtype, param_dtype=self.param_dtype, name=name)
            return dense(values).reshape(groups, -1, heads, dim // heads)

        # Tokens of texts with the same context are one long row of queries.
        query, key, value = project("query", tokens), project("key", context), project("value", context)
        seen = None if mask is None else mask.astype(bool)[:, None, None, :]  # [G, 1, 1, M]
        update = jax.nn.dot_product_attention(query, key, value, mask=seen, is_causal=is_causal)  # [G, P/G N, H, K]
        proj = nn.Dense(dim, dtype=self.dtype, param_dtype=self.param_dtype, name="proj")
        return proj(update.reshape(num_texts, num_tokens, dim))


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

    @nn.compact
    def __call__(
        self,
        tokens: Float[Array, "P N D"],
        mask: Shaped[Array, "P N"],
        context: Float[Array, "G M C"] | None = None,
        context_mask: Shaped[Array, "G M"] | None = None,
    ) -> Float[Array, "P N D"]:
        """Returns the tokens after the layer."""
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def add_norm(update: Array, name: str) -> Array:
            return make_layer_norm(self.config.norm_eps, name=name, **dtypes)(tokens + update)

        attend = TextAttention(self.config, name="attn", **dtypes)
        tokens = add_norm(attend(tokens, tokens, mask, is_causal=self.config.is_causal), "attn_norm")
        if self.is_fusion:
            attend = TextAttention(self.config, name="cross_attn", **dtypes)
            tokens = add_norm(attend(tokens, context, context_mask, is_causal=False), "cross_norm")
        return add_norm(TextMLP(self.config, name="mlp", **dtypes)(tokens), "mlp_norm")


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
                f"Bert: a text has at most {self.config.max_positions} tokens; {num_tokens} came; cut it shorter."
            )
        words = jnp.take(self.word_embed, input_ids, axis=0, mode="fill", fill_value=jnp.nan)  # [P, N, D]
        tokens = words + self.position_embed[:num_tokens] + self.token_type_embed[0]
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
        config = self.config
        width = config.dim if config.context_dim is None else config.context_dim
        is_fitting = context is not None and context.shape[-1] == width and tokens.shape[0] % context.shape[0] == 0
        if config.fusion_from_layer is None or not is_fitting:
            came = "none" if context is None else context.shape
            raise ValueError(
                f"Bert: layers from {config.fusion_from_layer} on look at a context [G, M, {width}] with G a divisor "
                f"of the {tokens.shape[0]} texts; {came} came; give such a one."
            )
        for layer in self.layer[config.num_text_layers :]:
            tokens = layer(tokens, attention_mask, context, context_mask)
        return tokens

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
