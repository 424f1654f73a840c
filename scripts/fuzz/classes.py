"""Every class of input: a sound example, what of it is damaged, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple


class FuzzClass(NamedTuple):
    """One class of input.

    Attributes:
      name: of the class.
      answer: what is documented of damaged inputs, for the table.
      make: writes a sound example into a folder.
      structures: pattern of file names -> (structure, see `mutations.MUTATIONS`; how often it is chosen).
      read: reads a folder as the package does.
      is_right: whether a value that was read may be, given that of the sound example.
      documented: what reading may raise, in one line.
      is_naming: whether that line must name a file of the folder.
      reseal: puts digests right again after the damage, as an attacker would; None leaves them.
    """

    name: str
    answer: str
    make: Callable[[Path], None]
    structures: Mapping[str, tuple[str, int]]
    read: Callable[[Path], Any]
    is_right: Callable[[Any, Any], bool]
    documented: tuple[type[BaseException], ...]
    is_naming: bool = True
    reseal: Callable[[Path], None] | None = None

    def find_files(self, folder: Path) -> dict[str, tuple[str, int]]:
        """Return the files that are damaged: relative path -> (structure, weight)."""
        return {
            str(path.relative_to(folder)): how
            for pattern, how in self.structures.items()
            for path in folder.glob(pattern)
            if path.is_file()
        }


def _collect() -> dict[str, FuzzClass]:
    from scripts.fuzz.checked_folders import CHECKED_CLASSES
    from scripts.fuzz.foreign_weights import FOREIGN_CLASSES
    from scripts.fuzz.own_files import OWN_CLASSES
    from scripts.fuzz.pictures import PICTURE_CLASSES
    from scripts.fuzz.texts import TEXT_CLASSES

    return {
        one.name: one for one in (*PICTURE_CLASSES, *OWN_CLASSES, *TEXT_CLASSES, *FOREIGN_CLASSES, *CHECKED_CLASSES)
    }


CLASSES: Final[dict[str, FuzzClass]] = {}


def load_classes() -> dict[str, FuzzClass]:
    """Return all classes by name."""
    if not CLASSES:
        CLASSES.update(_collect())
    return CLASSES
