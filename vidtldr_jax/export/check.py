"""Runs what was exported on random inputs, and compares it with the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from jax import export

from vidtldr_jax.export.files import OpenedExport, open_export
from vidtldr_jax.export.program import PLATFORMS
from vidtldr_jax.export.savedmodel import SIGNATURE
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.text_model import RetrievalModel

# Of the largest number that comes out. The model may run another form of attention than what was exported, which sums
# in another order.
_ALLOWED: Final = {"float32": 1e-4, "bfloat16": 0.05}
_LONGEST_TEXT: Final = 8


class ExportCheck(NamedTuple):
    """How far what was exported is from the model.

    Attributes:
      largest: absolute difference over all outputs.
      allowed: for it.
      batch_sizes: that were tried.
      device: what it ran on.
    """

    largest: float
    allowed: float
    batch_sizes: tuple[int, ...]
    device: str

    @property
    def is_within(self) -> bool:
        """Whether the difference is allowed; one that is no number is not."""
        return self.largest <= self.allowed


def check_export(model: VideoModel, path: str | os.PathLike[str]) -> ExportCheck:
    """Run a file of `save_export`, or a folder of `export_savedmodel`, on this machine.

    Args:
      model: that it was made of.
      path: of it.

    Returns:
      An `ExportCheck`.

    Raises:
      ExportError: a part is missing or damaged, or not of the run that the sidecar is of.
      ValueError: it is not for this machine's platform.
    """
    place = Path(path)
    opened = open_export(place)
    description = opened.description
    check_platforms(description["platforms"])
    run = _open_savedmodel(place, description) if description["kind"] == "savedmodel" else _open_stablehlo(opened)
    first = description["inputs"][0]["shape"][0]
    batch_sizes = (1, 2) if isinstance(first, str) else (first,)
    furthest, highest = 0.0, 0.0
    for batch_size in batch_sizes:
        inputs = _make_inputs(model, description, batch_size)
        found = run(inputs)
        for name, expected in _run_model(model, inputs, [item["name"] for item in description["outputs"]]).items():
            difference = np.abs(np.asarray(found[name], np.float32) - expected).max()
            furthest = float(np.maximum(furthest, difference))  # NaN stays
            highest = max(highest, float(np.abs(expected).max()))
    return ExportCheck(furthest, _ALLOWED[model.dtype.name] * highest, batch_sizes, jax.devices()[0].device_kind)


def check_platforms(platforms: Sequence[str]) -> None:
    """Refuses to run here what is for other platforms.

    Args:
      platforms: names in `PLATFORMS`.

    Raises:
      ValueError: JAX's default backend is none of them.
    """
    here = jax.default_backend()
    if here not in {PLATFORMS[name] for name in platforms}:
        raise ValueError(
            f"what is compared with the model runs on this machine, {here}; it is for "
            f"{', '.join(platforms)} alone; add this platform, or leave --verify out."
        )


def _open_stablehlo(opened: OpenedExport) -> Callable[[Sequence[np.ndarray]], dict[str, Any]]:
    description = opened.description
    program = export.deserialize(bytearray(opened.program))
    first = () if opened.weights is None else (opened.weights,)

    def run(inputs: Sequence[np.ndarray]) -> dict[str, Any]:
        found = program.call(*first, *inputs)
        return found if description["is_dict"] else {description["outputs"][0]["name"]: found}

    return run


def _open_savedmodel(place: Path, description: dict[str, Any]) -> Callable[[Sequence[np.ndarray]], dict[str, Any]]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(place))
    names = description["inputs"]

    def run(inputs: Sequence[np.ndarray]) -> dict[str, Any]:
        serve = loaded.signatures[SIGNATURE]
        found = serve(**{item["name"]: tf.constant(value) for item, value in zip(names, inputs)})
        return {name: value.numpy() for name, value in found.items()}

    return run


def _make_inputs(model: VideoModel, description: dict[str, Any], batch_size: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    highest = {"video": 256, "attention_mask": 2}
    if isinstance(model, RetrievalModel):
        highest["input_ids"] = model.config.text.vocab_size
    inputs = []
    for item in description["inputs"]:
        shape = tuple(_LONGEST_TEXT if size == "n" else size for size in item["shape"][1:])
        if item["name"] == "video" and item["dtype"] == "float32":
            inputs.append(rng.standard_normal((batch_size, *shape), np.float32))
        else:
            inputs.append(rng.integers(0, highest[item["name"]], (batch_size, *shape)).astype(item["dtype"]))
    if len(inputs) == 2:
        inputs[1][:, 0] = 1  # a text has a first word
    return inputs


def _run_model(model: VideoModel, inputs: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
    if names == ["text_embedding"]:
        assert isinstance(model, RetrievalModel)
        return {"text_embedding": np.asarray(model.encode_text(*inputs).embedding)}
    (video,) = inputs
    found = model.encode_video(video)
    return {name: np.asarray(getattr(found, name), np.float32) for name in names}
