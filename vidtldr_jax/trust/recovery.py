"""Recovery of what a killed process was about to replace, which whoever asks for it is told."""

from __future__ import annotations

import os
from pathlib import Path

from vidtldr_jax.trust.notes import tell_note
from vidtldr_jax.trust.whole_files import complete_files, recover_folder


def recover_and_tell(path: str | os.PathLike[str]) -> None:
    """Put back a folder that was set aside and not replaced, and tell it in a note; where something is, do nothing.

    Args:
      path: where the folder belongs.
    """
    place = Path(path)
    if recover_folder(place):
        tell_note(f"{place} was put back as it was: a process that replaced it was stopped before it was through")


def complete_and_tell(path: str | os.PathLike[str]) -> None:
    """Give files that belong together their names if their writer was stopped just before, and tell it in a note.

    Args:
      path: the first of the files.
    """
    place = Path(path)
    if complete_files(place):
        tell_note(f"{place} was completed: the process that wrote it was stopped while its files took their names")
