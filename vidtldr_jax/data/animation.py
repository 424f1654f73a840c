"""Whether a picture file is a film: told by its first bytes, without decoding anything."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import IO, Final

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_MOST_CHUNKS: Final = 1000  # of a PNG before its picture; usual ones have fewer than ten
_NEW_SUBFILE_TYPE: Final = 254  # tag of TIFF
_REDUCED_OR_MASK: Final = 0b101
_MOST_TAGS: Final = 4096


def is_animated(path: Path) -> bool:
    """Return whether a WebP, PNG, AVIF or TIFF has several frames or pages.

    Args:
      path: of any file.

    Returns:
      False for a still, for other formats, for what is no regular file and what can't be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with path.open("rb") as file:
            begin = file.read(64)
            if begin.startswith(_PNG):
                return _is_animated_png(file)
            if begin[:4] in (b"II*\0", b"MM\0*"):
                return _has_pages(file, "<" if begin[:2] == b"II" else ">")
    except OSError:
        return False
    if begin[:4] == b"RIFF" and begin[8:16] == b"WEBPVP8X":
        return len(begin) > 20 and bool(begin[20] & 0b10)
    length = min(int.from_bytes(begin[:4], "big"), len(begin))
    brands = {begin[8:12], *(begin[place : place + 4] for place in range(16, length, 4))}
    return begin[4:8] == b"ftyp" and b"avis" in brands


def _is_animated_png(file: IO[bytes]) -> bool:
    """Look for the chunk that announces an animation; it stands before the picture's data."""
    file.seek(len(_PNG))
    for _ in range(_MOST_CHUNKS):
        header = file.read(8)
        if len(header) < 8 or header[4:] == b"IDAT":
            return False
        if header[4:] == b"acTL":
            return int.from_bytes(file.read(4), "big") > 1
        file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)
    return False


def _has_pages(file: IO[bytes], order: str) -> bool:
    """Return whether a page follows the first one that is no smaller copy of it and no mask."""
    file.seek(4)
    place = _read_number(file, f"{order}I")
    for number in range(_MOST_CHUNKS):
        if not place:
            return False
        file.seek(place)
        count = _read_number(file, f"{order}H")
        if not count or count > _MOST_TAGS:
            return False
        kind = 0
        for _ in range(count):
            tag = file.read(12)
            if len(tag) < 12:
                return False
            if struct.unpack(f"{order}H", tag[:2])[0] == _NEW_SUBFILE_TYPE:
                kind = struct.unpack(f"{order}I", tag[8:])[0]
        if number and not kind & _REDUCED_OR_MASK:
            return True
        place = _read_number(file, f"{order}I")
    return False


def _read_number(file: IO[bytes], form: str) -> int:
    """Read an unsigned number; 0 at the end of the file."""
    size = struct.calcsize(form)
    found = file.read(size)
    return struct.unpack(form, found)[0] if len(found) == size else 0
