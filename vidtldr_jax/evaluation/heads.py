"""What a model's views say about one video, and how often a list of videos was right. NumPy, float64.

A head is a group of classes with one right answer per video. Most models have one; those of Epic-Kitchens have two,
noun and verb, whose logits follow each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from vidtldr_jax.evaluation.metrics import count_right

Average = Literal["probabilities", "logits"]
AVERAGES: Final = ("probabilities", "logits")
NUM_TOP: Final = 5


class Head(NamedTuple):
    """A group of classes.

    Attributes:
      name: also of the manifest's column.
      num_classes: how many there are.
      class_names: their names, or None.
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...] | None = None


class Answer(NamedTuple):
    """What one head says about one video.

    Attributes:
      rank: classes that score above the right one, or the same and come before it; 0 is right.
      top: the best classes, at most `NUM_TOP`, best first.
      scores: theirs: probabilities or mean logits.
    """

    rank: int
    top: tuple[int, ...]
    scores: tuple[float, ...]


def answer(
    logits: Float[np.ndarray, "V classes"], heads: Sequence[Head], labels: Sequence[int], *, average: Average
) -> tuple[Answer, ...] | None:
    """Averages the views of a video and ranks its right classes.

    Args:
      logits: of every view, heads one after the other.
      heads: groups of classes.
      labels: the right class of each head.
      average: "probabilities", a softmax of each view within a head and then the mean; or "logits", their mean.

    Returns:
      One `Answer` per head; None where a logit is not finite, for then there is no order.
    """
    views = np.asarray(logits, np.float64)
    if not np.isfinite(views).all():
        return None
    edges = np.cumsum([head.num_classes for head in heads])[:-1]
    return tuple(
        _rank(part, label, average) for part, label in zip(np.split(views, edges, axis=1), labels, strict=True)
    )


def _rank(views: np.ndarray, label: int, average: Average) -> Answer:
    if average == "probabilities":
        views = np.exp(views - views.max(1, keepdims=True))
        views /= views.sum(1, keepdims=True)
    scores = views.mean(0)  # [num_classes]
    above = int((scores > scores[label]).sum() + (scores[:label] == scores[label]).sum())
    top = np.argsort(-scores, kind="stable")[:NUM_TOP]
    return Answer(above, tuple(top.tolist()), tuple(float(f"{score:.6g}") for score in scores[top]))


def count_accuracies(answers: Sequence[Sequence[Answer] | None], heads: Sequence[Head]) -> dict[str, Any]:
    """Counts how often a list of videos was right.

    Args:
      answers: of every video, one per head; None where there is no answer, which counts as wrong.
      heads: groups of classes.

    Returns:
      Of each head `top_1` and, where it has more classes than that, `top_5`; with several heads also `joint`: `top_1`
      is right where all heads are.
    """
    found: dict[str, Any] = {}
    for number, head in enumerate(heads):
        ranks = [head.num_classes if given is None else given[number].rank for given in answers]
        found[head.name] = {
            f"top_{k}": count_right(sum(rank < k for rank in ranks), len(ranks))
            for k in (1, NUM_TOP)
            if k == 1 or head.num_classes > k
        }
    if len(heads) > 1:
        right = sum(given is not None and all(one.rank == 0 for one in given) for given in answers)
        found["joint"] = {"top_1": count_right(right, len(answers))}
    return found
