"""What a command reads is never what it writes over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import click


def keep_inputs(outputs: Mapping[str, Iterable[Path]], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse to write over what is read, whatever names and links lead to it.

    Args:
      outputs: option -> the files that are written for it.
      inputs: files that are read, and folders whose files are; what is no path of this machine does not count.

    Raises:
      click.UsageError: a file would be written over.
    """
    read = [Path(path) for path in inputs]
    for option, files in outputs.items():
        for file in files:
            kept = next((path for path in read if _is_of(file, path)), None)
            if kept is not None:
                raise click.UsageError(
                    f"what is read is not written over; {option} would replace {str(file)!r}, which is "
                    f"{'read' if kept.is_file() else f'a file of {str(kept)!r}'}; give another name."
                )


def _is_of(file: Path, path: Path) -> bool:
    """Tell whether a file that is there is the same as another one, or lies in a folder."""
    if not file.exists() or not path.exists():
        return False
    if path.is_dir():
        return file.is_file() and path.resolve() in file.resolve().parents
    return file.samefile(path)
