"""Recovery of a folder that a killed process was about to replace, which whoever asks for the folder is told."""

from __future__ import annotations

import os
from pathlib import Path

from vidtldr_jax.trust.notes import tell_note
from vidtldr_jax.trust.whole_files import recover_folder


def recover_and_tell(path: str | os.PathLike[str]) -> None:
    """Put back a folder that was set aside and not replaced, and tell it in a note; where something is, do nothing.

    Args:
      path: where the folder belongs.
    """
    place = Path(path)
    if recover_folder(place):
        tell_note(f"{place} was put back as it was: a process that replaced it was stopped before it was through")
