"""Lists of labelled videos: CSV with a header, or JSON Lines.

    path,label                      {"path": "dive.mp4", "label": "diving"}
    clips/dive.mp4,diving           {"path": "ski.mp4", "label": 3}
    clips/ski.mp4,3

Paths are relative to the manifest's folder unless a root is given. A label is the name of a class or its number. Data
sets with several labels per video have a column for each, `noun` and `verb` for instance. Other columns don't matter.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from vidtldr_jax.trust.lines import read_exact, split_lines

_PATH: Final = "path"
_MOST_SHOWN: Final = 10


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
      ValueError: the file is empty, is neither format, lacks a column, names a video twice, or has labels that are no
        class; all faults together with their lines.
      OSError: the file can't be read.
    """
    path = Path(manifest)
    base = path.parent if root is None else Path(root)
    names = list(class_names or [None] * len(columns))
    counts = [len(known) if known is not None else n for known, n in zip(names, num_classes or [None] * len(columns))]
    entries: list[ManifestEntry] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    for line, row in _read_rows(path, (_PATH, *columns), faults):
        name = row.get(_PATH)
        if not isinstance(name, str) or not name.strip():
            faults.append(f"line {line}: no path")
            continue
        name = name.strip()
        if name in seen:
            faults.append(f"line {line}: {name} was on line {seen[name]} already")
        seen.setdefault(name, line)
        labels = []
        for column, known, count in zip(columns, names, counts):
            try:
                labels.append(_read_label(row.get(column), known, count))
            except ValueError as error:
                faults.append(f"line {line}: {column} {error}")
        entries.append(ManifestEntry(name, base / name, tuple(labels)))
    if not entries and not faults:
        faults.append("it lists no video")
    if faults:
        more = len(faults) - _MOST_SHOWN
        shown = "; ".join(faults[:_MOST_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        wanted = ", ".join((_PATH, *columns))
        raise ValueError(
            f"read_manifest: a manifest has {wanted} for every video; in {path}: {shown}; mend these lines."
        )
    return entries


def _read_rows(path: Path, columns: Sequence[str], faults: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yields (line, row) of either format; what is no row goes to the faults."""
    try:
        text = read_exact(path)
    except UnicodeDecodeError as error:
        faults.append(f"it is not UTF-8 text ({error.reason} at byte {error.start})")
        return
    if text.lstrip().startswith("{"):
        yield from _read_json_rows(text, columns, faults)
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if missing := [name for name in columns if name not in header]:
            faults.append(f"line 1: {'; '.join(_describe_missing(name, header) for name in missing)}")
            return
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                faults.append(f"line {reader.line_num}: {len(fields)} fields under {len(header)} columns")
                continue
            yield reader.line_num, dict(zip(header, fields))
    except csv.Error as error:
        faults.append(f"line {reader.line_num}: no CSV ({error})")


def _read_json_rows(text: str, columns: Sequence[str], faults: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, part in enumerate(split_lines(text), start=1):
        if not part.strip():
            continue
        try:
            row = json.loads(part)
        except (ValueError, RecursionError):
            faults.append(f"line {line}: no JSON")
            continue
        if not isinstance(row, dict):
            faults.append(f"line {line}: no object with {', '.join(columns)}")
        elif missing := [name for name in columns if name not in row]:
            faults.append(f"line {line}: {'; '.join(_describe_missing(name, list(row)) for name in missing)}")
        else:
            yield line, row


def _describe_missing(name: str, header: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, header, n=1)
    return f"no column {name!r}" + (f" (there is {near[0]!r})" if near else f" among {', '.join(header) or 'none'}")


def _read_label(value: Any, class_names: Sequence[str] | None, num_classes: int | None) -> int:
    """Returns the number of a class, or raises with the words that follow the column's name."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and class_names is not None and text in class_names:
        return class_names.index(text)
    is_number = isinstance(text, int) and not isinstance(text, bool)
    if not is_number and not (isinstance(text, str) and text.isdecimal()):
        if class_names is None or not isinstance(text, str):
            raise ValueError(f"is {value!r}, and classes are numbers here")
        near = difflib.get_close_matches(text, class_names, n=1)
        raise ValueError(f"is {text!r}, no class" + (f" (nearest: {near[0]!r})" if near else ""))
    number = int(text)
    if number < 0 or (num_classes is not None and number >= num_classes):
        raise ValueError(f"is {number}, and classes are 0 to {'...' if num_classes is None else num_classes - 1}")
    return number
