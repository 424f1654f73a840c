"""SHA-256 of files and bytes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, read in pieces.

    Args:
      path: of the file.

    Returns:
      64 hexadecimal digits.

    Raises:
      OSError: the file can't be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_bytes(data: bytes | bytearray | memoryview) -> str:
    """Return the SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
