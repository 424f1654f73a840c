"""The official algorithm said again in torch, from the papers' mathematics: two whole attention maps in every layer.

It is what a fair comparison of speed needs beside it, and an oracle in another framework. State dicts are those of
UMT's and VideoMAE's classifiers (`blocks.{i}.attn.qkv.weight`, ...). With a `cls_token` it is a ViViT over space and
time, which the official code does not have: the token is protected, as this package does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tests.reference.files import require_module

torch = require_module("torch")

Attention = Literal["official", "fused"]


class Merged(NamedTuple):
    """What the encoder returns.

    Attributes:
      tokens: `[B, M, D]`.
      size: `[B, M, 1]`.
      logits: `[B, num_classes]`, or None where the weights have no head.
    """

    tokens: Any
    size: Any
    logits: Any


def encode(
    state: Mapping[str, Any],
    video: Any,
    *,
    num_heads: int,
    r: Sequence[int] = (),
    attention: Attention = "official",
    gelu: Literal["none", "tanh"] = "none",
) -> Merged:
    """Runs the encoder on a batch of clips.

    Args:
      state: key -> tensor, with a position table under `pos_embed`.
      video: `[B, C, T, Y, X]`.
      num_heads: attention heads.
      r: tokens absorbed per layer, for the layers that are written.
      attention: "official": both maps, with and without size, in every layer; "fused": torch's
        `scaled_dot_product_attention`, for the plain model alone.
      gelu: torch's name of the approximation of GELU.

    Returns:
      A `Merged`.

    Raises:
      ValueError: tokens are to be merged with fused attention, which has no map to look at.
    """
    if attention == "fused" and any(r):
        raise ValueError("encode: fused attention gives no map for the saliency; got r; leave it out.")
    functional = torch.nn.functional
    kernel = state["patch_embed.proj.weight"]
    patches = functional.conv3d(video, kernel, state["patch_embed.proj.bias"], stride=kernel.shape[2:])
    tokens = patches.flatten(2).transpose(1, 2)
    num_protected = int("cls_token" in state)
    if num_protected:
        tokens = torch.cat([state["cls_token"].expand(len(tokens), 1, -1), tokens], 1)
    tokens = tokens + state["pos_embed"]  # [B, N, D]
    size = torch.ones_like(tokens[..., :1])
    depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
    counts = [*r, *[0] * (depth - len(r))]
    for layer, count in enumerate(counts):
        part = f"blocks.{layer}."
        normed = _norm(state, f"{part}norm1", tokens)
        update, saliency = _attend(state, part, normed, size, num_heads, attention, num_protected)
        tokens = tokens + update
        if count:
            protected, tokens = tokens[:, :num_protected], tokens[:, num_protected:]
            tokens, others = _merge(tokens, size[:, num_protected:], saliency, int(count))
            tokens, size = torch.cat([protected, tokens], 1), torch.cat([size[:, :num_protected], others], 1)
        hidden = _dense(state, f"{part}mlp.fc1", _norm(state, f"{part}norm2", tokens))
        tokens = tokens + _dense(state, f"{part}mlp.fc2", functional.gelu(hidden, approximate=gelu))
    if "head.weight" not in state:
        return Merged(tokens, size, None)
    pooled = _norm(state, "norm", tokens)[:, 0] if num_protected else _norm(state, "fc_norm", tokens.mean(1))
    return Merged(tokens, size, _dense(state, "head", pooled))


def _attend(
    state: Mapping[str, Any],
    part: str,
    normed: Any,
    size: Any,
    num_heads: int,
    attention: Attention,
    num_protected: int,
) -> tuple[Any, Any]:
    """Return the update `[B, N, D]` and the saliency of the tokens that are not protected."""
    batch, num_tokens, dim = normed.shape
    bias = state.get(f"{part}attn.qkv.bias")
    if f"{part}attn.q_bias" in state:
        query_bias, value_bias = state[f"{part}attn.q_bias"], state[f"{part}attn.v_bias"]
        bias = torch.cat([query_bias, torch.zeros_like(query_bias), value_bias])
    qkv = torch.nn.functional.linear(normed, state[f"{part}attn.qkv.weight"], bias)
    query, key, value = qkv.reshape(batch, num_tokens, 3, num_heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, N, K]
    saliency = None
    if attention == "fused":
        update = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    else:
        logits = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)  # [B, H, N, N]
        saliency = _find_saliency(logits.softmax(-1).mean(1)[:, num_protected:])
        update = (logits + size.log()[:, None, None, :, 0]).softmax(-1) @ value
    return _dense(state, f"{part}attn.proj", update.transpose(1, 2).reshape(batch, num_tokens, dim)), saliency


def _find_saliency(mean_map: Any) -> Any:
    """Return `[B, Q]`, how sharp each row of the mean map `[B, Q, N]` is, 0 below the average row."""
    sharpness = (mean_map * mean_map.log()).sum(-1)
    sharpness = sharpness - sharpness.amin(-1, keepdim=True)
    sharpness = sharpness / sharpness.amax(-1, keepdim=True)
    above = sharpness - sharpness.mean(-1, keepdim=True)
    return torch.where(above < 0, torch.zeros_like(above), above / above.amax(-1, keepdim=True))


def _merge(tokens: Any, size: Any, saliency: Any, count: int) -> tuple[Any, Any]:
    unit = tokens / tokens.norm(dim=-1, keepdim=True)
    similarity, nearest = (unit[:, ::2] @ unit[:, 1::2].transpose(1, 2)).max(-1)  # [B, S]
    order = similarity.argsort(-1, descending=True)
    absorbed, kept = order[:, :count], order[:, count:].sort(-1).values  # [B, R], [B, S - R]
    to = nearest.gather(1, absorbed)[..., None]  # [B, R, 1]
    weight = (size * saliency[..., None])[:, ::2].gather(1, absorbed[..., None])  # [B, R, 1]

    def spread(index: Any) -> Any:
        return index.expand(*index.shape[:2], tokens.shape[-1])

    even, odd = tokens[:, ::2], tokens[:, 1::2]
    odd_size = size[:, 1::2]
    sums = (odd * odd_size).scatter_add(1, spread(to), even.gather(1, spread(absorbed[..., None])) * weight)
    sizes = odd_size.scatter_add(1, to, weight)
    survivors = even.gather(1, spread(kept[..., None]))
    kept_size = size[:, ::2].gather(1, kept[..., None])
    return torch.cat([survivors, sums / sizes], 1), torch.cat([kept_size, sizes], 1)


def _norm(state: Mapping[str, Any], name: str, values: Any) -> Any:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return torch.nn.functional.layer_norm(values, weight.shape, weight, bias, eps=1e-6)


def _dense(state: Mapping[str, Any], name: str, values: Any) -> Any:
    return torch.nn.functional.linear(values, state[f"{name}.weight"], state.get(f"{name}.bias"))
