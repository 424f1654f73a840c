"""Lists of labelled videos: CSV with a header, or JSON Lines.

    path,label                      {"path": "dive.mp4", "label": "diving"}
    clips/dive.mp4,diving           {"path": "ski.mp4", "label": 3}
    clips/ski.mp4,3

Paths are relative to the manifest's folder unless a root is given. A label is the name of a class or else its number
(`data.labels`); both may stand in one list. Data sets with several labels per video have a column for each, `noun` and
`verb` for instance. Other columns don't matter.
"""

from __future__ import annotations

import csv
import functools
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from vidtldr_jax.data.labels import Labels, read_label
from vidtldr_jax.trust.faults import Faults, show
from vidtldr_jax.trust.json_files import JsonError, parse_json
from vidtldr_jax.trust.lines import read_exact, split_lines
from vidtldr_jax.trust.nearest import find_nearest_name
from vidtldr_jax.trust.notes import tell_note
from vidtldr_jax.trust.regular import check_regular

_PATH: Final = "path"
_LONGEST_NAME: Final = 100  # characters of a path or a column that a message shows
_MOST_COLUMNS: Final = 50


class ManifestEntry(NamedTuple):
    """One video of a manifest.

    Attributes:
      name: its path as written.
      path: where it is.
      labels: number of its class, one per label column.
    """

    name: str
    path: Path
    labels: tuple[int, ...]


def read_manifest(
    manifest: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    columns: Sequence[str] = ("label",),
    class_names: Sequence[Sequence[str] | None] | None = None,
    num_classes: Sequence[int | None] | None = None,
) -> list[ManifestEntry]:
    """Reads a manifest; whether the videos exist is not looked at.

    Args:
      manifest: the file, CSV or JSON Lines; its first character tells which.
      root: folder that paths are relative to; None is the manifest's own.
      columns: names of the label columns.
      class_names: names of the classes of each label column, or None where they are not known: then labels are numbers.
      num_classes: classes of each label column, where only their number is known.

    Returns:
      The entries in the order of the file.

    Raises:
      ValueError: the file is empty, is neither format, lacks a column or has one twice, names a video twice, or has
        labels that mean no class or several; the first faults together with their lines, and how many more there are.
        Or there are more or fewer names than classes.
      OSError: the file can't be read or is not a regular one.
    """
    path = Path(manifest)
    base = path.parent if root is None else Path(root)
    readers = _make_readers(columns, class_names, num_classes)
    entries: list[ManifestEntry] = []
    faults = Faults()
    seen: dict[str, int] = {}
    named: set[str] = set()  # columns with a label that is a name
    numbered: dict[str, dict[str | None, None]] = {}  # column -> labels that are numbers although classes have names
    for line, row in _read_rows(path, (_PATH, *columns), faults):
        name = _read_path(row.get(_PATH), line, faults)
        if name is None:
            continue
        if name in seen:
            faults.add(f"line {line}: {name[:_LONGEST_NAME]} was on line {seen[name]} already")
        seen.setdefault(name, line)
        found = [reader.find(row.get(column)) for column, reader in zip(columns, readers)]
        for column, reader, label in zip(columns, readers, found):
            if label is None:
                faults.add(functools.partial(_explain, line, column, reader, row.get(column)))
            elif reader.names is not None and reader.write(label) != (text := read_label(row[column])):
                numbered.setdefault(column, {})[text] = None
            else:
                named.add(column)
        entries.append(ManifestEntry(name, base / name, tuple(label or 0 for label in found)))
    if not entries and not faults:
        faults.add("it lists no video")
    if faults:
        wanted = ", ".join((_PATH, *columns))
        raise ValueError(f"a manifest has {wanted} for every video; in {path}: {faults}; fix these lines")
    for column in named & set(numbered):
        tell_note(f"{path}: of {column}, what is no name is the number of a class: {show(list(numbered[column]))}")
    return entries


def _read_path(value: object, line: int, faults: Faults) -> str | None:
    """Returns the path of a row, None for what can be none."""
    name = value.strip() if isinstance(value, str) else ""
    if not name:
        faults.add(f"line {line}: no path")
        return None
    if "\0" in name:
        faults.add(f"line {line}: the path {show(name)} holds a null character")
        return None
    return name


def _make_readers(
    columns: Sequence[str],
    class_names: Sequence[Sequence[str] | None] | None,
    num_classes: Sequence[int | None] | None,
) -> list[Labels]:
    names = list(class_names or [None] * len(columns))
    counts = list(num_classes or [None] * len(columns))
    if not len(columns) == len(names) == len(counts):
        raise ValueError(
            f"each label column has names and a number of classes; got {len(columns)} columns, {len(names)} lists of "
            f"names and {len(counts)} numbers; give one of each for a column"
        )
    for column, known, count in zip(columns, names, counts):
        if known is not None and count is not None and len(known) != count:
            raise ValueError(
                f"each class of {column!r} has one name; got {len(known)} names of {count} classes; fix them"
            )
    return [Labels(known, count) for known, count in zip(names, counts)]


def list_labels(manifest: str | os.PathLike[str], *, column: str = "label") -> dict[str | int, int]:
    """Lists the labels of a manifest; what is wrong with it is left to `read_manifest`.

    Args:
      manifest: the file.
      column: of the labels.

    Returns:
      Label as written, text or int, without space around it -> the first line that has it. Empty texts are left out.

    Raises:
      OSError: the file can't be read.
    """
    found: dict[str | int, int] = {}
    for line, row in _read_rows(Path(manifest), (column,), Faults()):
        label = row[column]
        label = label.strip() if isinstance(label, str) else label
        if read_label(label):
            found.setdefault(label, line)
    return found


def _explain(line: int, column: str, labels: Labels, label: Any) -> str:
    return f"line {line}: {column} {labels.explain(label)}"


def _read_rows(path: Path, columns: Sequence[str], faults: Faults) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yields (line, row) of either format; what is no row goes to the faults."""
    check_regular(path)
    try:
        text = read_exact(path)
    except UnicodeDecodeError as error:
        faults.add(f"it is not UTF-8 text ({error.reason} at byte {error.start})")
        return
    if text.lstrip().startswith("{"):
        yield from _read_json_rows(text, columns, faults)
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if missing := [name for name in columns if name not in header]:
            faults.add(_describe_all_missing(1, missing, header))
            return
        if repeated := [name for name in columns if header.count(name) > 1]:
            faults.add(f"line 1: the column {', '.join(map(show, repeated))} is there more than once")
            return
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                faults.add(f"line {reader.line_num}: {len(fields)} fields under {len(header)} columns")
                continue
            yield reader.line_num, dict(zip(header, fields))
    except csv.Error as error:
        faults.add(f"line {reader.line_num}: no CSV ({error})")


def _read_json_rows(text: str, columns: Sequence[str], faults: Faults) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, part in enumerate(split_lines(text), start=1):
        if not part.strip():
            continue
        try:
            row: Any = parse_json(part)
        except JsonError as error:
            faults.add(f"line {line}: no JSON ({error})")
            continue
        if not isinstance(row, dict):
            faults.add(f"line {line}: no object with {', '.join(columns)}")
        elif missing := [name for name in columns if name not in row]:
            faults.add(functools.partial(_describe_all_missing, line, missing, list(row)))
        else:
            yield line, row


def _describe_all_missing(line: int, missing: Sequence[str], header: Sequence[str]) -> str:
    return f"line {line}: {'; '.join(_describe_missing(name, header) for name in missing)}"


def _describe_missing(name: str, header: Sequence[str]) -> str:
    columns = [column[:_LONGEST_NAME] for column in header[:_MOST_COLUMNS]]
    near = find_nearest_name(name, columns)
    hint = f" among {', '.join(columns) or 'none'}" if near is None else f" (there is {near!r})"
    return f"no column {name!r}{hint}"
