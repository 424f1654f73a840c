"""A folder of embeddings and tokens that grows while a long run goes on: Arrow files, each written in one step.

    with FeatureStore("results/msrvtt.features", description) as store:
        store.append([Feature("a.mp4", "a.mp4", embedding, tokens)])
    store = read_features("index")
    store.read_embeddings()                                      # [V, E] float32, in the order of store.keys
    store.read_tokens("a.mp4")                                   # [M, D], mapped from the file

Every file `part-*.arrow` has the columns key, name, embedding (list of float32) and, where they were asked for, tokens
(list of float32, or of uint16 that are the bits of bfloat16). Any library that reads Arrow's IPC files reads them.
`description.json` says of which run they are. A part is written beside its place, brought to the disk and then renamed,
so that a process may be killed at any moment. Needs pyarrow, which the extra "retrieval" brings.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, Self

import numpy as np
from jaxtyping import Float32, Shaped

from vidtldr_jax.inference.arrow_parts import (
    Feature,
    FeaturesError,
    describe_kind,
    get_embeddings,
    get_texts,
    get_tokens,
    import_arrow,
    join_tables,
    make_table,
    read_part,
    write_part,
    write_whole,
)
from vidtldr_jax.inference.records import RecordsError, find_differences, lock_file

_KIND: Final = "vidtldr-jax features"
_FORMAT: Final = 1
_DESCRIPTION: Final = "description.json"
_PART: Final = re.compile(r"part-(\d{6,})\.arrow")
_HALF_WRITTEN: Final = re.compile(r"\.(description\.json|part-\d{6,}\.arrow)\.tmp")
# Many small parts in a row become one: a part per batch of embeddings would be thousands of files.
_MOST_SMALL: Final = 64
_SMALL_BYTES: Final = 4 * 2**20


class _Row(NamedTuple):
    """Where a feature is: its name, the number of the part, the row in it."""

    name: str
    part: int
    row: int


class FeatureStore:
    """Features by key; a context manager. Whoever writes has it alone, reading is free.

    Attributes:
      folder: where it is.
      description: of the run whose features these are.
      about: what else is written there, of no meaning here.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        description: Mapping[str, Any] | None,
        *,
        about: Mapping[str, Any] | None = None,
        restart: bool = False,
        is_writer: bool = True,
    ) -> None:
        """Opens a folder, or makes it.

        Args:
          folder: where it is.
          description: of the run, plain data. None takes what is there.
          about: more to write down where the folder is made; it may differ from what is there.
          restart: forget what is there.
          is_writer: whether more will be added; then other writers are kept out.

        Raises:
          FeaturesError: the folder is of another run, is damaged, has other files in it, or another process writes; or
            pyarrow is missing.
          OSError: it can't be read or written.
        """
        import_arrow()  # or what was computed first would be lost
        self.folder = Path(folder)
        self._lock: IO[bytes] | None = None
        self._tables: dict[int, Any] = {}
        self._rows: dict[str, _Row] = {}
        self._next = 0
        if is_writer:
            self._prepare()
        try:
            self.description, self.about = self._match(description, dict(about or {}), restart=restart)
            self._read_parts(is_writer=is_writer)
        except BaseException:
            self.close()
            raise

    @property
    def keys(self) -> list[str]:
        """The keys, in the order in which what counts of them came."""
        return list(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def get_name(self, key: str) -> str:
        """Returns the name of a feature."""
        return self._rows[key].name

    @property
    def has_tokens(self) -> bool:
        """Whether there are tokens; False where there is nothing."""
        return any("tokens" in table.column_names for table in self._tables.values())

    def count_bytes(self) -> int:
        """Returns the size of the files."""
        num_bytes = 0
        for _, path in self._list_parts():
            with contextlib.suppress(FileNotFoundError):  # a writer made one of several parts just now
                num_bytes += path.stat().st_size
        return num_bytes

    def append(self, features: Sequence[Feature]) -> None:
        """Adds features in one step; then they are out of this process's hands.

        Args:
          features: at least one, all of one shape and dtype.

        Raises:
          FeaturesError: they are of several shapes, or of others than those that are there; or the store is not open
            to write.
        """
        if self._lock is None:
            raise FeaturesError(
                f"append: a FeatureStore adds features while it is open to write; that of {self.folder} is closed or "
                "reads; open another."
            )
        if not features:
            return
        table = make_table(features)
        first = next(iter(self._tables.values()), None)
        if first is not None and not first.schema.equals(table.schema, check_metadata=True):
            raise FeaturesError(
                f"append: all features of {self.folder} have one shape and kind; {describe_kind(table.schema)} came, "
                f"there are {describe_kind(first.schema)}; give another folder."
            )
        self._write(self._next, table)
        self._merge_small_parts()

    def read_embeddings(self, keys: Sequence[str] | None = None) -> Float32[np.ndarray, "V E"]:
        """Returns embeddings.

        Args:
          keys: whose; None for all, in the order of `keys`.

        Returns:
          One row each.
        """
        wanted = [self._rows[key] for key in (self._rows if keys is None else keys)]
        parts = {part: get_embeddings(self._tables[part]) for part in {row.part for row in wanted}}
        if not wanted:
            return np.zeros((0, 0), np.float32)
        return np.stack([parts[row.part][row.row] for row in wanted])

    def read_tokens(self, key: str) -> Shaped[np.ndarray, "M D"]:
        """Returns the tokens of one feature, mapped from the file."""
        place = self._rows[key]
        return get_tokens(self._tables[place.part], place.row)

    def close(self) -> None:
        """Lets others write."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        """Makes the folder, keeps other writers out and takes away what a killed one left half-written."""
        if self.folder.exists() and not self.folder.is_dir():
            raise FeaturesError(f"open_features: features are a folder; {self.folder} is a file; give another place.")
        strangers = [path.name for path in self.folder.glob("[!.]*") if not _is_ours(path.name)]
        if strangers:
            raise FeaturesError(
                f"open_features: a folder of features has nothing else in it; {self.folder} has "
                f"{', '.join(sorted(strangers)[:3])}; give another place."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("a+b")
        try:
            lock_file(self._lock, self.folder)
        except RecordsError as error:
            self.close()
            raise FeaturesError(str(error)) from error
        for path in self.folder.glob(".*.tmp"):
            if _HALF_WRITTEN.fullmatch(path.name):
                path.unlink()

    def _match(
        self, description: Mapping[str, Any] | None, about: dict[str, Any], *, restart: bool
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Compares the description with the one that is there, or writes it."""
        path = self.folder / _DESCRIPTION
        wanted = None if description is None else json.loads(json.dumps(dict(description)))
        if restart and self._lock is not None:
            for old in (*(part for _, part in self._list_parts()), path):
                old.unlink(missing_ok=True)
        there = _read_description(path)
        if there is None and self._list_parts():
            raise FeaturesError(f"open_features: {path} is missing and there are features; put it back, or --restart.")
        if there is None:
            if wanted is None or self._lock is None:
                raise FeaturesError(
                    f"open_features: features are a folder with {_DESCRIPTION}; {self.folder} has none; check the path."
                )
            head = {"kind": _KIND, "format": _FORMAT, "run": wanted, "about": about}
            write_whole(path, json.dumps(head, indent=2).encode() + b"\n")
            return wanted, about
        differing = [] if wanted is None else find_differences(there["run"], wanted)
        if differing:
            raise FeaturesError(
                f"open_features: {self.folder} has features of another run: {'; '.join(differing)}; give another "
                "place, or --restart to begin anew."
            )
        return there["run"], there["about"]

    def _list_parts(self) -> list[tuple[int, Path]]:
        found = ((_PART.fullmatch(path.name), path) for path in self.folder.glob("part-*.arrow"))
        return sorted((int(match[1]), path) for match, path in found if match)

    def _read_parts(self, *, is_writer: bool) -> None:
        """Reads what there is; a part that a killed merge left behind is taken away."""
        parts = self._list_parts()
        for number, path in parts:
            try:
                self._take(number, path)
            except FileNotFoundError:
                if is_writer or self._list_parts() == parts:
                    raise
                # A writer made one of several parts just now.
                self._tables, self._rows = {}, {}
                return self._read_parts(is_writer=is_writer)
        used = {row.part for row in self._rows.values()}
        for number, path in parts:
            if number not in used:
                del self._tables[number]
                if is_writer:
                    path.unlink()
        self._next = parts[-1][0] + 1 if parts else 0
        return None

    def _take(self, number: int, path: Path) -> None:
        table = self._tables[number] = read_part(path)
        for row, (key, name) in enumerate(zip(get_texts(table, "key"), get_texts(table, "name"))):
            self._rows.pop(key, None)  # the order must not hang on a part that nothing counts of, for it may go
            self._rows[key] = _Row(name, number, row)

    def _write(self, number: int, table: Any) -> None:
        path = self._name_part(number)
        write_part(path, table)
        self._take(number, path)
        self._next = max(self._next, number + 1)

    def _name_part(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.arrow"

    def _merge_small_parts(self) -> None:
        """Makes one part of the last ones where these are many and small; it takes the place of the last."""
        run: list[int] = []
        for number, path in reversed(self._list_parts()):
            if path.stat().st_size > _SMALL_BYTES:
                break
            run.append(number)
        if len(run) < _MOST_SMALL:
            return
        self._write(run[0], join_tables([self._tables[number] for number in reversed(run)]))
        for number in run[1:]:
            del self._tables[number]
            self._name_part(number).unlink()


def read_features(folder: str | os.PathLike[str]) -> FeatureStore:
    """Opens features to read; somebody else may be adding to them.

    Args:
      folder: where they are.

    Returns:
      What is there now.

    Raises:
      FeaturesError: it is no folder of features, or is damaged.
    """
    return FeatureStore(folder, None, is_writer=False)


def _is_ours(name: str) -> bool:
    return name in (_DESCRIPTION, "lock") or _PART.fullmatch(name) is not None


def _read_description(path: Path) -> dict[str, Any] | None:
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise FeaturesError(f"open_features: features are a folder; {path.parent} is none; check the path.") from error
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict) or head.get("kind") != _KIND or not _has_objects(head, "run", "about"):
        raise FeaturesError(f"open_features: {path} is not the description of features; give another folder.")
    if head.get("format") != _FORMAT:
        raise FeaturesError(
            f"open_features: format {_FORMAT} is read; {path} has {head.get('format')!r}; make the features anew with "
            "this version."
        )
    return head


def _has_objects(head: Mapping[str, Any], *names: str) -> bool:
    return all(isinstance(head.get(name), dict) for name in names)
