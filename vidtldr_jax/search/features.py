"""A folder of embeddings and tokens that grows while a long run goes on: Arrow files, each written in one step.

    with FeatureStore("results/msrvtt.features", description) as store:
        store.append([Feature("a.mp4", "a.mp4", embedding, tokens)])
    store = read_features("index")
    store.read_embeddings()                                      # [V, E] float32, in the order of store.keys
    store.read_tokens("a.mp4")                                   # [M, D], read from the file

Every file `part-NUMBER-SHA256.arrow` has the columns key, name, embedding (list of float32) and, where they were asked
for, tokens (list of float32, or of uint16 that are the bits of bfloat16). Any library that reads Arrow's files reads
them. `description.json` says of which run they are, which each part repeats as a digest. A part is written beside
its place, brought to the disk and then renamed, so that a process may be killed at any moment. What is opened is
compared with the digest in its name, unless `VIDTLDR_CHECK_DIGESTS=0`. Needs pyarrow (the extra "retrieval").
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import numpy as np
from jaxtyping import Float32, Shaped

from vidtldr_jax.search.arrow_parts import (
    Feature,
    FeaturesError,
    describe_kind,
    import_arrow,
    join_batches,
    make_table,
)
from vidtldr_jax.search.features_description import NAME, read_description, write_description
from vidtldr_jax.search.part_files import PartFile, is_part_name, parse_name, remove_half_written, write_part
from vidtldr_jax.trust.digests import hash_json
from vidtldr_jax.trust.faults import join_faults
from vidtldr_jax.trust.notes import tell_note
from vidtldr_jax.trust.records import RecordsError, find_differences, lock_file
from vidtldr_jax.trust.regular import NotRegularError, open_own

# Many small parts in a row become one: a part per batch of embeddings would be thousands of files.
_MOST_SMALL: Final = 64
_SMALL_BYTES: Final = 4 * 2**20
_LARGE_BYTES: Final = 2**28  # a part is read in full when it is opened


class _Row(NamedTuple):
    """Where a feature is: its name, the file name of the part, the row in it."""

    name: str
    part: str
    row: int


class FeatureStore:
    """Features by key; a context manager. Whoever writes has it alone, reading is free.

    Attributes:
      folder: where it is.
      description: of the run whose features these are.
      about: what else is written there, of no meaning here.
      notes: one line each on what could not be checked, such as parts without a digest.
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
          LimitError: a file is larger than a limit allows.
          OSError: it can't be read or written.
        """
        import_arrow()  # or what was computed first would be lost
        self.folder = Path(folder)
        self._lock: FileIO | None = None
        self._parts: dict[str, PartFile] = {}
        self._rows: dict[str, _Row] = {}
        self._next = 0
        if is_writer:
            self._prepare()
        try:
            self.description, self.about = self._match(description, dict(about or {}), restart=restart)
            self._run = hash_json(self.description)
            self._read_parts(is_writer=is_writer)
        except BaseException:
            self.close()
            raise
        for note in self.notes:
            tell_note(note)

    @property
    def keys(self) -> list[str]:
        """The keys, in the order in which their rows were added."""
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
        return any(part.contents.tokens is not None for part in self._parts.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """One line each on what could not be checked."""
        old = sum(not part.has_digest for part in self._parts.values())
        files = [f"{old} of {len(self._parts)} parts"] * (old > 0) + [NAME] * (not self._has_digest)
        if not files:
            return ()
        return (f"{self.folder}: of an older version, without a digest to check it by: {' and '.join(files)}",)

    def count_bytes(self) -> int:
        """Returns the size of the files."""
        num_bytes = 0
        for path in self._list_parts():
            with contextlib.suppress(FileNotFoundError):  # a writer made one of several parts just now
                num_bytes += path.stat().st_size
        return num_bytes

    def append(self, features: Sequence[Feature]) -> None:
        """Adds features, large ones in several steps; then they are out of this process's hands.

        Args:
          features: at least one, all of one shape and dtype.

        Raises:
          FeaturesError: they are of several shapes, or of others than those that are there; or the store is not open
            to write.
        """
        if self._lock is None:
            raise FeaturesError(
                f"a FeatureStore adds features while it is open to write; that of {self.folder} is closed or "
                "reads; open another."
            )
        if not features:
            return
        table = make_table(features)
        first = next(iter(self._parts.values()), None)
        if first is not None and not _is_alike(first, table.schema):
            raise FeaturesError(
                f"all features of {self.folder} have one shape and kind, {describe_kind(first.contents.schema)}; "
                f"got {describe_kind(table.schema)}; give another folder."
            )
        most = max(1, _LARGE_BYTES * len(features) // max(table.nbytes, 1))
        for start in range(0, len(features), most):
            self._write(self._next, table.take(list(range(start, min(start + most, len(features))))))
        self._merge_small_parts()

    def read_embeddings(self, keys: Sequence[str] | None = None) -> Float32[np.ndarray, "V E"]:
        """Returns embeddings.

        Args:
          keys: whose; None for all, in the order of `keys`.

        Returns:
          One row each.
        """
        wanted = [self._rows[key] for key in (self._rows if keys is None else keys)]
        rows: dict[str, list[int]] = {}
        for number, row in enumerate(wanted):
            rows.setdefault(row.part, []).append(number)
        found = np.zeros((0, 0), np.float32)
        for name, numbers in rows.items():
            embeddings = self._parts[name].read_embeddings()
            if not found.size:
                found = np.empty((len(wanted), embeddings.shape[1]), np.float32)
            found[numbers] = embeddings[[wanted[number].row for number in numbers]]
        return found

    def read_tokens(self, key: str) -> Shaped[np.ndarray, "M D"]:
        """Returns the tokens of one feature, read from the file.

        Raises:
          FeaturesError: the file has changed since it was opened.
          OSError: it can't be read.
        """
        place = self._rows[key]
        return self._parts[place.part].read_tokens(place.row)

    def remove(self, keys: Collection[str]) -> None:
        """Removes features; parts that have some of them are written anew, the oldest first.

        A process may be killed in between: then some of the features are still there.

        Args:
          keys: of the features; those that are not there are ignored.

        Raises:
          FeaturesError: the store is not open to write, or a part is damaged.
          OSError: something can't be written.
        """
        if self._lock is None:
            raise FeaturesError(f"features are removed while a store is open to write; that of {self.folder} is not")
        gone = set(keys) & self._rows.keys()
        if not gone:
            return
        for name, part in list(self._parts.items()):
            if gone.isdisjoint(part.contents.keys):
                continue
            counting = [
                row for row, key in enumerate(part.contents.keys)
                if key not in gone and (self._rows[key].part, self._rows[key].row) == (name, row)
            ]  # fmt: skip
            if counting:
                table = join_batches([part.read_batch()]).take(counting)
                rest = PartFile(write_part(self.folder, part.number, table, run=self._run))
                self._parts[rest.path.name] = rest
            self._drop(name)
        self._parts = dict(sorted(self._parts.items(), key=lambda item: (item[1].number, item[0])))
        self._rows = {}
        for part in self._parts.values():
            self._list_rows(part)

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
            raise FeaturesError(f"features are a folder; {self.folder} is a file; give another place.")
        strangers = [path.name for path in self.folder.glob("[!.]*") if not _is_ours(path.name)]
        if strangers:
            raise FeaturesError(
                f"a folder of features has nothing else in it; {self.folder} has "
                f"{', '.join(sorted(strangers)[:3])}; give another place."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = open_own(self.folder / "lock")
            lock_file(self._lock, self.folder)
        except (NotRegularError, RecordsError) as error:
            self.close()
            raise FeaturesError(str(error)) from error
        remove_half_written(self.folder)

    def _match(
        self, description: Mapping[str, Any] | None, about: dict[str, Any], *, restart: bool
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Compares the description with the one that is there, or writes it."""
        path = self.folder / NAME
        wanted = None if description is None else json.loads(json.dumps(dict(description)))
        if restart and self._lock is not None:
            for old in (*self._list_parts(), path):
                old.unlink(missing_ok=True)
        there = read_description(self.folder)
        self._has_digest = there is None or there.has_digest
        if there is None and self._list_parts():
            raise FeaturesError(f"{path} is missing and there are features; put it back, or --restart.")
        if there is None:
            if wanted is None or self._lock is None:
                raise FeaturesError(f"features are a folder with {NAME}; {self.folder} has none; check the path.")
            write_description(self.folder, wanted, about)
            return wanted, about
        differing = [] if wanted is None else find_differences(there.run, wanted)
        if differing:
            raise FeaturesError(
                f"{self.folder} has features of another run: {join_faults(differing)}; give another "
                "place, or --restart to begin anew."
            )
        if not there.has_digest and self._lock is not None:
            write_description(self.folder, there.run, there.about)
            self._has_digest = True
        return there.run, there.about

    def _list_parts(self) -> list[Path]:
        """Lists the parts, the oldest first; of two with one number, which a killed removal leaves, in any order."""
        return sorted(self.folder.glob("part-*"), key=lambda path: (parse_name(path.name)[0], path.name))

    def _read_parts(self, *, is_writer: bool) -> None:
        """Reads what there is; a part that a killed merge left behind is taken away."""
        parts = self._list_parts()
        for path in parts:
            try:
                self._take(path)
            except FileNotFoundError:
                if is_writer or self._list_parts() == parts:
                    raise
                # A writer made one of several parts just now.
                self._parts, self._rows = {}, {}
                return self._read_parts(is_writer=is_writer)
        used = {row.part for row in self._rows.values()}
        for path in parts:
            if path.name not in used:
                if is_writer:
                    self._drop(path.name)
                else:
                    del self._parts[path.name]
        self._next = max((part.number for part in self._parts.values()), default=-1) + 1
        return None

    def _take(self, path: Path) -> None:
        part = PartFile(path)
        if part.contents.run not in (None, self._run):
            raise FeaturesError(f"the parts of {self.folder} are of one run; {path.name} is of another; move it away")
        first = next(iter(self._parts.values()), part)
        if not _is_alike(first, part.contents.schema):
            raise FeaturesError(
                f"all features of {self.folder} have one shape and kind; {path.name} has "
                f"{describe_kind(part.contents.schema)}, {first.path.name} {describe_kind(first.contents.schema)}; "
                "take one of them away"
            )
        if self._lock is None and part.size <= _SMALL_BYTES:
            part.keep_open()  # a writer may make one of several of these
        self._parts[path.name] = part
        self._list_rows(part)

    def _list_rows(self, part: PartFile) -> None:
        for row, (key, name) in enumerate(zip(part.contents.keys, part.contents.names)):
            self._rows.pop(key, None)  # the order must not hang on a part that nothing counts of, for it may go
            self._rows[key] = _Row(name, part.path.name, row)

    def _drop(self, name: str) -> None:
        """Takes a part away."""
        self._parts.pop(name).path.unlink(missing_ok=True)

    def _write(self, number: int, table: Any) -> None:
        self._take(write_part(self.folder, number, table, run=self._run))
        self._next = max(self._next, number + 1)

    def _merge_small_parts(self) -> None:
        """Makes one part of the last ones where these are many and small; then those are taken away."""
        run: list[PartFile] = []
        for part in reversed(self._parts.values()):
            if part.size > _SMALL_BYTES:
                break
            run.append(part)
        if len(run) < _MOST_SMALL:
            return
        self._write(self._next, join_batches([part.read_batch() for part in reversed(run)]))
        for part in run:
            self._drop(part.path.name)


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
    return name in (NAME, "lock") or is_part_name(name)


def _is_alike(part: PartFile, schema: Any) -> bool:
    return bool(part.contents.schema.equals(schema, check_metadata=True))
