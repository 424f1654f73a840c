"""One part of a folder of features as bytes: an Arrow file, how it is made of arrays and what is checked of one."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Shaped

from vidtldr_jax.trust.json_files import parse_json

_COLUMNS: Final = ("key", "name", "embedding", "tokens")
_MAGIC: Final = b"ARROW1"
_MAGIC_PADDING: Final = 2
_SHAPE: Final = b"tokens_shape"
_DTYPE: Final = b"tokens_dtype"
_RUN: Final = b"run"  # SHA-256 of the description of the run; parts of older versions don't have it
# Arrow knows no bfloat16; the bits of what is not float32 are kept as integers of 16.
_STORED: Final = {"float32": "float", "bfloat16": "uint16", "float16": "uint16"}


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


class Lists(NamedTuple):
    """Where a column of lists of one length lies in a part.

    Attributes:
      offset: of the first value, in bytes from the start of the file.
      dtype: of the values.
      shape: of one row.
    """

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return math.prod(self.shape) * self.dtype.itemsize


class Contents(NamedTuple):
    """What a part holds.

    Attributes:
      schema: of Arrow, without the run.
      run: SHA-256 of what describes the run, or None.
      keys: one a row.
      names: one a row.
      embeddings: where they lie.
      tokens: where they lie, or None.
    """

    schema: Any
    run: str | None
    keys: list[str]
    names: list[str]
    embeddings: Lists
    tokens: Lists | None


def make_table(features: Sequence[Feature]) -> Any:
    """Makes an Arrow table of features.

    Args:
      features: at least one, all of one shape and dtype.

    Returns:
      A `pyarrow.Table`.

    Raises:
      FeaturesError: they are of several shapes or dtypes, or an embedding is not finite.
    """
    arrow = import_arrow()
    kinds = sorted({_describe_feature(feature) for feature in features})
    if len(kinds) > 1:
        raise FeaturesError(
            f"features that are added together have one shape and kind; there are {' and '.join(kinds)}; give "
            "those of one model."
        )
    broken = next((feature for feature in features if not np.isfinite(feature.embedding).all()), None)
    if broken is not None:
        raise FeaturesError(f"an embedding is finite; that of {broken.name!r} is not; leave it out")
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


def write_bytes(table: Any) -> Any:
    """Returns a table as the bytes of an Arrow file, in a buffer."""
    arrow = import_arrow()
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def mark_run(table: Any, run: str) -> Any:
    """Returns a table that says which run it is of."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _RUN: run.encode("ascii")})


def read_bytes(data: Any) -> Any:
    """Reads an Arrow file; every value that is not in a list of numbers is checked, and nothing is copied.

    Args:
      data: a `pyarrow.Buffer`.

    Returns:
      The only record batch of the file.

    Raises:
      ValueError: it is no file of features.
    """
    arrow = import_arrow()
    try:
        reader = arrow.ipc.open_file(arrow.BufferReader(data))
        _check_columns(reader.schema)
        if reader.num_record_batches != 1:
            raise ValueError(f"it has {reader.num_record_batches} batches of rows, not one")
        batch = arrow.ipc.read_record_batch(_find_message(arrow, data), reader.schema)
        batch.validate()
        for name in ("key", "name"):  # as bytes: a file's name need not be UTF-8
            batch.column(name).view(arrow.binary()).validate(full=True)
        for column in batch.columns:
            column.validate(full=column.type != arrow.string())
        _check_rows(batch)
    except (arrow.ArrowException, ValueError, OSError, KeyError, TypeError, OverflowError, struct.error) as error:
        raise ValueError(" ".join(str(error).split())) from error
    return batch


def find_contents(data: Any, batch: Any) -> Contents:
    """Returns what a part holds and where.

    Args:
      data: a `pyarrow.Buffer` of the whole file.
      batch: that `read_bytes` returned for it.

    Returns:
      `Contents`.

    Raises:
      ValueError: a key or a name is not text, or an embedding is not finite.
    """
    keys, names = get_texts(batch, "key"), get_texts(batch, "name")
    width = batch.schema.field("embedding").type.list_size
    embeddings = Lists(_find_offset(data, batch, "embedding"), np.dtype(np.float32), (width,))
    there = np.frombuffer(data, np.float32, len(keys) * width, embeddings.offset).reshape(len(keys), width)
    finite = np.isfinite(there).all(axis=1)
    if not finite.all():
        raise ValueError(f"the embedding in row {int(np.argmin(finite))} is not finite")
    tokens = None
    if "tokens" in batch.schema.names:
        shape, dtype = _read_metadata(batch.schema)
        tokens = Lists(_find_offset(data, batch, "tokens"), np.dtype(jnp.dtype(dtype)), shape)
    marks = dict(batch.schema.metadata or {})
    run = marks.pop(_RUN, None)
    schema = batch.schema.with_metadata(marks)
    return Contents(schema, None if run is None else run.decode("ascii", "replace"), keys, names, embeddings, tokens)


def join_batches(batches: Sequence[Any]) -> Any:
    """Makes one table of record batches of one kind."""
    return import_arrow().Table.from_batches(batches).combine_chunks()


def get_texts(batch: Any, column: str) -> list[str]:
    """Returns the keys or the names of a part."""
    texts = batch.column(column).view(import_arrow().binary())
    return [text.decode("utf-8", "surrogatepass") for text in texts.to_pylist()]


def describe_kind(schema: Any) -> str:
    """Says which columns of which length a part has."""
    kinds = ", ".join(f"{name} {schema.field(name).type}" for name in schema.names if name not in ("key", "name"))
    metadata = schema.metadata or {}
    return f"{kinds} {metadata[_SHAPE].decode()} {metadata[_DTYPE].decode()}" if _SHAPE in metadata else kinds


def _find_message(arrow: Any, data: Any) -> Any:
    """Returns the message of the only batch of rows, where that stands behind the schema and is not compressed.

    A small file could ask for all memory otherwise: a compressed buffer says itself how large it becomes.
    """
    start = len(_MAGIC) + _MAGIC_PADDING
    messages = arrow.ipc.MessageReader.open_stream(arrow.BufferReader(data.slice(start)))
    try:
        kinds = [messages.read_next_message() for _ in range(2)]
    except StopIteration:  # an end of the stream that its footer does not know
        raise ValueError("it ends before its rows") from None
    if [message.type for message in kinds] != ["schema", "record batch"]:
        raise ValueError(f"it begins with {kinds[0].type} and {kinds[1].type}")
    if _is_compressed(memoryview(kinds[1].metadata)):
        raise ValueError("it is compressed")
    return kinds[1]


def _is_compressed(message: memoryview) -> bool:
    """Looks for the field `compression`, the fourth of Arrow's table RecordBatch, in a FlatBuffers message."""
    (table,) = struct.unpack_from("<I", message)
    header = table + _find_field(message, table, 2)
    return _find_field(message, header + struct.unpack_from("<I", message, header)[0], 3) != 0


def _find_field(message: memoryview, table: int, number: int) -> int:
    """Returns where a field of a FlatBuffers table is, from the start of the table; 0 where it has none."""
    index = table - struct.unpack_from("<i", message, table)[0]
    (size,) = struct.unpack_from("<H", message, index)
    place = 4 + 2 * number
    return int(struct.unpack_from("<H", message, index + place)[0]) if place + 2 <= size else 0


def _check_columns(schema: Any) -> None:
    """Refuses an Arrow file of something else."""
    arrow = import_arrow()
    marks = [mark for mark in (_SHAPE, _DTYPE) if mark in (schema.metadata or {})]
    if (schema.names, marks) not in ((list(_COLUMNS[:3]), []), (list(_COLUMNS), [_SHAPE, _DTYPE])):
        raise ValueError(f"its columns are {', '.join(schema.names)}")
    types = {name: schema.field(name).type for name in schema.names}
    values = {"embedding": "float"}
    if marks:
        shape, dtype = _read_metadata(schema)
        values["tokens"] = _STORED[dtype]
    for name, kind in types.items():
        is_right = kind == arrow.string()
        if name in values:
            is_right = arrow.types.is_fixed_size_list(kind) and kind.list_size > 0
            is_right = is_right and str(kind.value_type) == values[name]
        if not is_right:
            raise ValueError(f"its column {name} is {kind}")
    if marks and types["tokens"].list_size != math.prod(shape):
        raise ValueError(f"its tokens are {types['tokens']}, their shape is {list(shape)}")


def _read_metadata(schema: Any) -> tuple[tuple[int, ...], str]:
    """Returns shape and dtype of the tokens of one row."""
    shape: list[int] = parse_json(schema.metadata[_SHAPE], list[int])
    dtype = schema.metadata[_DTYPE].decode("ascii")
    if len(shape) != 2 or min(shape) < 1 or dtype not in _STORED:
        raise ValueError(f"its tokens are {dtype} of shape {shape}")
    return tuple(shape), dtype


def _check_rows(batch: Any) -> None:
    """Refuses missing values, and a batch that says it has more rows than its columns."""
    if batch.num_rows < 1:
        raise ValueError("it has no rows")
    for name, column in zip(batch.schema.names, batch.columns):
        missing = column.null_count + (0 if name in ("key", "name") else column.values.null_count)
        if missing or len(column) != batch.num_rows or column.offset:
            raise ValueError(f"its column {name} has {len(column)} of {batch.num_rows} rows, {missing} of them empty")


def _find_offset(data: Any, batch: Any, name: str) -> int:
    column = batch.column(name)
    values = column.values.buffers()[1]
    start = values.address - data.address
    size = len(column) * column.type.list_size * column.type.value_type.bit_width // 8
    if not 0 <= start <= data.size - size or values.size < size:
        raise ValueError(f"its column {name} has {values.size} bytes, not {size}")
    return int(start)


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


def import_arrow() -> Any:
    """Returns pyarrow, or says how to get it."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise FeaturesError("features need pyarrow; pip install 'vidtldr-jax[retrieval]'.") from error
    return pyarrow
