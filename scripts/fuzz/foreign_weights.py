"""Checkpoints of other programs, which the converter reads."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from checkpoints_convert import ConversionError, convert_checkpoint, open_source
from scripts.fuzz.fuzz_class import FuzzClass
from vidtldr_jax.inference.checkpoint import read_checkpoint

_GOLDENS: Final = Path(__file__).resolve().parent.parent.parent / "tests" / "goldens"
_VIDEOMAE: Final = {"frames": 8, "image_size": 32, "heads": 4}
_ANSWER: Final = "a checkpoint that loads, or one line"


def _copy(golden: str, name: str, folder: Path) -> None:
    shutil.copy(_GOLDENS / golden, folder / name)


def _write_safetensors(folder: Path) -> None:
    from safetensors.numpy import save_file

    source = open_source(_GOLDENS / "cls_videomae.pth")
    save_file(
        {key: np.ascontiguousarray(tensor.read()) for key, tensor in source.tensors.items()}, folder / "a.safetensors"
    )


def _convert(name: str, settings: dict[str, Any], folder: Path) -> dict[str, tuple[int, ...]]:
    with tempfile.TemporaryDirectory() as place:
        convert_checkpoint(folder / name, Path(place) / "model", settings=settings)
        return {path: value.shape for path, value in read_checkpoint(Path(place) / "model").params.items()}


def _describe(name: str, make: Callable[[Path], None], structure: str, settings: dict[str, Any]) -> FuzzClass:
    return FuzzClass(
        name=name,
        answer=_ANSWER,
        make=make,
        structures={name: (structure, 1)},
        read=functools.partial(_convert, name, settings),
        is_right=lambda value, expected: bool(value),
        documented=(ConversionError, OSError),
        is_naming=False,
    )


FOREIGN_CLASSES: Final = (
    _describe("weights.pth", functools.partial(_copy, "cls_videomae.pth", "weights.pth"), "zip", _VIDEOMAE),
    _describe("a.safetensors", _write_safetensors, "safetensors", _VIDEOMAE),
    _describe(
        "scenic msgpack",
        functools.partial(_copy, "scenic/checkpoint_2023_layout", "scenic msgpack"),
        "bytes",
        {"frames": 8, "image_size": 32},
    ),
)
