"""A file of records that grows while a long run goes on, and from which a later start goes on: JSON Lines.

The first line describes the run, every other one is a record with its `key`. Each ends with `check`, the beginning of
the SHA-256 of the line without it: a changed digit is told and not counted. A line that was torn by the end of a
process is cut off, and what it stood for is done again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Literal, NoReturn, NotRequired, Self, TypedDict

from vidtldr_jax.trust.digests import hash_bytes
from vidtldr_jax.trust.faults import join_faults
from vidtldr_jax.trust.json_files import JsonError, check_type, parse_json
from vidtldr_jax.trust.limits import check_limit
from vidtldr_jax.trust.notes import tell_note
from vidtldr_jax.trust.regular import NotRegularError, name_path, open_own
from vidtldr_jax.trust.whole_files import sync_folder

_KIND: Final = "vidtldr-jax records"
_BEGINNING: Final = json.dumps({"kind": _KIND})[:-1].encode()
_CHECK: Final = re.compile(rb', "check": "([0-9a-f]{16})"}')
_MOST_SHOWN: Final = 60  # characters of a value in a message
_SECONDS_BETWEEN_SYNCS: Final = 1.0


class RecordsError(ValueError):
    """A records file belongs to another run, or is none; the message is one line, fit for a user."""


class _Head(TypedDict):
    """The first line."""

    kind: Literal["vidtldr-jax records"]
    run: dict[str, Any]


class _Line(TypedDict):
    """Any other line; what else it has is for whoever keeps records."""

    key: str
    check: NotRequired[str]


class Records:
    """What is known so far, by key. A context manager; without a path nothing is kept beyond the process.

    Attributes:
      path: of the file, or None.
      found: the records: key -> plain data. Of several with one key the last one counts.
      num_resumed: how many were there at the start.
    """

    def __init__(
        self,
        path: Path | None,
        description: Mapping[str, Any],
        *,
        restart: bool = False,
        kind: Any = dict[str, Any],
        find_fault: Callable[[Mapping[str, Any]], str | None] = lambda record: None,
    ) -> None:
        """Opens a records file, or makes it.

        Args:
          path: of the file.
          description: of the run, plain data.
          restart: forget what is there.
          kind: type of a record, see `trust.json_files`.
          find_fault: returns what is wrong with a record of that type, or None.

        Raises:
          RecordsError: the file is of a run with another description or damaged, and restart is off; or another process
            has it, or it is a link or no regular file.
          LimitError: the file is larger than the limit "records_bytes".
          OSError: the file can't be read or written.
        """
        self.path = path
        self.found: dict[str, dict[str, Any]] = {}
        self._file: FileIO | None = None
        self._kind, self._find_fault = kind, find_fault
        self._last_sync = time.monotonic()
        wanted = json.loads(json.dumps(dict(description)))  # as it will be read again
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._file = open_own(path)
            except NotRegularError as error:
                raise RecordsError(str(error)) from error
            try:
                lock_file(self._file, path)
                check_limit("records_bytes", os.fstat(self._file.fileno()).st_size, f"records file {str(path)!r}")
                kept = 0 if restart else self._read(self._file.read(), path, wanted)
                self._file.truncate(kept)
                self._file.seek(kept)
                if not kept:
                    self._write({"kind": _KIND, "run": wanted})
                    sync_folder(path.parent)
            except BaseException:
                self._file.close()
                raise
        self.num_resumed = len(self.found)

    def append(self, key: str, record: Mapping[str, Any]) -> None:
        """Adds a record, which is then out of this process's hands.

        Args:
          key: of the record.
          record: plain data.

        Raises:
          OSError: it can't be written; the file is then as it was before.
        """
        plain = json.loads(json.dumps(dict(record), allow_nan=False))  # as it will be read again
        if self._file is not None:
            self._write({"key": key, **record})
        self.found[key] = plain

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with self._file, name_path(self.path):
                os.fsync(self._file.fileno())

    def _write(self, value: Mapping[str, Any]) -> None:
        """Writes a line; one that can't be written whole is taken back."""
        assert self._file is not None
        line = json.dumps(value, allow_nan=False).encode()
        data = memoryview(line[:-1] + f', "check": "{hash_bytes(line)[:16]}"}}\n'.encode())
        start = self._file.tell()
        with name_path(self.path):
            try:
                while data:
                    data = data[self._file.write(data) :]
                if time.monotonic() - self._last_sync > _SECONDS_BETWEEN_SYNCS:
                    os.fsync(self._file.fileno())
                    self._last_sync = time.monotonic()
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(start)
                    self._file.seek(start)
                raise

    def _read(self, read: bytes, path: Path, wanted: dict[str, Any]) -> int:
        """Takes the whole lines of a file; returns how many bytes they are."""
        whole = read[: read.rfind(b"\n") + 1]
        if not whole and _BEGINNING.startswith(read[: len(_BEGINNING)]):
            return 0  # not even the description was written
        first, *lines = (whole.removesuffix(b"\n") or read).split(b"\n")
        head, has_check = _parse_head(first, path)
        differing = find_differences(head["run"], wanted)
        if differing:
            raise RecordsError(
                f"{path} was begun by another run: {join_faults(differing)}; give another place, or --restart "
                "to begin anew."
            )
        num_old = 0
        for number, line in enumerate(lines, start=2):
            try:
                record, is_checked = _parse(line)
                check_type(record, _Line)
                key = record.pop("key")
                if has_check and not is_checked:
                    raise JsonError("its digest is missing")
                fault = self._find_fault(check_type(record, self._kind))
                if fault is not None:
                    raise JsonError(fault)
            except JsonError as error:
                _refuse(path, number, error)
            num_old += not is_checked
            self.found[key] = record
        if num_old or not has_check:
            tell_note(f"{path} is of an older version: {num_old} records have no digest to check them by")
        return len(whole)


def _parse_head(line: bytes, path: Path) -> tuple[_Head, bool]:
    try:
        value, is_checked = _parse(line)
        if value.keys() > {"kind", "run"}:
            raise JsonError("it has other names")
        return check_type(value, _Head), is_checked
    except JsonError as error:
        raise RecordsError(
            f"the file to go on from starts with the description of a run; {path} does not ({error}); give "
            "another place, or --restart to overwrite it."
        ) from error


def _parse(line: bytes) -> tuple[dict[str, Any], bool]:
    """Reads a line and compares it with the digest at its end, if it has one."""
    match = _CHECK.search(line, max(len(line) - 32, 0))
    if match is None or match.end() != len(line):
        return parse_json(line, dict[str, Any]), False
    plain = line[: match.start()] + b"}"
    if hash_bytes(plain)[:16].encode() != match[1]:
        raise JsonError("it is not what its digest was made of")
    return parse_json(plain, dict[str, Any]), True


def _refuse(path: Path, number: int, error: Exception) -> NoReturn:
    raise RecordsError(
        f"every line is a record; line {number} of {path} is damaged ({error}); take it out, or --restart to "
        "begin anew."
    ) from error


def lock_file(file: IO[bytes], path: Path) -> None:
    """Keeps a second process out until this one ends, where the system and the file system can.

    Args:
      file: open; the lock ends with it.
      path: what is written, for the message.

    Raises:
      RecordsError: another process has it.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RecordsError(
            f"one process writes a file; another one has {path} open; wait for it, or give another place."
        ) from error
    except (ImportError, OSError):
        pass  # Windows, and network file systems without locks


def find_differences(there: Any, here: Any, path: str = "") -> list[str]:
    """Lists where two descriptions differ, each as `path: there, then here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        names = [*here, *(name for name in there if name not in here)]
        return [
            line
            for name in names
            for line in find_differences(there.get(name), here.get(name), f"{path}.{name}" if path else name)
        ]
    return [] if there == here else [f"{path} was {_show(there)}, now {_show(here)}"]


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."
