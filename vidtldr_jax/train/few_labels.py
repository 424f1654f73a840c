"""A few labelled videos of each class, chosen by chance that a seed fixes."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Final

import numpy as np

from vidtldr_jax.data.manifest import ManifestEntry

_STREAM: Final = 11  # keeps these random numbers apart from a run's others
_MOST_NAMED: Final = 10


def select_few(
    entries: Sequence[ManifestEntry],
    *,
    k: int,
    seed: int,
    classes: Sequence[int],
    class_names: Sequence[str] | None = None,
) -> list[ManifestEntry]:
    """Takes k videos of each class.

    Args:
      entries: labelled videos; the first label counts.
      k: videos per class, at least 1.
      seed: the same seed and list, the same videos. A class's videos don't depend on the other classes' ones, and those
        for a smaller k are among those for a larger one.
      classes: numbers of the classes that must have k videos.
      class_names: names of all classes, for the message.

    Returns:
      The videos, in the order of the list.

    Raises:
      ValueError: k is below 1, or a class has fewer videos; all such classes are named.
    """
    if k < 1:
        raise ValueError(f"k is at least 1; got {k}; give another.")
    by_class: dict[int, list[int]] = collections.defaultdict(list)
    for place, entry in enumerate(entries):
        by_class[entry.labels[0]].append(place)
    short = [label for label in classes if len(by_class[label]) < k]
    if short:
        named = ", ".join(
            f"{class_names[label] if class_names else f'class {label}'} ({len(by_class[label])})"
            for label in short[:_MOST_NAMED]
        )
        more = f" and {len(short) - _MOST_NAMED} more" if len(short) > _MOST_NAMED else ""
        raise ValueError(
            f"{k} videos of each class are wanted; these classes have fewer: {named}{more}; take a smaller "
            "k, or label more."
        )
    chosen: list[int] = []
    for label in classes:
        order = np.random.default_rng((seed, _STREAM, label)).permutation(len(by_class[label]))
        chosen += [by_class[label][place] for place in order[:k]]
    return [entries[place] for place in sorted(chosen)]
