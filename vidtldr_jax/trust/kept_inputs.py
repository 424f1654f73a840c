"""What is read is never written over; nor is a device or a FIFO."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from vidtldr_jax.trust.regular import check_regular


class KeptInputError(ValueError):
    """An output would replace an input, or another output."""


def keep_inputs(outputs: Mapping[str, Iterable[Path]], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse to write over what is read, whatever names and links lead to it, and over what can hold no file.

    Args:
      outputs: option or argument -> the files that are written for it.
      inputs: files that are read, and folders whose files are; what is no path of this machine does not count.

    Raises:
      KeptInputError: a file would be written over, or two options name one file.
      NotRegularError: an output is a device, a FIFO or a socket.
    """
    read = [Path(path) for path in inputs]
    option_of: dict[str, str] = {}
    for option, files in outputs.items():
        for file in files:
            other = option_of.setdefault(os.path.realpath(file), option)
            if other != option:
                raise KeptInputError(f"each output is a file of its own; {other} and {option} name {str(file)!r}.")
            if file.exists() and not file.is_dir():
                check_regular(file)  # before hours of work, not after them
            kept = next((path for path in read if _is_of(file, path)), None)
            if kept is not None:
                raise KeptInputError(
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
