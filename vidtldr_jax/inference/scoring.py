"""What a model's views say about one video, and how often a list of videos was right. NumPy, float64.

A head is a group of classes with one right answer per video. Most models have one; those of Epic-Kitchens have two,
noun and verb, whose logits follow each other.
"""

from __future__ import annotations

import math
import os
import statistics
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float

from vidtldr_jax.trust.json_files import parse_json

Average = Literal["probabilities", "logits"]
AVERAGES: Final = ("probabilities", "logits")
NUM_TOP: Final = 5
CLIP_SCALE: Final = 100.0  # what CLIP's own logits multiply cosines by, once trained

_Z95: Final = statistics.NormalDist().inv_cdf(0.975)


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


class ClassEmbeddings(NamedTuple):
    """Texts of classes in the space that a model embeds videos in.

    Attributes:
      names: of the classes.
      vectors: [num_classes, E] float64, of length 1.
      scale: what cosines are multiplied by to be logits.
    """

    names: tuple[str, ...]
    vectors: Float[np.ndarray, "num_classes E"]
    scale: float


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


def compare_with_classes(
    embeddings: Float[np.ndarray, "V E"], classes: ClassEmbeddings
) -> Float[np.ndarray, "V num_classes"]:
    """Returns the cosines of videos with classes, scaled to logits; a zero vector is similar to nothing."""
    vectors = np.asarray(embeddings, np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return classes.scale * (vectors / np.where(lengths > 0, lengths, 1)) @ classes.vectors.T


def read_class_embeddings(file: str | os.PathLike[str], *, embed_dim: int) -> ClassEmbeddings:
    """Reads embeddings of class names; text needs no gradient and no model here, any CLIP makes them.

    Args:
      file: .npz with the arrays `embeddings` [num_classes, E], `names` and perhaps `scale`; or .safetensors with the
        tensor `embeddings` and, in its metadata, `names` as a JSON list and perhaps `scale`.
      embed_dim: E of the model.

    Returns:
      The embeddings, made length 1.

    Raises:
      ValueError: the file can't be read, or what it holds does not fit.
      OSError: there is no such file.
    """
    path = Path(file)
    try:
        vectors, names, scale = _read_safetensors(path) if path.suffix == ".safetensors" else _read_npz(path)
        vectors, scale = np.asarray(vectors, np.float64), float(scale)
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            "read_class_embeddings: a .npz or .safetensors with embeddings [classes, E] and names is needed; "
            f"{path} is none ({reason}); make it again."
        ) from error
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    faults = []
    if vectors.ndim != 2 or vectors.shape[-1] != embed_dim:
        faults.append(f"embeddings are {vectors.shape}, not [classes, {embed_dim}] as the model's")
    elif not (np.isfinite(vectors).all() and lengths.min() > 0):
        faults.append("an embedding is zero or not finite")
    if vectors.ndim == 2 and len(names) != len(vectors):
        faults.append(f"there are {len(names)} names for {len(vectors)} embeddings")
    if len(set(names)) < len(names):
        faults.append(f"{len(names) - len(set(names))} names come twice")
    if not (math.isfinite(scale) and scale > 0):
        faults.append(f"scale = {scale} is not above 0")
    if faults:
        raise ValueError(f"read_class_embeddings: one vector and one name per class; in {path}: {'; '.join(faults)}.")
    return ClassEmbeddings(tuple(names), vectors / lengths, scale)


def _read_npz(path: Path) -> tuple[np.ndarray, list[str], Any]:
    with np.load(path, allow_pickle=False) as arrays:
        scale = arrays.get("scale", CLIP_SCALE)
        return arrays["embeddings"], [str(name) for name in arrays["names"].tolist()], scale


def _read_safetensors(path: Path) -> tuple[np.ndarray, list[str], Any]:
    with safetensors.safe_open(path, framework="numpy") as file:
        notes = file.metadata() or {}
        return file.get_tensor("embeddings"), parse_json(notes["names"], list[str]), notes.get("scale", CLIP_SCALE)


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
