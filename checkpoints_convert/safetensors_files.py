"""Reads safetensors files: the header within limits, then one tensor at a time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from checkpoints_convert.errors import ConversionError, show_error, show_value
from checkpoints_convert.tensors import LazyTensor
from vidtldr_jax.trust.limits import LimitError
from vidtldr_jax.trust.safetensors_files import DTYPES, Entry, SafetensorsError, SafetensorsFile, read_entry


def read_safetensors_file(path: Path) -> dict[str, LazyTensor]:
    """Read the header of a file.

    Args:
      path: of the file.

    Returns:
      Name -> tensor, in the header's order, none of them read yet.

    Raises:
      ConversionError: the header is damaged, does not fit the file, is longer than the limits "header_bytes" and
        "tensors" allow, or has a dtype that NumPy has not.
    """
    with _explain(path), SafetensorsFile(path) as file:
        return {key: _describe(path, key, entry) for key, entry in file.entries.items()}


def _describe(path: Path, key: str, entry: Entry) -> LazyTensor:
    if entry.dtype not in DTYPES:
        raise ConversionError(
            f"dtypes are {', '.join(DTYPES)}; {path} has {show_value(key)} in {show_value(entry.dtype)}; save it in "
            "float32."
        )
    dtype = np.dtype(DTYPES[entry.dtype])
    return LazyTensor(shape=entry.shape, dtype=dtype, read=functools.partial(_read, path, key, entry))


def _read(path: Path, key: str, entry: Entry) -> np.ndarray:
    with _explain(path):
        return read_entry(path, key, entry)


@contextlib.contextmanager
def _explain(path: Path) -> Iterator[None]:
    try:
        yield
    except LimitError as error:
        raise ConversionError(f"{error}.") from error
    except (SafetensorsError, OSError) as error:
        raise ConversionError(
            f"{path} is damaged or no safetensors file ({show_error(error)}); get it again."
        ) from error
