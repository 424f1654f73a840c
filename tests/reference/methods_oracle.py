"""Every method again, in float64 NumPy with loops over one example's tokens, from what docs/methods.md says of it.

It imports nothing of the package. A decision is the list of the kept tokens in output order, and who absorbs each of
the others with which weight; a token that is in neither is dropped.
"""

import numpy as np


def cosine(one, other):
    """Cosine of two vectors; 0 where either is zero."""
    lengths = np.sqrt((one**2).sum() * (other**2).sum())
    return float(one @ other / lengths) if lengths > 0 else 0.0


def merge_pairs(features, rank, r, protected):
    """Sources are even, destinations odd; rank(source, similarity) says who is absorbed first."""
    features = np.asarray(features, np.float64)
    sources = list(range(protected, len(features), 2))
    destinations = list(range(protected + 1, len(features), 2))
    partner, score = {}, {}
    for source in sources:
        similar = [cosine(features[source], features[place]) for place in destinations]
        best = int(np.argmax(similar))
        partner[source], score[source] = destinations[best], rank(source, similar[best])
    absorbed = sorted(sources, key=lambda source: (-score[source], source))[:r]
    kept = [*range(protected), *[s for s in sources if s not in absorbed], *destinations]
    return kept, {source: partner[source] for source in absorbed}


def keep_highest(score, r, protected):
    """The tokens of highest score in their order; the earlier one on ties."""
    free = sorted(range(protected, len(score)), key=lambda place: (-score[place], place))
    return [*range(protected), *sorted(free[: len(free) - r])]


def fuse_lowest(score, r, protected):
    """The r + 1 tokens of lowest score become one, at the place of the highest of them, weighted by score."""
    free = sorted(range(protected, len(score)), key=lambda place: (-score[place], place))
    holder = free[len(free) - r - 1]
    absorbed = free[len(free) - r :]
    top = score[holder]
    return keep_highest(score, r, protected), {p: (holder, score[p] / top if top > 0 else 1.0) for p in absorbed}


def decide(name, evidence, *, r, protected, places=None):
    """(kept, {absorbed: (holder, weight)}) of one example; what is in neither is dropped.

    evidence holds float64 arrays of one example by name; places are a control's scores of the positions.
    """
    features, saliency = evidence["features"], evidence["saliency"]
    if name in ("vidtldr", "vidtldr_uniform", "tome", "tome_mean_keys", "saliency_match", "random_merge"):
        keys = evidence["keys"]
        on = {"tome": keys.reshape(len(keys), -1), "tome_mean_keys": keys.mean(1)}.get(name, features)
        ranks = {
            "saliency_match": lambda source, similarity: (1 - saliency[source]) * (1 + similarity) / 2,
            "random_merge": lambda source, similarity: places[source],
        }
        kept, pairs = merge_pairs(on, ranks.get(name, lambda source, similarity: similarity), r, protected)
        is_weighted = name in ("vidtldr", "saliency_match")
        return kept, {s: (holder, saliency[s] if is_weighted else 1.0) for s, holder in pairs.items()}
    if name == "evit":
        return fuse_lowest(evidence["received"], r, protected)
    scores = {
        "drop_salient": lambda: saliency,
        "svitt": lambda: evidence["received"],
        "representation_shift": lambda: np.sqrt((evidence["update"] ** 2).sum(-1)),
        "rlt": lambda: evidence["novelty"],
        "random_drop": lambda: places,
    }
    return keep_highest(scores[name](), r, protected), {}


def decide_all(name, evidence, *, r, protected, places=None):
    """Decisions of a batch in the form of `oracle.match`, and the weights [B, N] of what is absorbed."""
    plans, weights = [], np.ones(evidence["features"].shape[:2])
    for b in range(len(weights)):
        one = {need: np.asarray(values, np.float64)[b] for need, values in evidence.items()}
        kept, absorbed = decide(name, one, r=r, protected=protected, places=places)
        plans.append((kept, {source: holder for source, (holder, _) in absorbed.items()}))
        for source, (_, weight) in absorbed.items():
            weights[b, source] = weight
    return plans, weights


def measure_novelty(video, patch, tubelet):
    """Mean |last frame of a patch - first frame of the patch before it| per patch; infinity for the first moment."""
    frames, rows, columns, _ = video.shape
    found = []
    for t in range(frames // tubelet):
        for y in range(0, rows, patch):
            for x in range(0, columns, patch):
                if t == 0:
                    found.append(np.inf)
                    continue
                last = video[(t + 1) * tubelet - 1, y : y + patch, x : x + patch]
                first = video[(t - 1) * tubelet, y : y + patch, x : x + patch]
                found.append(np.abs(last - first).mean())
    return np.array(found)
