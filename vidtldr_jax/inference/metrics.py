"""Accuracy of class scores, on the host: what an evaluation of a data set reports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float


def is_among_top(
    scores: Float[np.ndarray, "V classes"], label: Float[np.ndarray, "V classes"], k: int
) -> Bool[np.ndarray, " V"]:
    """Tells whether the labelled class is among the k best; of equal scores the first class wins, as in argmax.

    Args:
      scores: of every class.
      label: one-hot.
      k: how many count.

    Returns:
      One answer per video.
    """
    best = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
    return np.any(best == label.argmax(-1)[:, None], axis=-1)


def compute_accuracies(
    scores: Float[np.ndarray, "V classes"],
    labels: Float[np.ndarray, "V classes"],
    *,
    class_splits: Sequence[int] = (),
    split_names: Sequence[str] = (),
) -> dict[str, float]:
    """Computes the accuracies of one label per video, or of one in each of several groups of classes.

    Args:
      scores: of every class, groups one after the other.
      labels: one-hot, in each group.
      class_splits: classes of each group; empty for a single one.
      split_names: names of the groups.

    Returns:
      `top_1` and, above five classes, `top_5`; with groups, those of each (`noun_top_1`) and of all together
      (`noun_verb_top_1`: all groups are right), where k best pairs are those of the highest sum of log-probabilities.
    """
    if not class_splits:
        return _compute_top(scores, labels, "")
    edges = np.cumsum(class_splits)[:-1]
    parts = list(zip(np.split(scores, edges, axis=-1), np.split(labels, edges, axis=-1)))
    found: dict[str, float] = {}
    for name, (part, label) in zip(split_names, parts):
        found |= _compute_top(part, label, f"{name}_")
    right = np.all([is_among_top(part, label, 1) for part, label in parts], axis=0)
    found[f"{'_'.join(split_names)}_top_1"] = float(right.mean())
    if len(parts) == 2 and min(class_splits) > 5:
        found[f"{'_'.join(split_names)}_top_5"] = _compute_pair_top_5(parts)
    return found


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


def _compute_top(scores: np.ndarray, labels: np.ndarray, prefix: str) -> dict[str, float]:
    found = {f"{prefix}top_1": float(is_among_top(scores, labels, 1).mean())}
    if scores.shape[-1] > 5:
        found[f"{prefix}top_5"] = float(is_among_top(scores, labels, 5).mean())
    return found


def _compute_pair_top_5(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    (first, first_label), (second, second_label) = parts
    pairs = first[:, :, None] + second[:, None, :]  # logits: sums rank pairs as products of probabilities do
    wanted = first_label[:, :, None] * second_label[:, None, :]
    count = len(pairs)
    return float(is_among_top(pairs.reshape(count, -1), wanted.reshape(count, -1), 5).mean())
