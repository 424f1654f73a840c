"""Shares with intervals, mean average precision, ranks and recalls. NumPy, without JAX.

A rank is a count from 0: items that score higher than the best right one, or the same and come before it. Scores are
float32 and compared as they are.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float32, Int64

RECALLS: Final = (1, 5, 10)
DIRECTIONS: Final = ("text_to_video", "video_to_text")
# The originals' names: txt_* counts texts found by videos, img_* videos found by texts.
_ORIGINAL: Final = {"video_to_text": "txt", "text_to_video": "img"}
_Z95: Final = statistics.NormalDist().inv_cdf(0.975)


def count_right(right: int, total: int) -> dict[str, Any]:
    """Returns an accuracy as plain data: `value` (None of no videos), `right`, `of` and Wilson's `interval_95`."""
    interval = None if total == 0 else list(find_interval(right, total))
    return {"value": right / total if total else None, "right": right, "of": total, "interval_95": interval}


def find_interval(right: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, within 0 and 1 and around the share: rounding may leave it out."""
    share, spread = right / total, _Z95 * _Z95 / total
    middle = share + spread / 2
    half = math.sqrt(spread * share * (1 - share) + spread * spread / 4)
    low, high = ((middle + side) / (1 + spread) for side in (-half, half))
    return min(max(low, 0.0), share), max(min(high, 1.0), share)


def compute_mean_average_precision(
    scores: Float[np.ndarray, "V classes"], labels: Float[np.ndarray, "V classes"]
) -> float:
    """Computes the mean over classes of the average precision; classes without a video are left out.

    Args:
      scores: of every class.
      labels: 1 where the class applies, else 0.

    Returns:
      A number in [0, 1], NaN if no class has a video. Videos of equal score count together.
    """
    found = []
    for score, label in zip(scores.T, labels.T):
        if label.sum():
            thresholds = np.unique(score)[::-1]
            hits = np.array([label[score >= threshold].sum() for threshold in thresholds])
            counts = np.array([(score >= threshold).sum() for threshold in thresholds])
            gains = np.diff(hits, prepend=0) / label.sum()
            found.append(float((gains * hits / counts).sum()))
    return float(np.mean(found)) if found else float("nan")


def rank_right(scores: Float32[np.ndarray, " items"], right: Sequence[int]) -> int:
    """Ranks the best right item.

    Args:
      scores: of all items, -inf for one that can't be found.
      right: which items are right.

    Returns:
      Its rank; the number of items where none is right or none can be found.
    """
    ranks = [
        int((scores > scores[item]).sum() + (scores[:item] == scores[item]).sum())
        for item in right
        if scores[item] > -np.inf
    ]
    return min(ranks, default=len(scores))


def rank_right_reranked(
    similarity: Float32[np.ndarray, " items"],
    candidates: Int64[np.ndarray, " k"],
    scores: Float32[np.ndarray, " k"],
    right: Sequence[int],
) -> int:
    """Ranks the best right item where candidates are ordered by their score and all others follow by similarity.

    Args:
      similarity: of all items, -inf for one that can't be found.
      candidates: what `choose_candidates` returned.
      scores: of the candidates.
      right: which items are right.

    Returns:
      Its rank; the number of items where none is right or none can be found.
    """
    there = np.sort(candidates)
    ordered = there[np.argsort(-scores[np.argsort(candidates, kind="stable")], kind="stable")]
    rest = np.argsort(-similarity, kind="stable")
    order = np.concatenate([ordered, rest[~np.isin(rest, candidates)]])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return min((int(place[item]) for item in right if similarity[item] > -np.inf), default=len(similarity))


def describe_ranks(ranks: Sequence[int], num_items: int) -> dict[str, Any]:
    """Return recalls with Wilson's intervals, and median and mean rank from 1.

    Args:
      ranks: of the best right item of each query, from 0.
      num_items: that were ranked; a rank of so many is that of nothing found, which no recall counts.

    Returns:
      Plain data.
    """
    values = np.asarray(ranks, np.int64)
    found = {f"r{k}": count_right(int((values < min(k, num_items)).sum()), len(values)) for k in RECALLS}
    return {
        **found,
        "median_rank": float(np.median(values)) + 1 if len(values) else None,
        "mean_rank": float(values.mean()) + 1 if len(values) else None,
    }


def name_as_originals(described: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Returns the recalls in percent under the names of the original's output.

    Args:
      described: direction -> what `describe_ranks` returned.

    Returns:
      `txt_r1` and on for video-to-text, `img_r1` and on for text-to-video, and their means, with two digits.
    """
    found: dict[str, float] = {}
    means = []
    for direction, name in _ORIGINAL.items():
        recalls = [100 * described[direction][f"r{k}"]["value"] for k in RECALLS]
        found |= {f"{name}_r{k}": round(value, 2) for k, value in zip(RECALLS, recalls)}
        means.append(sum(recalls) / len(recalls))
        found[f"{name}_r_mean"] = round(means[-1], 2)
    return {**found, "r_mean": round(sum(means) / len(means), 2)}
