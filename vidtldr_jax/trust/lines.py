"""Lines of text files: a line feed ends one, and nothing else that Unicode or Python take for a line's end."""

from __future__ import annotations

import os
from pathlib import Path


def read_exact(path: str | os.PathLike[str]) -> str:
    r"""Return the text of a UTF-8 file, with every character as it is: Python's own reader makes "\n" of "\r".

    Args:
      path: of the file; a byte order mark is left out.

    Raises:
      UnicodeDecodeError: it is not UTF-8.
      OSError: it can't be read.
    """
    return Path(path).read_bytes().decode("utf-8-sig")


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text.

    `str.splitlines` also ends lines at U+2028, U+0085, form feeds and others, which may stand in JSON, words and names.

    Args:
      text: lines end with "\n" or "\r\n"; the last one need not.

    Returns:
      The lines without their ends; none of an empty text.
    """
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]
