"""Logits -> what a person reads: the most probable classes of a video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

Prediction = dict[str, Any]


def average_views(logits: Float[np.ndarray, "V num_classes"]) -> Float[np.ndarray, " num_classes"]:
    """Turns the logits of a video's views into probabilities and averages these."""
    shifted = np.asarray(logits, np.float64)
    shifted = np.exp(shifted - shifted.max(-1, keepdims=True))
    return (shifted / shifted.sum(-1, keepdims=True)).mean(0)


def list_top(
    probabilities: Float[np.ndarray, " num_classes"], labels: Sequence[str] | None, *, k: int
) -> list[Prediction]:
    """Lists the k most probable classes: index, label, probability. A model without labels has "class 0" and so on."""
    order = np.argsort(-probabilities, kind="stable")[:k].tolist()
    return [
        {
            "index": index,
            "label": labels[index] if labels is not None else f"class {index}",
            "probability": float(probabilities[index]),
        }
        for index in order
    ]


def format_percent(prediction: Prediction) -> str:
    """Writes a prediction's probability in percent."""
    return f"{100 * prediction['probability']:.1f} %"
