"""The retrieval protocol again, pair by pair in plain loops: cosines, re-ranking, ranks and their summaries.

It imports nothing of the package, so that a mistake is not compared with itself. `similarity[v][s]` is of video v and
text s, `captions_of_video[v]` lists the right texts of video v, and a text may be right for several videos. Ranks count
from 0. What comes first in a list comes first among equals.
"""

import math
import statistics

DELETED = ",.'!?\"()*#:;~"


def clean(text):
    """A caption or question as the tokeniser gets it."""
    kept = ""
    for character in text.lower():
        if character in "-/":
            kept += " "
        elif character not in DELETED:
            kept += character
    single = ""
    for character in kept.replace("<person>", "person"):
        if character != " " or not single.endswith(" "):
            single += character
    return single.strip()


def middle_frames(n, k):
    """The k frames of a video of n: the middle of each of equal segments; the last again where there are too few."""
    count = min(n, k)
    edges = [int(i * (n / count)) for i in range(count)] + [n]  # rounds as linspace does: 30 / 22 * 11 is below 15
    middles = [(edges[i] + edges[i + 1] - 1) // 2 for i in range(count)]
    return middles + middles[-1:] * (k - count)


def cosine(a, b):
    """Cosine of two vectors; a zero vector is like nothing."""
    a, b = [float(x) for x in a], [float(x) for x in b]
    length = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b)) / length if length > 0 else 0.0


def rank_of_right(scores, right, fallback=None):
    """Rank of the best of the right items, counted as the items that come before it.

    Items without a score (None) come after all others, by their fallback scores, or in order where there are none.
    """

    def comes_before(i, j):
        if (scores[i] is None) != (scores[j] is None):
            return scores[j] is None
        values = fallback if scores[i] is None else scores
        if values is None or values[i] == values[j]:
            return i < j
        return values[i] > values[j]

    return min(len([i for i in range(len(scores)) if comes_before(i, j)]) for j in right)


def rerank_order(similarities, scores, k):
    """All items: the k most similar by their match score (item -> score), the others behind them by similarity."""
    order = sorted(range(len(similarities)), key=lambda i: (-similarities[i], i))
    return sorted(order[:k], key=lambda i: (-scores[i], i)) + order[k:]


def summarise(ranks):
    """Ranks, recall at 1, 5 and 10 as fractions, median and mean rank counted from 1."""
    recall = {f"r{n}": sum(rank < n for rank in ranks) / len(ranks) for n in (1, 5, 10)}
    places = [rank + 1 for rank in ranks]
    return {"ranks": ranks, **recall, "median_rank": statistics.median(places), "mean_rank": sum(places) / len(places)}


def summarise_both(text_to_video, video_to_text):
    """Both directions, and the originals' names in percent: txt is video to text, img is text to video."""
    found = {"text_to_video": summarise(text_to_video), "video_to_text": summarise(video_to_text)}
    means = []
    for name, direction in (("txt", "video_to_text"), ("img", "text_to_video")):
        percent = {n: 100 * found[direction][n] for n in ("r1", "r5", "r10")}
        means.append(sum(percent.values()) / 3)
        for n, value in {**percent, "r_mean": means[-1]}.items():
            found[f"{name}_{n}"] = round(value, 2)
    found["r_mean"] = round(sum(means) / 2, 2)  # of the unrounded means
    return found


def rank_reranked(similarities, match_item, right, k):
    """Rank of the best right item after the k most similar are ordered by `match_item(item)`."""
    nearest = sorted(range(len(similarities)), key=lambda i: (-similarities[i], i))[:k]
    order = rerank_order(similarities, {i: match_item(i) for i in nearest}, k)
    return min(order.index(i) for i in right)


def evaluate(similarity, match, captions_of_video, k):
    """Ranks and summaries by similarity alone ("itc") and with the k most similar matched ("reranked")."""
    num_videos, num_texts = len(similarity), len(similarity[0])
    known = {}

    def match_once(v, s):
        if (v, s) not in known:
            known[v, s] = match(v, s)
        return known[v, s]

    ranks = {protocol: {"text_to_video": [], "video_to_text": []} for protocol in ("itc", "reranked")}
    for s in range(num_texts):
        column = [similarity[v][s] for v in range(num_videos)]
        right = [v for v in range(num_videos) if s in captions_of_video[v]]
        ranks["itc"]["text_to_video"].append(rank_of_right(column, right))
        reranked = rank_reranked(column, lambda v, s=s: match_once(v, s), right, k)
        ranks["reranked"]["text_to_video"].append(reranked)
    for v in range(num_videos):
        row, right = list(similarity[v]), captions_of_video[v]
        ranks["itc"]["video_to_text"].append(rank_of_right(row, right))
        reranked = rank_reranked(row, lambda s, v=v: match_once(v, s), right, k)
        ranks["reranked"]["video_to_text"].append(reranked)
    return {protocol: summarise_both(**both) for protocol, both in ranks.items()}
