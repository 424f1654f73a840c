"""SHA-256 of files, bytes and plain data."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

VARIABLE: Final = "VIDTLDR_CHECK_DIGESTS"


def is_checking() -> bool:
    """Return whether files are compared with their digests when they are read: unless `VIDTLDR_CHECK_DIGESTS=0`.

    Raises:
      ValueError: the variable is neither 0 nor 1.
    """
    text = os.environ.get(VARIABLE, "").strip() or "1"
    if text not in ("0", "1"):
        raise ValueError(f"{VARIABLE} is 0 to leave the comparison out or 1; got {text!r}; fix it or unset it")
    return text == "1"


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


def hash_json(value: Any) -> str:
    """Return the SHA-256 of plain data: the same for every JSON text that says the same.

    Args:
      value: what JSON can hold.

    Returns:
      64 hexadecimal digits, of the text without spaces, names sorted, everything but ASCII escaped.

    Raises:
      ValueError: a number is not finite.
      TypeError: the data is not plain.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hash_bytes(text.encode("ascii"))
