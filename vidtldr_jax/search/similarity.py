"""Cosines of videos and texts, and which are the most similar. NumPy."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float32, Int64

_ROWS: Final = 1024  # of a product that are made at a time


def compute_similarity(
    videos: Float32[np.ndarray, "V E"], texts: Float32[np.ndarray, "S E"]
) -> Float32[np.ndarray, "V S"]:
    """Compares embeddings (ITC).

    Args:
      videos: embeddings of videos.
      texts: embeddings of texts.

    Returns:
      Cosines, computed in float64 and rounded, so that equal embeddings have equal cosines; a zero vector is like
      nothing.
    """
    lengthless = [_normalise(values) for values in (videos, texts)]
    blocks = [lengthless[0][row : row + _ROWS] @ lengthless[1].T for row in range(0, len(videos), _ROWS)]
    return np.concatenate([block.astype(np.float32) for block in blocks]) if blocks else np.zeros((0, len(texts)), "f4")


def choose_candidates(similarity: Float32[np.ndarray, " items"], k: int) -> Int64[np.ndarray, " k"]:
    """Returns the k most similar items, the most similar first and the first of equal ones."""
    return np.argsort(-similarity, kind="stable")[:k]


def _normalise(values: np.ndarray) -> np.ndarray:
    exact = np.asarray(values, np.float64)
    return exact / np.maximum(np.linalg.norm(exact, axis=-1, keepdims=True), 1e-12)
