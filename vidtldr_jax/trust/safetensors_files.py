"""Safetensors files of unknown origin: a strict reader with limits, which hashes what it reads on the way.

    with SafetensorsFile(path) as file:
        file.entries["head/kernel"].shape       # the header alone is read
        arrays = file.read_arrays(digest="...")  # everything else, once

The format: the header's length (8 bytes, little-endian), the header (JSON, padded with spaces), the arrays' bytes.
Reference: the safetensors format description, https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Self

import numpy as np

from vidtldr_jax.trust.json_files import JsonError, parse_json
from vidtldr_jax.trust.limits import check_limit
from vidtldr_jax.trust.regular import check_regular

# The format's names -> bits of a number; those that NumPy and ml_dtypes have get an array.
_BITS: Final = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6,
    "F4": 4,
}  # fmt: skip
DTYPES: Final = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_METADATA: Final = "__metadata__"
_MOST_AXES: Final = 16
_MOST_NUMBERS: Final = 2**48
_PIECE: Final = 2**20  # bytes that are hashed while they are in the processor's cache


class SafetensorsError(ValueError):
    """A file is not whole safetensors; the message is a part of a line that says why, without the file's name."""


class DigestError(ValueError):
    """A file is not the one that a digest was made of; the message is a part of a line."""


class Entry(NamedTuple):
    """An array in a file.

    Attributes:
      dtype: the format's name of it, such as "F32".
      shape: of the array.
      start: its first byte, counted from the start of the file.
      stop: the byte behind its last one.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class SafetensorsFile:
    """An open file whose header is read and checked. A context manager.

    Attributes:
      path: of the file.
      entries: name -> where the array is, in the header's order.
      metadata: texts by name that the file has beside the arrays.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open a file and check its header.

        Args:
          path: of a regular file.

        Raises:
          SafetensorsError: the header is damaged or does not fit the file.
          LimitError: the header is longer or has more tensors than the limits "header_bytes" and "tensors".
          OSError: the file can't be read or is not a regular one.
        """
        check_regular(path)
        self.path = Path(path)
        self._file: IO[bytes] = self.path.open("rb", buffering=0)
        try:
            self._head = _read_head(self._file, self.path)
            self.entries, self.metadata = _parse_head(self._head, os.fstat(self._file.fileno()).st_size)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def read_arrays(self, *, digest: str | None = None) -> dict[str, np.ndarray]:
        """Read every array, from the first byte of the file to the last.

        Args:
          digest: SHA-256 that the whole file has, in hexadecimal; None checks none.

        Returns:
          Name -> array, in the header's order.

        Raises:
          DigestError: the file has another digest.
          SafetensorsError: NumPy has no such dtype, or the file has become shorter.
          OSError: the file can't be read.
        """
        arrays = {name: _make_array(name, entry) for name, entry in self.entries.items()}
        hashed = None if digest is None else hashlib.sha256(self._head)
        self._file.seek(len(self._head))
        for name in sorted(arrays, key=lambda name: (self.entries[name].start, self.entries[name].stop)):
            _fill(self._file, arrays[name], hashed)
        if hashed is not None and hashed.hexdigest() != digest:
            raise DigestError(describe_mismatch(hashed.hexdigest(), str(digest)))
        return arrays


def read_entry(path: str | os.PathLike[str], name: str, entry: Entry) -> np.ndarray:
    """Read one array of a file whose header was read before.

    Args:
      path: of the file.
      name: of the array.
      entry: where it is.

    Returns:
      The array.

    Raises:
      SafetensorsError: NumPy has no such dtype, or the file has become shorter.
      OSError: the file can't be read.
    """
    array = _make_array(name, entry)
    with Path(path).open("rb", buffering=0) as file:
        file.seek(entry.start)
        _fill(file, array, None)
    return array


def describe_mismatch(found: str, expected: str) -> str:
    """Say that a file has another digest, as a part of a line."""
    return f"its SHA-256 begins with {found[:12]}, that of what was written with {expected[:12]!r}"


def _fill(file: IO[bytes], array: np.ndarray, hashed: Any) -> None:
    view = memoryview(array.reshape(-1).view(np.uint8).data) if array.size else memoryview(b"")
    for start in range(0, len(view), _PIECE):
        piece = view[start : start + _PIECE]
        if _read_into(file, piece) < len(piece):
            raise SafetensorsError("it has become shorter while it was read")
        if hashed is not None:
            hashed.update(piece)


def _read_into(file: IO[bytes], piece: memoryview) -> int:
    done = 0
    while done < len(piece) and (count := file.readinto(piece[done:])):  # type: ignore[attr-defined]
        done += count
    return done


def _read_head(file: IO[bytes], path: Path) -> bytes:
    size = os.fstat(file.fileno()).st_size
    length = bytearray(8)
    if _read_into(file, memoryview(length)) < len(length):
        raise SafetensorsError(f"a file begins with 8 bytes that tell the header's length; it has {size} in all")
    num_bytes = int.from_bytes(length, "little")
    if num_bytes > size - 8:
        raise SafetensorsError(f"its header should have {num_bytes:,} bytes; {size - 8:,} are there")
    check_limit("header_bytes", num_bytes, f"the header of {str(path)!r}")
    header = bytearray(num_bytes)
    if _read_into(file, memoryview(header)) < num_bytes:
        raise SafetensorsError("it has become shorter while it was read")
    return bytes(length + header)


def _parse_head(head: bytes, size: int) -> tuple[dict[str, Entry], dict[str, str]]:
    try:
        fields: dict[str, Any] = parse_json(head[8:], dict[str, Any])
    except JsonError as error:
        raise SafetensorsError(f"its header is not JSON as it should be: {error}") from error
    metadata = fields.pop(_METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise SafetensorsError(f"{_METADATA} in its header holds texts by name; something else is there")
    check_limit("tensors", len(fields), "a safetensors file")
    entries = {name: _parse_entry(name, value, len(head)) for name, value in fields.items()}
    _check_layout(entries, len(head), size)
    return entries, metadata


def _parse_entry(name: str, fields: Any, offset: int) -> Entry:
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise SafetensorsError(f"{name[:100]!r} in its header is not described by dtype, shape and data_offsets")
    dtype, shape, span = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise SafetensorsError(f"{name[:100]!r} in its header has no dtype of the format")
    if not _is_counts(shape) or len(shape) > _MOST_AXES or math.prod(n for n in shape if n) > _MOST_NUMBERS:
        raise SafetensorsError(
            f"{name[:100]!r} in its header has no shape of up to {_MOST_AXES} axes and {_MOST_NUMBERS} numbers"
        )
    if not _is_counts(span) or len(span) != 2 or (span[1] - span[0]) * 8 != math.prod(shape) * _BITS[dtype]:
        raise SafetensorsError(f"{name[:100]!r} in its header has another number of bytes than its shape and dtype")
    return Entry(dtype, tuple(shape), offset + span[0], offset + span[1])


def _is_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_layout(entries: dict[str, Entry], start: int, size: int) -> None:
    """Refuse arrays that overlap, leave gaps or do not end where the file does."""
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != start:
            raise SafetensorsError(f"{name[:100]!r} in its header does not begin where the array before it ends")
        start = entry.stop
    if start != size:
        raise SafetensorsError(f"its arrays should end after {start:,} bytes; the file has {size:,}")


def _make_array(name: str, entry: Entry) -> np.ndarray:
    if entry.dtype not in DTYPES:
        raise SafetensorsError(f"{name[:100]!r} has dtype {entry.dtype}; dtypes are {', '.join(DTYPES)}")
    if entry.dtype == "BF16":
        import ml_dtypes

        return np.empty(entry.shape, ml_dtypes.bfloat16)
    return np.empty(entry.shape, DTYPES[entry.dtype])
