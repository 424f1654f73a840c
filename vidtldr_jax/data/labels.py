"""What a label in a list of videos means: the name of a class, or else its number. The one place that reads labels.

    labels = Labels(["crane", "dog", "crane"], None)
    labels.find("dog")    # 1
    labels.find("2")      # 2, since no class is named so
    labels.find("crane")  # None; labels.explain("crane") says that classes 0 and 2 have this name

Names count before numbers, in CSV and in JSON: a class named "7" is meant by 7, and class 7 then by "07". A name of
several classes means none of them; their numbers do.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Final

from vidtldr_jax.trust.faults import Faults, show
from vidtldr_jax.trust.nearest import find_nearest_name

_LONGEST_NUMBER: Final = 18  # digits
_MOST_LISTED: Final = 5  # classes of one name
_LONGEST_COMPARED: Final = 200  # characters of a label that a nearest name is looked for


class Labels:
    """The classes of a label column, as labels name them.

    Attributes:
      names: of the classes in order, or None where they have numbers only.
      count: how many there are; None where that is not known.
    """

    def __init__(self, names: Sequence[str] | None, count: int | None) -> None:
        """Takes the classes.

        Args:
          names: of the classes in order, or None.
          count: how many there are, where there are no names; None where that is not known.
        """
        self.names = None if names is None else tuple(names)
        self.count = count if names is None else len(names)
        self._numbers = _find_numbers(names or ())

    def find(self, label: Any) -> int | None:
        """Return the number of the class that a label means.

        Args:
          label: text or an int; space around a text does not matter.

        Returns:
          The number; None where the label means no class, or several.
        """
        text = read_label(label)
        if not text:
            return None
        named = self._numbers.get(text, ())
        if len(named) == 1:
            return named[0]
        if named and isinstance(label, str):
            return None
        number = read_number(text)
        return number if number is not None and (self.count is None or number < self.count) else None

    def write(self, number: int) -> str:
        """Return what `find` reads as a class: its name, or its number where the name is another one's too.

        A number that is itself a name gets zeros in front: "02" is class 2 where another class is named "2".
        """
        name = () if self.names is None else (self.names[number],)
        texts = (*name, *(f"{number:0{width}d}" for width in range(1, _LONGEST_NUMBER + 1)))
        return next((text for text in texts if self.find(text) == number), str(number))

    def explain(self, label: Any) -> str:
        """Return what is wrong with a label that `find` finds no class for, as words that follow "label"."""
        text = read_label(label)
        if text is None or (text and not _is_unicode(text)):
            return f"is {show(label)}, neither a name nor a number"
        if named := self._numbers.get(text):
            listed = _list(self, named)
            return f"is {show(text)}, the name of classes {listed}; give the number of the one that is meant"
        if read_number(text) is not None:
            return f"is {text}, and classes are 0 to {'...' if self.count is None else self.count - 1}"
        if self.names is None:
            return f"is {show(text)}, and classes are numbers here"
        return f"is {show(text)}, no class{self._hint(text)}"

    def _hint(self, text: str) -> str:
        if not 0 < len(text) <= _LONGEST_COMPARED:
            return ""
        same = next((name for name in self._numbers if _fold(name) == _fold(text)), None)
        if same is not None:
            return f" (nearest: {show(same)}, which differs in capitals, spaces or the form of its Unicode)"
        near = find_nearest_name(text, self._numbers)
        return "" if near is None else f" (nearest: {show(near)})"


def read_label(label: Any) -> str | None:
    """Return a label as text without space around it; None for what is neither text nor an int."""
    if isinstance(label, str):
        return label.strip()
    return str(label) if isinstance(label, int) and not isinstance(label, bool) else None


def read_number(text: str) -> int | None:
    """Return the number of a class that a text writes in digits, else None."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER else None


def describe_similar(names: Sequence[str]) -> tuple[str, ...]:
    """Say which names of classes can be mistaken for each other.

    Args:
      names: of the classes in order.

    Returns:
      A line on names that several classes have, and a line on names that look alike; none where there are none.
    """
    labels = Labels(names, None)
    numbers = labels._numbers
    folded: dict[str, list[str]] = {}
    for name in numbers:
        folded.setdefault(_fold(name), []).append(name)
    repeated = [f"{show(name)} ({_list(labels, found)})" for name, found in numbers.items() if len(found) > 1]
    alike = [
        " and ".join(f"{show(name)} ({numbers[name][0]})" for name in group[:_MOST_LISTED])
        for group in folded.values()
        if len(group) > 1
    ]
    notes = (
        ("names of several classes, which a list of videos gives by number", repeated),
        ("names of classes that differ in capitals, spaces or the form of their Unicode alone", alike),
    )
    return tuple(f"{what}: {_join(found)}" for what, found in notes if found)


def _find_numbers(names: Iterable[str]) -> dict[str, list[int]]:
    """Return which classes have a name: name without space around it -> numbers, ascending."""
    found: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        found.setdefault(name.strip(), []).append(number)
    return found


def _list(labels: Labels, numbers: Sequence[int]) -> str:
    return ", ".join(map(labels.write, numbers[:_MOST_LISTED])) + (" ..." if len(numbers) > _MOST_LISTED else "")


def _join(texts: Iterable[str]) -> str:
    faults = Faults()
    for text in texts:
        faults.add(text)
    return str(faults)


def _fold(name: str) -> str:
    shown = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")  # not what nobody sees
    return " ".join(unicodedata.normalize("NFKC", shown).casefold().split())


def _is_unicode(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
