"""A file of records that grows while a long run goes on, and from which a later start goes on: JSON Lines.

The first line describes the run, every other one is a record with its `key`. A line that was torn by the end of a
process is cut off, and what it stood for is done again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

_KIND: Final = "vidtldr-jax records"
_BEGINNING: Final = json.dumps({"kind": _KIND})[:-1].encode()
_MOST_SHOWN: Final = 60  # characters of a value in a message


class RecordsError(ValueError):
    """A records file belongs to another run, or is none; the message is one line, fit for a user."""


class Records:
    """What is known so far, by key. A context manager; without a path nothing is kept beyond the process.

    Attributes:
      path: of the file, or None.
      found: the records: key -> plain data. Of several with one key the last one counts.
      num_resumed: how many were there at the start.
    """

    def __init__(self, path: Path | None, description: Mapping[str, Any], *, restart: bool = False) -> None:
        """Opens a records file, or makes it.

        Args:
          path: of the file.
          description: of the run, plain data.
          restart: forget what is there.

        Raises:
          RecordsError: the file is of a run with another description, and restart is off; or another process has it.
          OSError: the file can't be read or written.
        """
        self.path = path
        self.found: dict[str, dict[str, Any]] = {}
        self._file: IO[bytes] | None = None
        wanted = json.loads(json.dumps(dict(description)))  # as it will be read again
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            try:
                lock_file(self._file, path)
                self._file.seek(0)
                kept = 0 if restart else self._read(self._file.read(), path, wanted)
                self._file.truncate(kept)
            except BaseException:
                self._file.close()
                raise
            if not kept:
                self._write({"kind": _KIND, "run": wanted})
        self.num_resumed = len(self.found)

    def append(self, key: str, record: Mapping[str, Any]) -> None:
        """Adds a record, which is then out of this process's hands."""
        self.found[key] = json.loads(json.dumps(dict(record)))  # as it will be read again
        if self._file is not None:
            self._write({"key": key, **record})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, value: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(value, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def _read(self, read: bytes, path: Path, wanted: dict[str, Any]) -> int:
        """Takes the whole lines of a file; returns how many bytes they are."""
        whole = read[: read.rfind(b"\n") + 1]
        if not whole and _BEGINNING.startswith(read[: len(_BEGINNING)]):
            return 0  # not even the description was written
        lines = [_parse(line) for line in (whole or read).splitlines()]
        head = lines[0]
        if head is None or head.get("kind") != _KIND or not isinstance(head.get("run"), dict):
            raise RecordsError(
                f"Records: the file to go on from starts with the description of a run; {path} does not; give another "
                "place, or --restart to overwrite it."
            )
        differing = find_differences(head["run"], wanted)
        if differing:
            raise RecordsError(
                f"Records: {path} was begun by another run: {'; '.join(differing)}; give another place, or --restart "
                "to begin anew."
            )
        for number, record in enumerate(lines[1:], start=2):
            if record is None or not isinstance(record.get("key"), str):
                raise RecordsError(
                    f"Records: every line is a record; line {number} of {path} is none; take it out, or --restart to "
                    "begin anew."
                )
            self.found[record.pop("key")] = record
        return len(whole)


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
            f"lock_file: one process writes a file; another one has {path} open; wait for it, or give another place."
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


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
