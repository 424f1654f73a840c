"""BERT and the heads of retrieval and question answering again, in float64 NumPy, one text at a time.

Written from the papers' equations, with loops over heads. It imports nothing of the package, so that a mistake is not
compared with itself.

Parameters are nested dicts: `params` of one BERT, `umt_params` of a whole model (`text`, `text_projection`,
`match_head`; or `text`, `decoder`, `lm_head`). Ids and a mask are 1-D, the mask 1 for a token and 0 for padding.
"""

import math

import numpy as np


def dense(part, values):
    """A dense layer over the last axis."""
    return values @ np.asarray(part["kernel"], np.float64) + np.asarray(part["bias"], np.float64)


def layer_norm(part, values, eps):
    """LayerNorm over the last axis."""
    centred = values - values.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    scale, bias = np.asarray(part["scale"], np.float64), np.asarray(part["bias"], np.float64)
    return centred / np.sqrt(variance + eps) * scale + bias


def gelu(values):
    """GELU by the error function."""
    return np.array([0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in values.ravel()]).reshape(values.shape)


def log_softmax(logits):
    """Logarithm of the softmax of a row of logits."""
    top = logits.max()
    return logits - top - math.log(np.exp(logits - top).sum())


def attend(part, tokens, context, seen, num_heads):
    """Update [N, D] of tokens that look at a context [M, C]; seen[i][j] tells whether token i sees context j."""
    query, key, value = dense(part["query"], tokens), dense(part["key"], context), dense(part["value"], context)
    channels = query.shape[1] // num_heads
    update = np.zeros(query.shape)
    for h in range(num_heads):
        own = slice(h * channels, (h + 1) * channels)
        logits = np.where(seen, query[:, own] @ key[:, own].T / math.sqrt(channels), -math.inf)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        update[:, own] = weights @ value[:, own] / weights.sum(-1, keepdims=True)
    return dense(part["proj"], update)


def run_layer(layer, tokens, mask, context, context_mask, *, num_heads, eps, is_causal=False):
    """One layer: self-attention, cross-attention where there is a context, MLP; each followed by a norm of the sum."""
    seen = [[bool(mask[j]) and not (is_causal and j > i) for j in range(len(tokens))] for i in range(len(tokens))]
    tokens = layer_norm(layer["attn_norm"], tokens + attend(layer["attn"], tokens, tokens, seen, num_heads), eps)
    if context is not None:
        context = np.asarray(context, np.float64)
        seen = [[context_mask is None or bool(context_mask[j]) for j in range(len(context))] for _ in tokens]
        update = attend(layer["cross_attn"], tokens, context, seen, num_heads)
        tokens = layer_norm(layer["cross_norm"], tokens + update, eps)
    update = dense(layer["mlp"]["fc2"], gelu(dense(layer["mlp"]["fc1"], tokens)))
    return layer_norm(layer["mlp_norm"], tokens + update, eps)


def embed_words(params, ids, eps):
    """Tokens [N, D] before the first layer: word, position and the first type, normalised."""
    words, positions = np.asarray(params["word_embed"], np.float64), np.asarray(params["position_embed"], np.float64)
    first_type = np.asarray(params["token_type_embed"], np.float64)[0]
    tokens = np.array([words[word] + positions[place] + first_type for place, word in enumerate(ids)])
    return layer_norm(params["embed_norm"], tokens, eps)


def encode_text(params, ids, mask, *, num_heads, num_layers, eps=1e-12):
    """Tokens [N, D] of a text after the first num_layers layers, those that need no context."""
    tokens = embed_words(params, ids, eps)
    for i in range(num_layers):
        tokens = run_layer(params[f"layer_{i}"], tokens, mask, None, None, num_heads=num_heads, eps=eps)
    return tokens


def fuse(params, tokens, mask, video_tokens, *, num_heads, first_layer, depth, eps=1e-12):
    """Tokens [N, D] of a text after the layers first_layer to depth - 1, which look at a video's tokens [M, C]."""
    tokens = np.asarray(tokens, np.float64)
    for i in range(first_layer, depth):
        tokens = run_layer(params[f"layer_{i}"], tokens, mask, video_tokens, None, num_heads=num_heads, eps=eps)
    return tokens


def embed_text(umt_params, tokens):
    """Embedding [E] of a text, of its first token before the fusion layers."""
    return dense(umt_params["text_projection"], np.asarray(tokens, np.float64)[0])


def match(umt_params, video_tokens, text_tokens, mask, *, num_heads, first_layer, depth, eps=1e-12):
    """Logit of "they match" of one video and one text, whose tokens are those of `encode_text`."""
    settings = {"num_heads": num_heads, "first_layer": first_layer, "depth": depth, "eps": eps}
    fused = fuse(umt_params["text"], text_tokens, mask, video_tokens, **settings)
    return float(dense(umt_params["match_head"], fused[0])[1])


def read_question(umt_params, video_tokens, ids, mask, *, num_heads, first_layer, depth, eps=1e-12):
    """Tokens [N, D] of a question after all layers, of which those from first_layer on look at a video's tokens."""
    params = umt_params["text"]
    tokens = encode_text(params, ids, mask, num_heads=num_heads, num_layers=first_layer, eps=eps)
    settings = {"num_heads": num_heads, "first_layer": first_layer, "depth": depth, "eps": eps}
    return fuse(params, tokens, mask, video_tokens, **settings)


def predict_words(umt_params, ids, mask, question_states, question_mask, *, num_heads, depth, eps=1e-12):
    """Log-probabilities [N, vocabulary] of the word after each token of an answer to a question."""
    params, head = umt_params["decoder"], umt_params["lm_head"]
    tokens, question = embed_words(params, ids, eps), (question_states, question_mask)
    for i in range(depth):
        tokens = run_layer(params[f"layer_{i}"], tokens, mask, *question, num_heads=num_heads, eps=eps, is_causal=True)
    hidden = layer_norm(head["norm"], gelu(dense(head["dense"], tokens)), eps)
    return np.array([log_softmax(logits) for logits in dense(head["output"], hidden)])


def rate_answers(
    umt_params, question_states, question_mask, answer_ids, answer_mask, *, k, num_heads, depth, eps=1e-12
):
    """The k answers with the likeliest first words, likeliest answer first: (their numbers, their probabilities).

    depth is the decoder's. All answers begin with the same start token. The first word counts twice in an answer.
    """
    settings = {"num_heads": num_heads, "depth": depth, "eps": eps}
    question = (question_states, question_mask)
    first = predict_words(umt_params, answer_ids[0][:1], [1], *question, **settings)[0]
    candidates = sorted(range(len(answer_ids)), key=lambda a: (-first[answer_ids[a][1]], a))[:k]
    totals = []
    for a in candidates:
        ids, mask = answer_ids[a], answer_mask[a]
        words = predict_words(umt_params, ids, mask, *question, **settings)
        chosen = [words[n - 1, ids[n]] for n in range(1, len(ids)) if mask[n]]
        totals.append(sum(chosen) + chosen[0])
    weights = [math.exp(total - max(totals)) for total in totals]
    order = sorted(range(len(candidates)), key=lambda c: -totals[c])  # equal ones stay in order
    return [candidates[c] for c in order], [weights[c] / sum(weights) for c in order]
