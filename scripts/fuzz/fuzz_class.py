"""What a class of input is: a sound example, what of it is damaged, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple


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
