"""Merging in an encoder that someone else wrote, with the same parameters: an `attention_fn` for Flax's modules.

attention = vt.MergingAttention(state, r=16)  # state: a MergeState, from `ops.init_merge_state` or the block before
update = nn.MultiHeadDotProductAttention(num_heads=12, attention_fn=attention)(norm(state.tokens))
state = attention.reduce(update)
state = state._replace(tokens=state.tokens + mlp(norm(state.tokens)))
"""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax import ops
from vidtldr_jax.ops.checks import check_record
from vidtldr_jax.ops.merging import MergeForm
from vidtldr_jax.ops.state import MergeState
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Evidence, Method, get_method
from vidtldr_jax.reduction.step import apply_method


class MergingAttention:
    """An attention function with token sizes that keeps what a method must see, for one call of one block.

    It is called by `flax.linen.MultiHeadDotProductAttention`, `flax.nnx.MultiHeadAttention`, or whatever takes a
    function of (query, key, value), and then reduces the tokens. Make one in every call of a block, inside of any
    `remat`: what it keeps belongs to the trace that it was called in.

    Attributes:
      state: tokens and sizes before the block.
      r: how many tokens the block takes out: a count, or a ratio in (0, 1) of the unprotected tokens.
      method: how they are chosen.
      num_protected: leading tokens (CLS) that stay as they are.
      form: how attention is computed, see `ops.attend`; with dropout all of it is computed at once.
    """

    def __init__(
        self,
        state: MergeState,
        *,
        r: int | float,
        method: str | Method = DEFAULT_METHOD,
        num_protected: int = 0,
        form: ops.AttentionForm = "auto",
    ) -> None:
        """Begin a block.

        Args:
          state: tokens and sizes before the block, see `ops.init_merge_state`.
          r: how many tokens the block takes out, clamped to the most that the method can; 0 is the plain block. Static.
          method: a name in `reduction.METHODS` or a `Method` of your own, but no early one. Static.
          num_protected: leading tokens (CLS) that stay as they are. Static.
          form: one of the forms of `ops.attend`. Static.

        Raises:
          ValueError: state is no `MergeState`, or the method is unknown or acts before the first block.
        """
        check_record("state", state, MergeState, "init_merge_state")
        self.state, self.r, self.num_protected, self.form = state, r, num_protected, form
        self.method = get_method(method)
        if self.method.is_early:
            raise ValueError(
                f"a method of a block looks at its attention; got {self.method.name}, which acts before the first "
                "block; call vt.reduce_tokens on the embedded patches."
            )
        self._seen: dict[str, Array] | None = None

    def __call__(
        self,
        query: Float[Array, "B N H K"],
        key: Float[Array, "B N H K"],
        value: Float[Array, "B N H K"],
        bias: None = None,
        mask: None = None,
        *,
        dropout_rng: Any = None,
        dropout_rate: float = 0.0,
        broadcast_dropout: bool = True,
        deterministic: bool = True,
        dtype: Any = None,
        precision: Any = None,
        **others: Any,
    ) -> Float[Array, "B N H K"]:
        """Attend with the sizes of the state, and keep what the method must see.

        Args:
          query: not yet scaled.
          key: the same shape.
          value: the same shape.
          bias: None: a bias by position has no meaning once tokens are merged.
          mask: None, for the same reason.
          dropout_rng: key of the dropout of attention weights.
          dropout_rate: share of attention weights that are dropped.
          broadcast_dropout: use one pattern for all examples and heads.
          deterministic: drop none.
          dtype: of the computation; None is that of query, key and value together.
          precision: of matrix products, as JAX names it.
          **others: what else a caller passes with its default, such as `is_causal=False`.

        Returns:
          The update, before its projection.

        Raises:
          ValueError: there is a bias, a mask or another option that changes attention.
        """
        given = {"bias": bias, "mask": mask} | {name: value for name, value in others.items() if name != "module"}
        unknown = [name for name, value in given.items() if value is not None and value is not False]
        if unknown:
            raise ValueError(f"attention over merged tokens takes no {unknown[0]}; got one; leave it out.")
        dtype = jnp.result_type(query, key, value) if dtype is None else dtype
        query, key, value = (array.astype(dtype) for array in (query, key, value))
        options: dict[str, Any] = {"num_protected": self.num_protected, "form": self.form}
        needs = self.method.needs if self.r else ()
        self._seen = {"keys": key} if "keys" in needs else {}
        has_dropout = dropout_rate > 0 and not deterministic
        with _multiply_in(precision):
            if "received" in needs:
                update, self._seen["received"] = ops.attend_received(query, key, value, self.state.size, **options)
            elif "saliency" in needs:
                update, saliency = ops.attend(query, key, value, self.state.size, with_saliency=True, **options)
                self._seen |= {} if saliency is None else {"saliency": saliency}
            elif not has_dropout:
                update, _ = ops.attend(query, key, value, self.state.size, **options)
            if has_dropout:
                import flax.linen as nn

                update = nn.dot_product_attention(
                    query,
                    key,
                    value,
                    bias=jnp.log(self.state.size)[:, None, None, :].astype(dtype),
                    dropout_rng=dropout_rng,
                    dropout_rate=dropout_rate,
                    broadcast_dropout=broadcast_dropout,
                    deterministic=False,
                )
        return update

    def reduce(self, update: Float[Array, "B N D"], *, form: MergeForm = "auto") -> MergeState:
        """Add the attention's update to the residual stream, and take r tokens out of it.

        Args:
          update: what the block's attention returned, after all that the block does with it (layer scale, drop path).
          form: how the sum of merged tokens is computed, see `ops.merge_tokens`. Static.

        Returns:
          The state before the block's MLP.

        Raises:
          ValueError: the attention was not called before, or r is no valid count or ratio.
        """
        if self._seen is None:
            raise ValueError("reduce follows the attention of the block; it was not called; pass this as attention_fn.")
        state = self.state._replace(tokens=self.state.tokens + update)
        seen = {"update": update, **self._seen} if "update" in self.method.needs else self._seen
        evidence = Evidence(state.tokens, **seen)
        return apply_method(state, evidence, self.method, r=self.r, num_protected=self.num_protected, form=form)


def _multiply_in(precision: Any) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which matrix products have a precision; None is JAX's default."""
    return contextlib.nullcontext() if precision is None else jax.default_matmul_precision(str(precision).lower())
