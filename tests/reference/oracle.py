"""The operators and the encoder again, in float64 NumPy with loops over examples, tokens and heads.

Written from the mathematics. It imports nothing of the package, so that a mistake is not compared with itself.
"""

import math

import numpy as np


def softmax(logits):
    """Softmax over the last axis."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention_map(query, key):
    """Plain map [B, H, N, N] of query, key [B, N, H, K]."""
    query, key = np.asarray(query, np.float64), np.asarray(key, np.float64)
    batch, num_tokens, heads, channels = query.shape
    maps = np.zeros((batch, heads, num_tokens, num_tokens))
    for b in range(batch):
        for h in range(heads):
            maps[b, h] = softmax(query[b, :, h] @ key[b, :, h].T / math.sqrt(channels))
    return maps


def saliency(attention, num_protected=0):
    """Saliency [B, N] of a map [B, H, N, N]; protected tokens get 1, and so do all where none is sharper."""
    attention = np.asarray(attention, np.float64)
    batch, heads, num_tokens, _ = attention.shape
    weights = np.ones((batch, num_tokens))
    for b in range(batch):
        sharpness = np.zeros(num_tokens)
        for i in range(num_tokens):
            for j in range(num_tokens):
                a = sum(attention[b, h, i, j] for h in range(heads)) / heads
                if a > 0:
                    sharpness[i] += a * math.log(a)
        s = sharpness[num_protected:]
        spread = s.max() - s.min()
        if spread <= 1e-6 * (1 + np.abs(s).max()):
            continue
        s = (s - s.min()) / spread
        above = s - s.mean()
        for i in range(len(s)):
            weights[b, num_protected + i] = above[i] / above.max() if s[i] >= s.mean() else 0.0
    return weights


def attend(query, key, value, size=None):
    """Attention [B, N, H, K] with the keys' probabilities multiplied by their size."""
    maps, value = attention_map(query, key), np.asarray(value, np.float64)
    update = np.zeros(value.shape)
    for b in range(maps.shape[0]):
        for h in range(maps.shape[1]):
            for i in range(maps.shape[2]):
                share = maps[b, h, i] * (1.0 if size is None else np.asarray(size, np.float64)[b])
                update[b, i, h] = share @ value[b, :, h] / share.sum()
    return update


def match(features, r, num_protected=0):
    """For each example, (kept input positions in output order, {absorbed position: absorbing position})."""
    plans = []
    for example in np.asarray(features, np.float64):
        unit = []
        for vector in example:
            length = math.sqrt(sum(x * x for x in vector))
            unit.append(vector / length if length > 0 else vector)
        positions = list(range(num_protected, len(example)))
        evens, odds = positions[0::2], positions[1::2]
        pairs = []
        for e in evens if r else []:
            best, partner = -math.inf, None
            for o in odds:
                similarity = float(unit[e] @ unit[o])
                if similarity > best:
                    best, partner = similarity, o
            pairs.append((-best, e, partner))
        absorbed = {e: o for _, e, o in sorted(pairs)[:r]}
        if r:
            kept = list(range(num_protected)) + [e for e in evens if e not in absorbed] + odds
        else:
            kept = list(range(len(example)))
        plans.append((kept, absorbed))
    return plans


def merge(tokens, size, plans, weight=None):
    """Tokens and sizes after; each absorbed token counts weight * size times."""
    tokens, size = np.asarray(tokens, np.float64), np.asarray(size, np.float64)
    tokens_out, size_out = [], []
    for b, (kept, absorbed) in enumerate(plans):
        rows, masses = [], []
        for position in kept:
            total, mass = tokens[b, position] * size[b, position], size[b, position]
            for e, o in absorbed.items():
                if o == position:
                    share = size[b, e] * (1.0 if weight is None else float(weight[b, e]))
                    total, mass = total + share * tokens[b, e], mass + share
            rows.append(total / mass)
            masses.append(mass)
        tokens_out.append(rows)
        size_out.append(masses)
    return np.array(tokens_out), np.array(size_out)


def trace(plans, weight=None, before=None):
    """Source matrix [B, M, N0]: how much of each original token every token holds; the identity before."""
    matrices = []
    for b, (kept, absorbed) in enumerate(plans):
        old = np.eye(len(kept) + len(absorbed)) if before is None else np.asarray(before, np.float64)[b]
        new = np.zeros((len(kept), old.shape[1]))
        for row, position in enumerate(kept):
            new[row] += old[position]
            for e, o in absorbed.items():
                if o == position:
                    new[row] += old[e] * (1.0 if weight is None else float(weight[b, e]))
        matrices.append(new)
    return np.array(matrices)


def layer_norm(x, scale, bias, epsilon=1e-6):
    """LayerNorm over the last axis."""
    x = np.asarray(x, np.float64)
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * scale + bias


def gelu(x, kind="exact"):
    """GELU, by the error function or in its tanh form."""
    if kind == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def block(params, prefix, tokens, size, source, *, heads, r, epsilon=1e-6, gelu_kind="exact", choose=None):
    """One block on (tokens, sizes, source matrix); params is flat, path -> array.

    choose(evidence, r) -> (plans, weights) is another method than vid-TLDR.
    """
    get = {path[len(prefix) :]: np.asarray(a, np.float64) for path, a in params.items() if path.startswith(prefix)}
    normed = layer_norm(tokens, get["norm1/scale"], get["norm1/bias"], epsilon)
    batch, num_tokens, dim = normed.shape

    def project(name):
        projected = normed @ get[f"attn/{name}/kernel"] + get.get(f"attn/{name}/bias", 0.0)
        return projected.reshape(batch, num_tokens, heads, dim // heads)

    query, key, value = project("query"), project("key"), project("value")
    update = attend(query, key, value, size).reshape(batch, num_tokens, dim)
    update = update @ get["attn/proj/kernel"] + get["attn/proj/bias"]
    tokens = tokens + update
    if r:
        attention = attention_map(query, key)
        weight = saliency(attention)
        plans = match(tokens, r)
        if choose is not None:
            received = attention.mean((1, 2))
            seen = {"features": tokens, "saliency": weight, "received": received, "keys": key, "update": update}
            plans, weight = choose(seen, r)
        tokens, size = merge(tokens, size, plans, weight)
        source = trace(plans, weight, source)
    hidden = layer_norm(tokens, get["norm2/scale"], get["norm2/bias"], epsilon)
    hidden = gelu(hidden @ get["mlp/fc1/kernel"] + get["mlp/fc1/bias"], gelu_kind)
    return tokens + hidden @ get["mlp/fc2/kernel"] + get["mlp/fc2/bias"], size, source


def embed_patches(video, kernel, bias):
    """Tokens of a video [B, T, Y, X, C], in order of time, row, column."""
    video, kernel = np.asarray(video, np.float64), np.asarray(kernel, np.float64)
    t, p = kernel.shape[:2]
    batch, frames, rows, columns, _ = video.shape
    tokens = []
    for b in range(batch):
        for ti in range(0, frames, t):
            for yi in range(0, rows, p):
                for xi in range(0, columns, p):
                    cube = video[b, ti : ti + t, yi : yi + p, xi : xi + p]
                    tokens.append(np.einsum("typc,typcd->d", cube, kernel) + np.asarray(bias, np.float64))
    return np.array(tokens).reshape(batch, -1, kernel.shape[-1])


def sincos(num_positions, dim):
    """The sin-cos table, entry by entry."""
    table = np.zeros((num_positions, dim))
    for n in range(num_positions):
        for c in range(dim):
            angle = n / 10000 ** (2 * (c // 2) / dim)
            table[n, c] = math.sin(angle) if c % 2 == 0 else math.cos(angle)
    return table


def encode(params, video, positions, *, heads, r, epsilon=1e-6, gelu_kind="exact", choose=None, first=None):
    """Patches, positions and all blocks: tokens, sizes and source matrix after the last block.

    choose is another method than vid-TLDR, see `block`; first are the plans of what is dropped before the first block.
    """
    tokens = embed_patches(video, params["patch_embed/kernel"], params["patch_embed/bias"]) + positions
    size = np.ones(tokens.shape[:2])
    source = np.broadcast_to(np.eye(tokens.shape[1]), (tokens.shape[0], tokens.shape[1], tokens.shape[1]))
    if first is not None:
        (tokens, size), source = merge(tokens, size, first), trace(first, None, source)
    kinds = {"epsilon": epsilon, "gelu_kind": gelu_kind, "choose": choose}
    for layer, count in enumerate(r):
        prefix = f"encoder/block_{layer}/"
        tokens, size, source = block(params, prefix, tokens, size, source, heads=heads, r=count, **kinds)
    if "encoder/norm/scale" in params:
        tokens = layer_norm(tokens, params["encoder/norm/scale"], params["encoder/norm/bias"], epsilon)
    return tokens, size, source
