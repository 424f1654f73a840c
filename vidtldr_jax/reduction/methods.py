"""vid-TLDR and its rivals behind one signature: evidence in, a plan and weights out.

    method = get_method("tome")
    choice = method.choose(Evidence(features, keys=keys), r=100, num_protected=0)
    state = ops.merge_tokens(state, choice.plan, choice.weight)

A method says what it must see (`needs`), so that a block computes nothing else. All of them take r tokens out between
attention and MLP, so that one schedule costs the same; the exception (`is_early`) takes them out before the first
layer. Shapes depend on static numbers only; no method draws random numbers when it runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax.ops.checks import describe
from vidtldr_jax.ops.matching import absorb_pairs, match_tokens, pair_tokens
from vidtldr_jax.ops.pruning import fuse_rest, keep_best
from vidtldr_jax.ops.state import MergePlan
from vidtldr_jax.reduction.chance import draw_scores
from vidtldr_jax.trust.nearest import suggest

Need = Literal["saliency", "received", "keys", "update", "novelty"]


class Evidence(NamedTuple):
    """What a method may look at; what it did not ask for is None.

    Attributes:
      features: `[B, N, D]`, the residual stream after the attention; of an early method, the embedded patches.
      saliency: `[B, N]` float32 in [0, 1], see `ops.attention_saliency`.
      received: `[B, N]` float32, attention that each token gets: from the protected tokens (CLS) if there are any, else
        from all.
      keys: `[B, N, H, K]`, the attention's keys.
      update: `[B, N, D]`, what the attention added to the residual stream.
      novelty: `[B, N]` float32, how far a patch's pixels are from those at its place one moment earlier (mean absolute
        difference, in the units of the normalised video); infinite in the first moment.
    """

    features: Float[Array, "B N D"]
    saliency: Float[Array, "B N"] | None = None
    received: Float[Array, "B N"] | None = None
    keys: Float[Array, "B N H K"] | None = None
    update: Float[Array, "B N D"] | None = None
    novelty: Float[Array, "B N"] | None = None


class Choice(NamedTuple):
    """What a method decides.

    Attributes:
      plan: who is kept and who is absorbed by whom; a token that is neither is dropped.
      weight: `[B, N]` float32 in [0, 1], the say of what is absorbed; None means 1 everywhere.
      score: `[B, N]` float32 in [0, 1], how worthy of being kept the method holds each token, for pictures; None where
        it has no opinion of single tokens.
    """

    plan: MergePlan
    weight: Float[Array, "B N"] | None = None
    score: Float[Array, "B N"] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """One way to have fewer tokens.

    Attributes:
      name: as it is written in commands and results.
      summary: what it does, in a line.
      source: where it comes from.
      choose: its decision, `choose(evidence, *, r, num_protected)`, a `Choice`; the last two are static.
      needs: which parts of the evidence it looks at besides the features.
      halves: a layer can lose half of its free tokens at most, since every other one is a destination; else all but
        one.
      grows: tokens can come to stand for several, so that later attention needs their sizes.
      is_early: it acts once, before the first layer.
      matches_on: what it compares tokens on, which is what matching costs: all channels, those of one head, or nothing.
    """

    name: str
    summary: str
    source: str
    choose: Callable[..., Choice]
    needs: tuple[Need, ...] = ()
    halves: bool = True
    grows: bool = True
    is_early: bool = False
    matches_on: Literal["channels", "head_channels", "nothing"] = "channels"

    def find_limit(self, num_free: int, num_first: int = 0) -> tuple[int, str]:
        """Returns the most tokens that one layer can lose, and a name for it.

        Args:
          num_free: tokens that are not protected.
          num_first: of these, the tokens of the clip's first moment; an early method never drops one of them.

        Returns:
          The number and its description, such as "half of 64 tokens".
        """
        if self.is_early:
            return num_free - num_first, f"all but the first moment's {num_first} of {num_free} tokens"
        if self.halves:
            return num_free // 2, f"half of {num_free} tokens"
        return max(num_free - 1, 0), f"all but one of {num_free} tokens"

    def count_matching(self, num_free: int, *, dim: int, num_heads: int) -> int:
        """Returns the multiply-accumulates of comparing the tokens of one sequence.

        Args:
          num_free: tokens that are not protected.
          dim: channels of a token.
          num_heads: attention heads.

        Returns:
          The count; 0 where nothing is compared.
        """
        widths = {"channels": dim, "head_channels": dim // num_heads, "nothing": 0}
        return (num_free - num_free // 2) * (num_free // 2) * widths[self.matches_on]


def _vidtldr(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    saliency = _take(evidence, "saliency")
    return Choice(match_tokens(evidence.features, r=r, num_protected=num_protected), saliency, saliency)


def _vidtldr_uniform(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    return Choice(match_tokens(evidence.features, r=r, num_protected=num_protected))


def _saliency_match(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    saliency = _take(evidence, "saliency")
    pairs = pair_tokens(evidence.features, num_protected=num_protected)
    of_sources = saliency[:, num_protected:][:, 0::2]
    score = (1.0 - of_sources) * (1.0 + pairs.similarity) / 2.0
    sizes = {"num_tokens": evidence.features.shape[1], "num_protected": num_protected}
    return Choice(absorb_pairs(pairs.partner, score, r=r, **sizes), saliency, saliency)


def _tome(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    keys = _take(evidence, "keys")
    return Choice(match_tokens(keys.reshape(*keys.shape[:2], -1), r=r, num_protected=num_protected))


def _tome_mean_keys(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    keys = _take(evidence, "keys").astype(jnp.float32).mean(2)  # [B, N, K]
    return Choice(match_tokens(keys, r=r, num_protected=num_protected))


def _drop_salient(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    saliency = _take(evidence, "saliency")
    return Choice(keep_best(saliency, r=r, num_protected=num_protected), None, saliency)


def _evit(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    received = _take(evidence, "received")
    fusion = fuse_rest(received, r=r, num_protected=num_protected)
    return Choice(fusion.plan, fusion.weight, _scale(received, num_protected))


def _svitt(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    received = _take(evidence, "received")
    return Choice(keep_best(received, r=r, num_protected=num_protected), None, _scale(received, num_protected))


def _representation_shift(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    shift = jnp.sqrt(jnp.square(_take(evidence, "update").astype(jnp.float32)).sum(-1))  # [B, N]
    return Choice(keep_best(shift, r=r, num_protected=num_protected), None, _scale(shift, num_protected))


def _random_drop(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    batch, num_tokens, _ = evidence.features.shape
    score = jnp.broadcast_to(jnp.asarray(draw_scores(num_tokens)), (batch, num_tokens))
    return Choice(keep_best(score, r=r, num_protected=num_protected))


def _random_merge(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    num_tokens = evidence.features.shape[1]
    pairs = pair_tokens(evidence.features, num_protected=num_protected)
    score = jnp.broadcast_to(jnp.asarray(draw_scores(num_tokens)[num_protected::2]), pairs.partner.shape)
    return Choice(absorb_pairs(pairs.partner, score, r=r, num_tokens=num_tokens, num_protected=num_protected))


def _rlt(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
    novelty = _take(evidence, "novelty")
    is_first = jnp.isinf(novelty)
    most = jnp.where(is_first, 0.0, novelty).max(1, keepdims=True)
    shown = _scale(jnp.where(is_first, most, novelty), num_protected)
    return Choice(keep_best(novelty, r=r, num_protected=num_protected), None, shown)


def _take(evidence: Evidence, need: Need) -> Array:
    found = getattr(evidence, need)
    if found is None:
        raise ValueError(f"this method looks at {need}; the evidence has none; pass all that its `needs` names.")
    return found


def _scale(score: Float[Array, "B N"], num_protected: int) -> Float[Array, "B N"]:
    """Divides by the largest one of an example, so that pictures of all methods look alike; protected tokens get 1."""
    free = score[:, num_protected:].astype(jnp.float32)
    largest = free.max(1, keepdims=True)
    free = jnp.where(largest > 0, free / jnp.where(largest > 0, largest, 1.0), 1.0)
    return jnp.concatenate([jnp.ones_like(score[:, :num_protected], jnp.float32), free], axis=1)


def _prune(**fields: Any) -> Method:
    """Makes a method that only drops: it compares nothing, and no token comes to stand for several."""
    return Method(halves=False, grows=False, matches_on="nothing", **fields)


_ALL: Final = (
    Method(
        name="vidtldr",
        summary="merges the most similar tokens, absorbed ones weighted by how sharply they look",
        source="vid-TLDR, arXiv 2403.13347",
        choose=_vidtldr,
        needs=("saliency",),
    ),
    Method(
        name="vidtldr_uniform",
        summary="vidtldr without the saliency: all weights 1",
        source="an ablation of vid-TLDR",
        choose=_vidtldr_uniform,
    ),
    Method(
        name="saliency_match",
        summary="vidtldr whose saliency also chooses who is absorbed: background first",
        source="a variant of vid-TLDR",
        choose=_saliency_match,
        needs=("saliency",),
    ),
    Method(
        name="tome",
        summary="merges the tokens with the most similar keys, all weights 1",
        source="ToMe, arXiv 2210.09461, with the keys of all heads side by side",
        choose=_tome,
        needs=("keys",),
    ),
    Method(
        name="tome_mean_keys",
        summary="tome on the mean of the heads' keys, which is cheaper to compare",
        source="ToMe, arXiv 2210.09461",
        choose=_tome_mean_keys,
        needs=("keys",),
        matches_on="head_channels",
    ),
    _prune(
        name="drop_salient",
        summary="keeps the tokens that look most sharply, drops the rest",
        source="pruning by vid-TLDR's saliency",
        choose=_drop_salient,
        needs=("saliency",),
    ),
    Method(
        name="evit",
        summary="keeps the most attended tokens, fuses the rest into one",
        source="EViT, arXiv 2202.07800",
        choose=_evit,
        needs=("received",),
        halves=False,
        matches_on="nothing",
    ),
    _prune(
        name="svitt",
        summary="keeps the most attended tokens, drops the rest",
        source="node sparsity of SViTT, arXiv 2304.08809",
        choose=_svitt,
        needs=("received",),
    ),
    _prune(
        name="representation_shift",
        summary="keeps the tokens that the attention changes most, drops the rest; needs no attention map",
        source="Representation Shift, arXiv 2508.00367",
        choose=_representation_shift,
        needs=("update",),
    ),
    _prune(
        name="rlt",
        summary="before the first layer, drops the patches that changed least since the moment before",
        source="run-length tokenization, arXiv 2411.05222, with a budget instead of a threshold",
        choose=_rlt,
        needs=("novelty",),
        is_early=True,
    ),
    Method(
        name="random_merge",
        summary="absorbs tokens at fixed random places into their most similar ones, all weights 1",
        source="a control",
        choose=_random_merge,
    ),
    _prune(
        name="random_drop",
        summary="drops tokens at fixed random places",
        source="a control",
        choose=_random_drop,
    ),
)
METHODS: Final[dict[str, Method]] = {method.name: method for method in _ALL}
DEFAULT_METHOD: Final = METHODS["vidtldr"]


def get_method(method: str | Method) -> Method:
    """Returns a method by its name; a `Method`, one of your own too, is passed on.

    Args:
      method: a name in `METHODS`, or a method.

    Returns:
      The method.

    Raises:
      ValueError: there is no such name; the nearest one is named.
    """
    if isinstance(method, Method):
        return method
    if not isinstance(method, str) or method not in METHODS:
        hint = suggest(method, METHODS, otherwise="take one of them.")
        raise ValueError(f"methods are {', '.join(METHODS)}; got {describe(method)}; {hint}")
    return METHODS[method]
