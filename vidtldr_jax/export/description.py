"""What goes into an exported program and what comes out: as JAX describes it, and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final

import jax
import numpy as np
from jax import export

from vidtldr_jax.export.files import FORMAT
from vidtldr_jax.export.program import Input, Program
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.architectures import describe_config
from vidtldr_jax.models.umt_config import UMTConfig

_PACKAGES: Final = ("vidtldr-jax", "jax", "jaxlib", "flax")


def fix_batch(inputs: Sequence[Input], batch_size: int | None) -> tuple[Input, ...]:
    """Returns inputs with a number in place of the letter of their first axis; None leaves it."""
    if batch_size is None:
        return tuple(inputs)
    return tuple(item._replace(shape=(batch_size, *item.shape[1:])) for item in inputs)


def describe_shapes(inputs: Sequence[Input], *, longest: int | None = None) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Returns inputs as JAX describes them; letters become dimensions that are not known yet.

    Args:
      inputs: what goes in.
      longest: the most that "n" may be.

    Returns:
      One description each.
    """
    letters = sorted({size for item in inputs for size in item.shape if isinstance(size, str)})
    bounds = [f"n <= {longest}"] if "n" in letters else []
    symbols: dict[Any, Any] = {}
    if letters:
        symbols = dict(zip(letters, export.symbolic_shape(",".join(letters), constraints=bounds)))
    return tuple(
        jax.ShapeDtypeStruct([symbols.get(size, size) for size in item.shape], np.dtype(item.dtype)) for item in inputs
    )


def find_longest_text(model: VideoModel) -> int | None:
    """Returns the most tokens of a text that a model reads; None for one that reads none."""
    return model.config.text.max_positions if isinstance(model.config, UMTConfig) else None


def describe_program(
    model: VideoModel, program: Program, inputs: Sequence[Input], shapes: Sequence[Any]
) -> dict[str, Any]:
    """Says as plain data what goes in, what comes out, and of which model.

    Args:
      model: that was exported.
      program: that was made of it.
      inputs: what goes in, with the batch size where it is fixed.
      shapes: of what comes out; a dict's arrays in the order of its keys.

    Returns:
      Plain data for JSON.
    """
    is_text = program.outputs == ("text_embedding",)
    outputs = [
        {"name": name, "shape": [_name_size(size) for size in shape.shape], "dtype": np.dtype(shape.dtype).name}
        for name, shape in zip(sorted(program.outputs), shapes)
    ]
    return {
        "format": FORMAT,
        "inputs": [item._asdict() | {"shape": list(item.shape)} for item in inputs],
        "outputs": outputs,
        "is_dict": len(outputs) > 1,
        "num_parameters": sum(value.size for value in program.weights.values()),
        "dtype": model.dtype.name,
        "schedule": None if is_text else _describe_schedule(model),
        "preprocessing": None if is_text else model.preprocessing.to_dict(),
        "labels": model.labels if "logits" in program.outputs else None,
        "architecture": describe_config(model.config),
        "source": model.source,
        "versions": {name: _find_version(name) for name in _PACKAGES},
    }


def _describe_schedule(model: VideoModel) -> dict[str, Any]:
    schedule = model.schedule
    return {
        "text": schedule.text,
        "method": schedule.method.name,
        "r": list(schedule.r),
        "tokens": list(schedule.tokens),
        "clamps": list(schedule.clamps),
    }


def _find_version(name: str) -> str | None:
    """Returns the version of a package; None where it lies on the path without having been installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _name_size(size: Any) -> int | str:
    return size if isinstance(size, int) else str(size)
