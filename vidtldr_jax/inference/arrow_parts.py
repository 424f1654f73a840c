"""One part of a folder of features: an Arrow file, how it is made of arrays and how arrays are mapped from it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Shaped

_COLUMNS: Final = ("key", "name", "embedding", "tokens")
_SHAPE: Final = b"tokens_shape"
_DTYPE: Final = b"tokens_dtype"


class FeaturesError(ValueError):
    """A folder of features belongs to another run, is damaged or is none; the message is one line, fit for a user."""


class Feature(NamedTuple):
    """What a model says of one video or text.

    Attributes:
      key: what it is found by. Of several with one key the last one counts.
      name: for people, such as a path.
      embedding: [E] float32.
      tokens: [M, D] float32 or bfloat16, or None.
    """

    key: str
    name: str
    embedding: Float32[np.ndarray, " E"]
    tokens: Shaped[np.ndarray, "M D"] | None = None


def make_table(features: Sequence[Feature]) -> Any:
    """Makes an Arrow table of features.

    Args:
      features: at least one, all of one shape and dtype.

    Returns:
      A `pyarrow.Table`.

    Raises:
      FeaturesError: they are of several shapes or dtypes.
    """
    arrow = import_arrow()
    kinds = sorted({_describe_feature(feature) for feature in features})
    if len(kinds) > 1:
        raise FeaturesError(
            f"append: features that are added together have one shape and kind; there are {' and '.join(kinds)}; give "
            "those of one model."
        )
    columns = {
        "key": _make_texts(arrow, [feature.key for feature in features]),
        "name": _make_texts(arrow, [feature.name for feature in features]),
        "embedding": _make_column(arrow, [np.asarray(feature.embedding, np.float32) for feature in features]),
    }
    metadata = {}
    first = features[0].tokens
    if first is not None:
        columns["tokens"] = _make_column(arrow, [np.asarray(feature.tokens) for feature in features])
        metadata = {_SHAPE: json.dumps(first.shape).encode(), _DTYPE: first.dtype.name.encode()}
    return arrow.table(columns).replace_schema_metadata(metadata)


def read_part(path: Path) -> Any:
    """Maps a part.

    Args:
      path: of the file.

    Returns:
      Its table.

    Raises:
      FeaturesError: it is damaged.
      FileNotFoundError: it is not there any more.
    """
    arrow = import_arrow()
    try:
        with arrow.memory_map(str(path)) as source:
            table = arrow.ipc.open_file(source).read_all()
        table.validate()
        _check_columns(table.schema)
    except FileNotFoundError:
        raise
    except (arrow.ArrowException, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise FeaturesError(
            f"open_features: {path} is damaged ({reason}); take it away: what it stands for is done again."
        ) from error
    return table


def write_part(path: Path, table: Any) -> None:
    """Writes a part in one step."""
    arrow = import_arrow()
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    write_whole(path, sink.getvalue())


def join_tables(tables: Sequence[Any]) -> Any:
    """Makes one table of several of one kind."""
    return import_arrow().concat_tables(tables).combine_chunks()


def get_texts(table: Any, column: str) -> list[str]:
    """Returns the keys or the names of a part."""
    return [text.decode("utf-8", "surrogatepass") for text in table[column].cast("binary").to_pylist()]


def get_embeddings(table: Any) -> Float32[np.ndarray, "V E"]:
    """Returns the embeddings of a part; nothing is copied."""
    return _map_lists(table["embedding"], np.dtype(np.float32))


def get_tokens(table: Any, row: int) -> Shaped[np.ndarray, "M D"]:
    """Returns the tokens of one row of a part; nothing is copied."""
    metadata = table.schema.metadata
    dtype = np.dtype(jnp.dtype(metadata[_DTYPE].decode()))
    return _map_lists(table["tokens"], dtype)[row].reshape(json.loads(metadata[_SHAPE]))


def describe_kind(schema: Any) -> str:
    """Says which columns of which length a part has."""
    kinds = ", ".join(f"{name} {schema.field(name).type}" for name in schema.names if name not in ("key", "name"))
    metadata = schema.metadata or {}
    return f"{kinds} {metadata[_SHAPE].decode()} {metadata[_DTYPE].decode()}" if _SHAPE in metadata else kinds


def write_whole(path: Path, content: Any) -> None:
    """Writes a file so that it is there whole or not at all, whatever happens."""
    aside = path.with_name(f".{path.name}.tmp")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    with contextlib.suppress(OSError):  # not on Windows
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _check_columns(schema: Any) -> None:
    """Refuses an Arrow file of something else."""
    marks = [mark for mark in (_SHAPE, _DTYPE) if mark in (schema.metadata or {})]
    if (schema.names, marks) not in ((list(_COLUMNS[:3]), []), (list(_COLUMNS), [_SHAPE, _DTYPE])):
        raise ValueError(f"its columns are {', '.join(schema.names)}")


def _describe_feature(feature: Feature) -> str:
    tokens = "" if feature.tokens is None else f", tokens {list(feature.tokens.shape)} {feature.tokens.dtype.name}"
    return f"embedding {list(np.shape(feature.embedding))}{tokens}"


def _make_texts(arrow: Any, texts: Sequence[str]) -> Any:
    """Makes a column of texts; half of a surrogate pair, as in a file name that is not UTF-8, stays what it is."""
    return arrow.array([text.encode("utf-8", "surrogatepass") for text in texts], arrow.binary()).view(arrow.string())


def _make_column(arrow: Any, rows: Sequence[np.ndarray]) -> Any:
    """Makes a column of lists of one length; Arrow knows no bfloat16, whose bits are kept."""
    values = np.stack([row.reshape(-1) for row in rows])
    values = values if values.dtype == np.float32 else values.view(np.uint16)
    return arrow.FixedSizeListArray.from_arrays(arrow.array(values.reshape(-1)), values.shape[1])


def _map_lists(column: Any, dtype: np.dtype) -> np.ndarray:
    lists = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return lists.flatten().to_numpy(zero_copy_only=True).view(dtype).reshape(len(lists), -1)


def import_arrow() -> Any:
    """Returns pyarrow, or says how to get it."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise FeaturesError("open_features: features need pyarrow; pip install 'vidtldr-jax[retrieval]'.") from error
    return pyarrow
