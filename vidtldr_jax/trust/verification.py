"""What a check of something on disk found."""

from __future__ import annotations

from typing import NamedTuple


class Verification(NamedTuple):
    """Outcome of checking a checkpoint, an index, a run or an export against its own digests and schemas.

    Attributes:
      kind: of thing: "checkpoint", "index", "run", "export".
      num_checked: files whose content equals their digest.
      notes: one line each on what could not be checked, such as a file without a digest.
      faults: one line each on what is wrong; each names its file and what to do.
    """

    kind: str
    num_checked: int
    notes: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether no fault was found."""
        return not self.faults
