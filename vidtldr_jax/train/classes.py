"""Which classes a run is about: those of the model, or new ones out of the list of videos where that was asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vidtldr_jax.data.labels import Labels, describe_similar, read_label, read_number
from vidtldr_jax.data.manifest import list_labels
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.trust.faults import Faults, show
from vidtldr_jax.trust.limits import check_limit


class Classes(NamedTuple):
    """The classes of a run.

    Attributes:
      num_classes: how many there are.
      names: theirs, or None where they are numbers.
      is_new: whether the model has other ones, so that its classifier does not fit.
      notes: what a user should know: that a classifier is new, or how labels were read.
    """

    num_classes: int
    names: tuple[str, ...] | None
    is_new: bool
    notes: tuple[str, ...]


def find_classes(
    manifest: str | os.PathLike[str],
    *,
    model_names: Sequence[str] | None,
    model_count: int | None,
    column: str = "label",
    new_head: bool = False,
) -> Classes:
    """Finds the classes of a list of videos; labels mean what they mean in evaluations.

    Args:
      manifest: CSV or JSON Lines, see `data.manifest`, which says later what is wrong with it.
      model_names: names of the model's classes, or None.
      model_count: how many the model has; None for no classifier.
      column: of the labels.
      new_head: take the list's own classes although the model has some.

    Returns:
      The model's classes; else, where it has none or a new classifier is asked for, the list's own: its names in
      alphabetical order, or numbers up to the highest.

    Raises:
      TrainError: a label means none of the model's classes, or the list's own are fewer than two.
      LimitError: the highest number is above the limit "classes".
      OSError: the list can't be read.
    """
    listed = list_labels(manifest, column=column)
    known = None if model_names is None else tuple(model_names)
    if not listed:  # read_manifest will say what is wrong
        return Classes(model_count or 0, known, False, ())
    if model_count is not None and not new_head:
        return _keep_classes(listed, known, model_count, manifest)
    return _make_classes(listed, model_count, manifest)


def _keep_classes(
    listed: Mapping[str | int, int], known: tuple[str, ...] | None, count: int, manifest: str | os.PathLike[str]
) -> Classes:
    labels = Labels(known, count)
    faults = Faults()
    for label, line in listed.items():
        if labels.find(label) is None:
            faults.add(lambda label=label, line=line: f"line {line}: label {labels.explain(label)}")  # type: ignore[misc]
    if faults:
        raise TrainError(
            f"labels are classes of the model ({count}) unless a new classifier is asked for; in {manifest}: {faults}; "
            "fix these labels, or give --new-head (Recipe(new_head=True)) to train a classifier of the list's own "
            f"{len(listed)}"
        )
    return Classes(count, known, False, describe_similar(known or ()))


def _make_classes(
    listed: Mapping[str | int, int], model_count: int | None, manifest: str | os.PathLike[str]
) -> Classes:
    texts = sorted({text for label in listed if (text := read_label(label)) is not None})
    numbers = [number for text in texts if (number := read_number(text)) is not None]
    are_numbers = len(numbers) == len(texts)
    count = max(numbers) + 1 if are_numbers else len(texts)
    if count < 2:
        raise TrainError(
            f"there are two classes or more; all videos of {manifest} are {show(texts[0])}; label videos of another "
            "class too"
        )
    check_limit("classes", count, f"a classifier for {str(manifest)!r}")
    why = "the model has no classifier: a new one" if model_count is None else "a new classifier"
    notes = [f"{why} of {count} classes is trained"]
    if numbers and not are_numbers:
        notes.append(f"labels are names here, those in digits too ({show(list(map(str, numbers)))})")
    names = None if are_numbers else tuple(texts)
    return Classes(count, names, True, (*notes, *describe_similar(names or ())))
