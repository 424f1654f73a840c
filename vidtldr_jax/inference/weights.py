"""Write a safetensors file one array at a time; the library's own writer wants all of them in memory.

The format: the header's length (8 bytes, little-endian), the header (JSON, padded with spaces), the arrays' bytes.
Reference: the safetensors format description, https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

Entry = tuple[tuple[int, ...], np.dtype, Callable[[], np.ndarray]]

_NAMES: Final = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_ALIGNMENT: Final = 8


def write_safetensors(
    path: Path,
    entries: Mapping[str, Entry],
    *,
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> str:
    """Write a file; one array at a time is in memory.

    Args:
      path: where to; what is there is replaced, and nothing is left if an array can't be read.
      entries: name -> shape, dtype and a function that returns the array.
      metadata: texts by name to write beside the arrays.
      progress: called with the number of bytes written after each array.

    Returns:
      The file's SHA-256, in hexadecimal.

    Raises:
      ValueError: a dtype has no name in the format, or an array has another shape or dtype than was declared.
    """
    unknown = {name: entry[1].name for name, entry in entries.items() if entry[1].name not in _NAMES}
    if unknown:
        raise ValueError(f"dtypes are {', '.join(_NAMES)}; got {unknown}; cast them first.")
    # Wide numbers first, so that each array starts at a multiple of its own width.
    order = sorted(entries, key=lambda name: -entries[name][1].itemsize)
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        shape, dtype, _ = entries[name]
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype.name], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    hashed = hashlib.sha256()
    try:
        with path.open("wb") as file:
            for piece in (len(text).to_bytes(8, "little"), text):
                file.write(piece)
                hashed.update(piece)
            done = 0
            for name in order:
                shape, dtype, read = entries[name]
                values = read()
                if values.shape != tuple(shape) or values.dtype != dtype:
                    raise ValueError(
                        f"{name} was declared as {dtype} {tuple(shape)}; got {values.dtype} {values.shape}; describe "
                        "what is read."
                    )
                flat = np.ascontiguousarray(values).reshape(-1)
                data = flat.view(np.uint8).data
                file.write(data)
                hashed.update(data)
                done += flat.nbytes
                if progress is not None:
                    progress(done)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return hashed.hexdigest()
