"""Reads .npz files: parameters under `params/`, or nothing but parameters."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy

from checkpoints_convert.errors import ConversionError, show_error, show_value
from checkpoints_convert.tensors import LazyTensor, is_params_name
from checkpoints_convert.torch_files import ZIP_ERRORS

_SUFFIX: Final = ".npy"
PARAMS_ROOT: Final = "params/"
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
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
    """Reads the parameters' descriptions, as `read_npz_states` does; averages of them are left alone."""
    return next(iter(read_npz_states(path).values()), {})


def read_npz_states(path: Path) -> dict[str, dict[str, LazyTensor]]:
    """Reads the parameters' descriptions; numbers are read on demand and nothing is executed.

    Args:
      path: what `numpy.savez` wrote; names with slashes are paths. Where some start with `params/`, only those are
        parameters, and those below a name such as `ema_params/` are another state of them.

    Returns:
      Name of each state of parameters, "params" first, "" where there is no `params/` -> path of each parameter ->
      tensor.

    Raises:
      ConversionError: the file is damaged, an array holds objects, or a member is far larger than its bytes.
    """
    arrays = read_npz_arrays(path)
    if not any(name.startswith(PARAMS_ROOT) for name in arrays):
        return {"": arrays}
    states: dict[str, dict[str, LazyTensor]] = {PARAMS_ROOT[:-1]: {}}
    for name, array in arrays.items():
        root, slash, path_below = name.partition("/")
        if slash and is_params_name(root):
            states.setdefault(root, {})[path_below] = array
    return states


def read_npz_arrays(path: Path) -> dict[str, LazyTensor]:
    """Reads the descriptions of all arrays; numbers are read on demand and nothing is executed.

    Args:
      path: what `numpy.savez` wrote.

    Returns:
      Name of each array -> tensor.

    Raises:
      ConversionError: as `read_npz_file`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [info.filename.removesuffix(_SUFFIX) for info in members]
            if len(set(names)) < len(names):
                raise ConversionError(f"a name comes once; {path} has some twice; get it again.")
            _check_growth(path, [(sum(info.file_size for info in members), path.stat().st_size, "all together")])
            _check_growth(path, [(info.file_size, info.compress_size, show_value(info.filename)) for info in members])
            return {name: _describe(path, archive, info) for name, info in zip(names, members)}
    except ConversionError:
        raise
    except ZIP_ERRORS as error:
        raise _damaged(path, error) from error


def _check_growth(path: Path, sizes: list[tuple[int, int, str]]) -> None:
    for size, packed, name in sizes:
        if size > max(_SMALL, _MOST_GROWTH * packed):
            raise ConversionError(
                f"what is packed grows up to {_MOST_GROWTH} times when it is opened; {name} in {path} "
                f"has {packed} bytes and declares {size}; it was not opened; don't trust this file."
            )


def _describe(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> LazyTensor:
    name = show_value(info.filename)
    if info.compress_type not in _METHODS:  # the others may ask for gigabytes before the first byte
        raise ConversionError(
            f"members are stored or deflated; {name} in {path} is packed by method "
            f"{info.compress_type}; save it with numpy.savez."
        )
    try:
        with archive.open(info) as member:
            shape, _, dtype = _read_header(member)
            start = member.tell()
    except Exception as error:  # NumPy lets through what its tokenizer, its parser and a dtype's parts happen to raise
        raise _damaged(path, error) from error
    if dtype.hasobject or dtype.fields or dtype.subdtype:
        raise ConversionError(
            f"arrays hold numbers; {name} in {path} has dtype {show_value(str(dtype))}, which was not "
            "read; save plain arrays."
        )
    tensor = LazyTensor(shape=shape, dtype=dtype.newbyteorder("="), read=lambda: _read(path, info.filename))
    declared = int(np.prod([int(size) for size in shape], dtype=object)) * dtype.itemsize
    if declared != info.file_size - start:
        raise ConversionError(
            f"{name} in {path} declares {declared} bytes and has {info.file_size - start}; get it again."
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
    except Exception as error:  # as above: the file may have changed
        raise _damaged(path, error) from error
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _damaged(path: Path, error: Exception) -> ConversionError:
    return ConversionError(f"{path} is damaged or no .npz file ({show_error(error)}); get it again.")
