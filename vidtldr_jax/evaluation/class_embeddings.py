"""Embeddings of class names, with which a model that embeds videos classifies without training. NumPy, float64."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float

from vidtldr_jax.trust.json_files import parse_json

CLIP_SCALE: Final = 100.0  # what CLIP's own logits multiply cosines by, once trained


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
            "a .npz or .safetensors with embeddings [classes, E] and names is needed; "
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
        raise ValueError(f"each class has one vector and one name; in {path}: {'; '.join(faults)}.")
    return ClassEmbeddings(tuple(names), vectors / lengths, scale)


def compare_with_classes(
    embeddings: Float[np.ndarray, "V E"], classes: ClassEmbeddings
) -> Float[np.ndarray, "V num_classes"]:
    """Returns the cosines of videos with classes, scaled to logits; a zero vector is similar to nothing."""
    vectors = np.asarray(embeddings, np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return classes.scale * (vectors / np.where(lengths > 0, lengths, 1)) @ classes.vectors.T


def _read_npz(path: Path) -> tuple[np.ndarray, list[str], Any]:
    with np.load(path, allow_pickle=False) as arrays:
        scale = arrays.get("scale", CLIP_SCALE)
        return arrays["embeddings"], [str(name) for name in arrays["names"].tolist()], scale


def _read_safetensors(path: Path) -> tuple[np.ndarray, list[str], Any]:
    with safetensors.safe_open(path, framework="numpy") as file:
        notes = file.metadata() or {}
        return file.get_tensor("embeddings"), parse_json(notes["names"], list[str]), notes.get("scale", CLIP_SCALE)
