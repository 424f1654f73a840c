"""What a caller says about a checkpoint, as text or as values."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from vidtldr_jax.data.preprocessing import Preprocessing

# Fields that a caller may set; the clip's size is a fact of the architecture.
PREPROCESSING_FIELDS: Final = tuple(
    field.name for field in dataclasses.fields(Preprocessing) if field.name not in ("num_frames", "image_size")
)


def read_texts(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Reads values that are given as text.

    Args:
      settings: name -> value or text: a number, a JSON value, numbers or words with commas, a word.

    Returns:
      Name -> value.
    """
    return {name: _read_value(name, value) for name, value in (settings or {}).items()}


def _read_value(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, str):
        return value
    # Classes that are called 1, 2, 3 are words too.
    return _read_words(value) if name == "labels" else _read_text(value)


def _read_words(text: str) -> Any:
    value = _read_text(text) if text.lstrip().startswith("[") else text
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _read_text(text: str) -> Any:
    for form in (text, f"[{text}]"):
        try:
            return json.loads(form)
        except (ValueError, RecursionError):
            continue
    return [part.strip() for part in text.split(",")] if "," in text else text
