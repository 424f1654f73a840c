"""An answer out of a list: first words of all answers at once, then the best answers in full."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped


class RankedAnswers(NamedTuple):
    """The best answers to each question.

    Attributes:
      ids: `[B, k]` int32, which of the answers, the most probable first.
      probabilities: `[B, k]` float32; those of one question sum to 1.
    """

    ids: Int[Array, "B k"]
    probabilities: Float[Array, "B k"]


def find_candidates(
    logits: Float[Array, "B vocab_size"], answer_ids: Int[Array, "A L"], *, k: int
) -> Int[Array, "B k"]:
    """Picks the answers whose first words are most probable.

    Args:
      logits: of the word after the start token.
      answer_ids: the answers' tokens, the start token in front.
      k: how many to pick. Static.

    Returns:
      Which answers; the first of those that start alike comes first.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    return jax.lax.top_k(log_probabilities[:, answer_ids[:, 1]], k)[1]


def rank_candidates(
    first: Float[Array, "B vocab_size"],
    logits: Float[Array, "P rest vocab_size"],
    ids: Int[Array, "P L"],
    mask: Shaped[Array, "P L"],
    candidates: Int[Array, "B k"],
) -> RankedAnswers:
    """Orders candidates by the probability of all their tokens, in which the first word counts twice.

    Args:
      first: logits of the word after the start token.
      logits: of the tokens after the L - 2 that follow the start token, for the B k candidates in order.
      ids: the candidates' tokens, the start token in front.
      mask: 1 for a token, 0 for padding.
      candidates: which answers they are.

    Returns:
      `RankedAnswers`; the probabilities are a softmax over the k candidates.

    Reference:
      ALBEF, arXiv 2107.07651: the first word's log-probability by which candidates were picked is added to that of the
      whole answer, which has it already. The official code does so, and the goldens show it.
    """
    shape = candidates.shape
    opening = jnp.take_along_axis(jax.nn.log_softmax(first.astype(jnp.float32)), ids[:, 1].reshape(shape), axis=1)
    # The chosen word's logit less the logarithm of the sum: no table of all words' log-probabilities is made.
    chosen = jnp.take_along_axis(logits, ids[:, 2:, None], axis=-1)[..., 0].astype(jnp.float32)  # [P, L - 2]
    chosen = chosen - jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)
    rest = jnp.where(mask[:, 2:].astype(bool), chosen, 0.0).sum(-1).reshape(shape)
    total, order = jax.lax.top_k(2 * opening + rest, shape[1])  # [B, k]
    return RankedAnswers(jnp.take_along_axis(candidates, order, axis=1).astype(jnp.int32), jax.nn.softmax(total))
