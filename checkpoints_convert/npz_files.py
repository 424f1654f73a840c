"""Reads .npz files: parameters under `params/`, or nothing but parameters."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy

from checkpoints_convert.errors import ConversionError
from checkpoints_convert.tensors import LazyTensor
from checkpoints_convert.torch_files import ZIP_ERRORS

_SUFFIX: Final = ".npy"
_PARAMS: Final = "params/"
# Weights hardly shrink; a member that grows this much when it is opened is made to fill the memory.
_MOST_GROWTH: Final = 100
_SMALL: Final = 64 * 2**20
_LONGEST_HEADER: Final = 10_000


def is_npz(path: Path) -> bool:
    """Tells whether a zip file holds nothing but .npy members."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except ZIP_ERRORS:
        return False
    return bool(names) and all(name.endswith(_SUFFIX) for name in names)


def read_npz_file(path: Path) -> dict[str, LazyTensor]:
    """Reads the arrays' descriptions; numbers are read on demand and nothing is executed.

    Args:
      path: what `numpy.savez` wrote; names with slashes are paths. Where some start with `params/`, only those are
        parameters.

    Returns:
      Path of each parameter -> tensor.

    Raises:
      ConversionError: the file is damaged, an array holds objects, or a member is far larger than its bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [info.filename.removesuffix(_SUFFIX) for info in members]
            if len(set(names)) < len(names):
                raise ConversionError(f"read_npz_file: a name comes once; {path} has some twice; get it again.")
            has_root = any(name.startswith(_PARAMS) for name in names)
            return {
                name.removeprefix(_PARAMS): _describe(path, archive, info)
                for name, info in zip(names, members)
                if name.startswith(_PARAMS) or not has_root
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _describe(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> LazyTensor:
    if info.file_size > max(_SMALL, _MOST_GROWTH * info.compress_size):
        raise ConversionError(
            f"read_npz_file: a member grows up to {_MOST_GROWTH} times when it is opened; {info.filename} in {path} "
            f"has {info.compress_size} bytes and declares {info.file_size}; it was not opened; don't trust this file."
        )
    try:
        with archive.open(info) as member:
            shape, _, dtype = _read_header(member)
            start = member.tell()
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise _damaged(path, error) from error
    if dtype.hasobject or dtype.fields or dtype.subdtype:
        raise ConversionError(
            f"read_npz_file: arrays hold numbers; {info.filename} in {path} has dtype {dtype}, which was not read; "
            "save plain arrays."
        )
    tensor = LazyTensor(shape=shape, dtype=dtype.newbyteorder("="), read=lambda: _read(path, info.filename))
    declared = int(np.prod([int(size) for size in shape], dtype=object)) * dtype.itemsize
    if declared != info.file_size - start:
        raise ConversionError(
            f"read_npz_file: {info.filename} in {path} declares {declared} bytes and has {info.file_size - start}; get "
            "it again."
        )
    return tensor


def _read_header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(member)
    if version == (1, 0):
        return npy.read_array_header_1_0(member, max_header_size=_LONGEST_HEADER)
    if version == (2, 0):
        return npy.read_array_header_2_0(member, max_header_size=_LONGEST_HEADER)
    raise ValueError(f"version {version} of .npy is not read")


def _read(path: Path, name: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            values = npy.read_array(member, allow_pickle=False, max_header_size=_LONGEST_HEADER)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
        raise _damaged(path, error) from error
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _damaged(path: Path, error: Exception) -> ConversionError:
    reason = " ".join(str(error).split())[:200]
    return ConversionError(f"read_npz_file: {path} is damaged or no .npz file ({reason}); get it again.")
