"""One part of a folder of features on disk: the digest in its name, and rows that are read when they are asked for.

A part is `part-000007-<SHA-256 of the file>.arrow`, so that content and digest appear in one step. It is read once in
full, compared with its name and checked; then keys and names are kept, and rows of numbers are read from the file
when they are needed. Nothing stays mapped: a file that is cut short later is an error and not the end of the process.
"""

from __future__ import annotations

import contextlib
import os
import re
import weakref
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Shaped

from vidtldr_jax.search.arrow_parts import (
    Contents,
    FeaturesError,
    Lists,
    find_contents,
    import_arrow,
    mark_run,
    read_bytes,
    write_bytes,
)
from vidtldr_jax.trust.digests import hash_bytes, is_checking
from vidtldr_jax.trust.limits import check_limit
from vidtldr_jax.trust.regular import NotRegularError, check_regular
from vidtldr_jax.trust.whole_files import remove_leftovers, write_whole

_NAME: Final = re.compile(r"part-(\d{6,9})(?:-([0-9a-f]{64}))?\.arrow")
_PARTIAL: Final = re.compile(r"\.(description\.json|part-[0-9a-f-]+\.arrow)-[0-9a-f]{16}\.partial")
_HALF_WRITTEN: Final = re.compile(r"\.(description\.json|part-\d{6,}\.arrow)\.tmp")  # by older versions
_MAGIC: Final = b"ARROW1"


class PartFile:
    """A part that was read and found sound.

    Attributes:
      path: of the file.
      number: its place among the parts.
      size: of the file in bytes.
      contents: what it holds and where.
      has_digest: whether its name tells its digest.
    """

    def __init__(self, path: Path, *, is_compared: bool | None = None) -> None:
        """Reads a part.

        Args:
          path: of the file.
          is_compared: whether its bytes are compared with the digest in its name; None means `is_checking()`.

        Raises:
          FeaturesError: it is damaged.
          LimitError: it is larger than the limit "part_bytes".
          FileNotFoundError: it is not there any more.
          OSError: it can't be read.
        """
        self.path = path
        self.number, digest = parse_name(path.name)
        self.has_digest = digest is not None
        self._held: int | None = None
        try:
            check_regular(path)
        except NotRegularError as error:
            raise FeaturesError(str(error)) from error
        is_compared = digest is None or (is_checking() if is_compared is None else is_compared)
        with _open(path) as file:
            self._mark = _mark_file(file)
            self.size = os.fstat(file.fileno()).st_size
            check_limit("part_bytes", self.size, f"part {str(path)!r}")
            with _name_damage(path):
                data = _read_checked(file, self.size, digest) if is_compared else _map(path)
                self.contents: Contents = find_contents(data, read_bytes(data))

    def keep_open(self) -> None:
        """Holds the file, so that its rows can be read after a writer has removed its name.

        Raises:
          OSError: it can't be opened.
        """
        if self._held is None:
            self._held = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._held)

    def read_embeddings(self) -> Float32[np.ndarray, "V E"]:
        """Returns all embeddings.

        Raises:
          FeaturesError: the file has changed since it was opened.
          OSError: it can't be read.
        """
        lists = self.contents.embeddings
        values = self._read(lists, 0, len(self.contents.keys))
        return values.reshape(-1, *lists.shape)

    def read_tokens(self, row: int) -> Shaped[np.ndarray, "M D"]:
        """Returns the tokens of one row.

        Raises:
          FeaturesError: there are none, or the file has changed since it was opened.
          OSError: it can't be read.
        """
        lists = self.contents.tokens
        if lists is None:
            raise FeaturesError(f"tokens are read of features that have some; {self.path} has embeddings alone")
        return self._read(lists, row, 1).reshape(lists.shape)

    def read_batch(self) -> Any:
        """Reads the part once more; returns its rows as a record batch of Arrow.

        Raises:
          FeaturesError: it is damaged.
          OSError: it can't be read.
        """
        with _open(self.path) as file, _name_damage(self.path):
            return read_bytes(_read_checked(file, self.size, parse_name(self.path.name)[1]))

    def _read(self, lists: Lists, row: int, count: int) -> np.ndarray:
        """Reads rows of a column, and makes sure that they are of the file that was checked."""
        data = bytearray(count * lists.row_bytes)
        try:
            with _open(self.path) if self._held is None else FileIO(self._held, "rb", closefd=False) as file:
                file.seek(lists.offset + row * lists.row_bytes)
                length, mark = _fill(file, data), _mark_file(file)
        except FileNotFoundError:
            length, mark = -1, ()
        if length != len(data) or mark != self._mark:
            raise FeaturesError(
                f"a part stays as it is while it is read; {self.path} has changed since it was opened; start again"
            )
        values = np.frombuffer(data, lists.dtype)
        values.flags.writeable = False
        return values


def is_part_name(name: str) -> bool:
    """Returns whether a file's name is that of a part."""
    return _NAME.fullmatch(name) is not None


def parse_name(name: str) -> tuple[int, str | None]:
    """Returns the number of a part and its digest, which the name of an older one does not tell.

    Raises:
      FeaturesError: it is no name of a part.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise FeaturesError(f"a part is named part-NUMBER-SHA256.arrow; got {name!r}; move the file away")
    return int(match[1]), match[2]


def write_part(folder: Path, number: int, table: Any, *, run: str) -> Path:
    """Writes a part in one step.

    Args:
      folder: that it belongs to.
      number: its place among the parts.
      table: a `pyarrow.Table`.
      run: SHA-256 of what describes the run.

    Returns:
      Where it is.

    Raises:
      OSError: it can't be written; it names the path.
    """
    data = write_bytes(mark_run(table, run))
    path = folder / f"part-{number:06d}-{hash_bytes(memoryview(data))}.arrow"
    write_whole(path, memoryview(data))
    return path


def remove_half_written(folder: Path) -> None:
    """Removes what writers of a folder of features that were killed left half-written."""
    for path in folder.glob(".*"):
        if (match := _PARTIAL.fullmatch(path.name)) is not None:
            remove_leftovers(folder / match[1])
        elif _HALF_WRITTEN.fullmatch(path.name):
            path.unlink()


def _open(path: Path) -> FileIO:
    return path.open("rb", buffering=0)


def _read_checked(file: FileIO, size: int, digest: str | None) -> Any:
    """Returns a file's bytes as a buffer of Arrow, after comparing them with their digest."""
    # What was cut or grown is told before much of it is read.
    ends = [file.read(len(_MAGIC)) for start in (0, max(size - len(_MAGIC), 0)) if file.seek(start) == start]
    if ends != [_MAGIC, _MAGIC]:
        raise ValueError(f"its {size} bytes neither begin nor end as an Arrow file's do")
    file.seek(0)
    data = bytearray(size)
    if _fill(file, data) != size:
        raise ValueError("it became shorter while it was read")
    if digest is not None and (found := hash_bytes(data)) != digest:
        raise ValueError(f"its SHA-256 begins with {found[:12]}, by its name with {digest[:12]}")
    return import_arrow().py_buffer(data)


def _map(path: Path) -> Any:
    """Maps a file, where comparing it with its digest is left out; only what describes it is looked at."""
    with import_arrow().memory_map(str(path)) as source:
        return source.read_buffer()


def _fill(file: FileIO, data: bytearray) -> int:
    """Reads until a buffer is full or the file ends; returns how many bytes were read."""
    view, done = memoryview(data), 0
    while done < len(view) and (count := file.readinto(view[done:])):
        done += count
    return done


def _mark_file(file: FileIO) -> tuple[int, ...]:
    """Returns what tells a file from another one and from itself after a change."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _name_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise FeaturesError(f"{path} is damaged ({error}); take it away: what it stands for is done again") from error
