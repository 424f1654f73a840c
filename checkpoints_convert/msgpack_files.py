"""Reads Flax's msgpack checkpoints: Scenic's of 2023 (`optimizer/target`), today's train states, bare parameters.

Flax writes arrays as extension 1 (shape, dtype's name, bytes packed together), complex numbers as 2 and NumPy scalars
as 3; arrays of 2^30 bytes and more are cut into chunks.
Reference: flax.serialization.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import msgpack
import numpy as np

from checkpoints_convert.errors import ConversionError, show_error, show_value
from checkpoints_convert.tensors import MOST_AXES, LazyTensor, flatten_tree, is_params_name
from vidtldr_jax.trust.fields import is_count

_NDARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_DTYPES: Final = frozenset(
    (
        *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8"),
        *("uint64", "uint32", "uint16", "uint8", "bool"),
    )
)
_CHUNKED: Final = "__msgpack_chunked_array__"
# Flax writes lists as maps with numbers for keys; an array is only the shape and the three parts of an extension.
_LONGEST_ARRAY: Final = 2**16
_CHUNK_OF_FILE: Final = 2**20
# An empty map or list is one byte in the file and some sixty in memory; thousands of layers take thousands of maps.
_MOST_BRANCHES: Final = 10**6
_DAMAGES: Final = (
    *(ValueError, TypeError, OverflowError, RecursionError, MemoryError),
    msgpack.exceptions.UnpackException,
)


def is_msgpack(head: bytes) -> bool:
    """Tells whether a file's first bytes are a msgpack map whose first key is text."""
    if not head:
        return False
    width = {0xDE: 2, 0xDF: 4}.get(head[0], 0)  # bytes of the number of entries
    key = head[1 + width : 2 + width]
    return bool(key) and (0x81 <= head[0] <= 0x8F or width > 0) and (0xA0 <= key[0] <= 0xBF or 0xD9 <= key[0] <= 0xDB)


def read_msgpack_file(path: Path) -> dict[str, LazyTensor]:
    """Reads the parameters of a Flax checkpoint, as `read_msgpack_states` does; averages of them are left alone."""
    return next(iter(read_msgpack_states(path).values()))


def read_msgpack_states(path: Path) -> dict[str, dict[str, LazyTensor]]:
    """Reads a Flax checkpoint; nothing in it is executed.

    Args:
      path: what `flax.serialization.to_bytes` or Scenic wrote.

    Returns:
      Name of each state of parameters ("params" first, "ema_params"; "" where there is no `params`) -> path of each
      parameter below it -> tensor. The parameters are in memory, once.

    Raises:
      ConversionError: the file is damaged, or holds something else than arrays where parameters are.
    """
    size = path.stat().st_size
    counter = itertools.count()
    with path.open("rb") as file:
        # Read piece by piece: a mapped file would be in memory beside its arrays.
        unpacker = msgpack.Unpacker(
            file,
            read_size=min(_CHUNK_OF_FILE, size),
            max_buffer_size=size,
            max_array_len=_LONGEST_ARRAY,
            ext_hook=_read_extension,
            object_pairs_hook=lambda pairs: _make_map(_count_branch(pairs, counter)),
            list_hook=lambda values: _count_branch(values, counter),
            raw=False,
            strict_map_key=False,
        )
        try:
            tree = unpacker.unpack()
            if unpacker.tell() != size:
                raise ValueError(f"{size - unpacker.tell()} bytes are left over")
        except ConversionError as error:
            raise ConversionError(f"{path}: {error}") from error
        except _DAMAGES as error:
            raise ConversionError(
                f"{path} is damaged or no msgpack file ({type(error).__name__}: {show_error(error)}); get it again."
            ) from error
    return {name: flatten_tree(root, str(path)) for name, root in _find_roots(tree).items()}


def _find_roots(tree: Any) -> dict[str, Any]:
    """Finds the trees of parameters: Scenic's of 2023, or `params` and what is named like an average of them."""
    old = tree.get("optimizer") if isinstance(tree, Mapping) else None
    if isinstance(old, Mapping) and isinstance(old.get("target"), Mapping):
        tree = old["target"]
    if not isinstance(tree, Mapping) or not isinstance(tree.get("params"), Mapping):
        return {"": tree}
    others = {name: root for name, root in tree.items() if is_params_name(name) and root and isinstance(root, Mapping)}
    roots = {"params": tree["params"], **others}
    return {name: root["params"] if set(root) == {"params"} else root for name, root in roots.items()}


def _count_branch(values: list[Any], counter: Iterator[int]) -> list[Any]:
    if next(counter) >= _MOST_BRANCHES:
        raise ConversionError(f"a checkpoint has up to {_MOST_BRANCHES} maps and lists; got more; get the file again.")
    return values


def _make_map(pairs: list[tuple[Any, Any]]) -> Any:
    """Makes a dict of pairs, or the array whose chunks it holds."""
    made = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise ConversionError(f"keys are text; got {show_value(key)}; get the file again.")
        if key in made:
            raise ConversionError(f"a key is there once; got {show_value(key)} twice; get the file again.")
        made[key] = value
    return _join_chunks(made) if made.get(_CHUNKED) is True else made


def _join_chunks(fields: dict[str, Any]) -> np.ndarray:
    shape = fields.get("shape")
    chunks = fields.get("chunks")
    sizes = [shape[name] for name in sorted(shape, key=int)] if isinstance(shape, dict) else None
    parts = [chunks[name] for name in sorted(chunks, key=int)] if isinstance(chunks, dict) else None
    if not sizes or not parts or not all(isinstance(part, np.ndarray) and part.ndim == 1 for part in parts):
        raise ConversionError("a chunked array has a shape and flat chunks; get the file again.")
    _check_sizes(sizes, sum(part.size for part in parts), "a chunked array")
    return np.concatenate(parts).reshape(sizes)


def _read_extension(code: int, data: bytes) -> Any:
    if code == _COMPLEX:
        real, imag = msgpack.unpackb(data, max_array_len=2, max_map_len=0)
        return complex(real, imag)
    if code not in (_NDARRAY, _SCALAR):
        raise ConversionError(f"Flax writes extensions 1 to 3; got {code}; get the file again.")
    shape, name, buffer = msgpack.unpackb(data, raw=False, max_array_len=MOST_AXES, max_map_len=0)
    if not isinstance(name, str) or name not in _DTYPES:
        raise ConversionError(f"dtypes are {', '.join(sorted(_DTYPES))}; got {show_value(name)}; save it in float32.")
    dtype = np.dtype(jnp.dtype(name))
    if not isinstance(buffer, bytes) or len(buffer) % dtype.itemsize:
        raise ConversionError("an array's bytes are whole numbers; get the file again.")
    _check_sizes(shape, len(buffer) // dtype.itemsize, "an array")
    return np.frombuffer(buffer, dtype).reshape(shape)


def _check_sizes(shape: Any, count: int, what: str) -> None:
    sizes: Any = shape if isinstance(shape, list | tuple) else [None]
    are_sizes = len(sizes) <= MOST_AXES and all(is_count(size, least=0) for size in sizes)
    if not are_sizes or math.prod(sizes) != count:
        raise ConversionError(
            f"shape and numbers agree; {what} says {show_value(shape)} and has {count} numbers; get the file again."
        )
