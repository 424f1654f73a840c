"""Which classes a run is about: those of the model, or new ones out of the list of videos."""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.trust.lines import split_lines


class Classes(NamedTuple):
    """The classes of a run.

    Attributes:
      num_classes: how many there are.
      names: theirs, or None where they are numbers.
      is_new: whether the model has other ones, so that its classifier does not fit.
      note: what a user should know: why they are new, or how labels were read.
    """

    num_classes: int
    names: tuple[str, ...] | None
    is_new: bool
    note: str


def find_classes(
    manifest: str | os.PathLike[str],
    *,
    model_names: Sequence[str] | None,
    model_count: int | None,
    column: str = "label",
    forget_model: bool = False,
) -> Classes:
    """Finds the classes of a list of videos.

    Args:
      manifest: CSV or JSON Lines, see `data.manifest`, which says later what is wrong with it.
      model_names: names of the model's classes, or None.
      model_count: how many the model has; None for no classifier.
      column: of the labels.
      forget_model: take the list's own classes in any case.

    Returns:
      The model's classes where all labels are among them, names or numbers; else the list's own: its names in
      alphabetical order, or numbers up to the highest.

    Raises:
      TrainError: the list has a single class and is not about the model's.
      OSError: it can't be read.
    """
    labels = _list_labels(Path(manifest), column)
    known = () if model_names is None else tuple(model_names)
    if not labels:  # read_manifest will say what is wrong
        return Classes(model_count or 0, known or None, False, "")
    numbers = [int(label) for label in labels if label.isdecimal()]
    are_numbers = len(numbers) == len(labels)
    strange = sorted(label for label in labels if label not in known)
    if model_count is not None and not forget_model:
        if not strange:
            return Classes(model_count, known or None, False, "")
        if are_numbers and max(numbers) < model_count:
            note = f"labels are numbers: those of the model's {model_count} classes, unless new_head is set"
            return Classes(model_count, known or None, False, note if known else "")
    count = max(numbers) + 1 if are_numbers else len(labels)
    if count < 2:
        raise TrainError(
            f"finetune: there are two classes or more; all videos of {manifest} are {next(iter(labels))!r}; label "
            "videos of another class too."
        )
    names = None if are_numbers else tuple(sorted(labels))
    note = (
        f"a new classifier of {count} classes is trained"
        if forget_model
        else _explain(strange, known, model_count, count)
    )
    return Classes(count, names, True, note)


def _explain(strange: Sequence[str], known: Sequence[str], model_count: int | None, count: int) -> str:
    if model_count is None:
        return f"the model has no classifier: a new one of {count} classes is trained"
    if not known:
        return f"the model's {model_count} classes are numbers: a new classifier of {count} classes is trained"
    near = difflib.get_close_matches(strange[0], known, n=1)
    hint = f" (nearest: {near[0]!r})" if near else ""
    return (
        f"{strange[0]!r}{hint} is none of the model's {model_count} classes: a new classifier of the list's own "
        f"{count} classes is trained"
    )


def _list_labels(path: Path, column: str) -> set[str]:
    """Returns every label as text; whatever is wrong with the list is left to `read_manifest`."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    found: set[str] = set()
    if text.lstrip().startswith("{"):
        for line in split_lines(text):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                found.add(str(row.get(column, "")).strip())
    else:
        for fields in csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True):
            found.add(str({str(name).strip(): value for name, value in fields.items()}.get(column) or "").strip())
    return found - {""}
