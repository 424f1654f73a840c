"""Whether a picture file is a film: told by its structure, without decoding anything."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from vidtldr_jax.data.pictures import find_picture_format, read_brands
from vidtldr_jax.trust.regular import check_regular

NEW_SUBFILE_TYPE, SUBFILE_TYPE = 254, 255  # tags of TIFF
_MOST_PARTS: Final = 100_000  # chunks or blocks before the second frame; usual pictures have fewer than ten
_MOST_PIECES: Final = 1_000_000  # of up to 255 bytes, in a block of a GIF
_MOST_TAGS: Final = 4096
_REDUCED_OR_MASK: Final = 0b101
_OLD_REDUCED: Final = 2
_SHORT: Final = 3  # type of a tag's value


def is_animated(path: Path) -> bool:
    """Return whether a PNG, WebP, AVIF, TIFF or GIF has several frames or pages.

    Args:
      path: of any file.

    Returns:
      False for a still, for other formats, for what is no regular file and what can't be read.
    """
    try:
        check_regular(path)
        tell = _TELLERS.get(find_picture_format(path) or "")
        if tell is None:
            return False
        with path.open("rb") as file:
            return tell(file)
    except OSError:
        return False


def is_copy_or_mask(new_subfile_type: int, subfile_type: int) -> bool:
    """Return whether a page of a TIFF is a smaller copy of another one or a mask, by its tags 254 and 255."""
    return bool(new_subfile_type & _REDUCED_OR_MASK) or subfile_type == _OLD_REDUCED


def _is_animated_png(file: IO[bytes]) -> bool:
    """Look for the chunk that announces an animation; it stands before the picture's data."""
    file.seek(8)
    for _ in range(_MOST_PARTS):
        header = file.read(8)
        if len(header) < 8 or header[4:] == b"IDAT":
            return False
        if header[4:] == b"acTL":
            return int.from_bytes(file.read(4), "big") > 1
        file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)
    return False


def _is_animated_webp(file: IO[bytes]) -> bool:
    """Look for a second frame: some programs write stills as animations of one."""
    file.seek(12)
    num_frames = 0
    for _ in range(_MOST_PARTS):
        header = file.read(8)
        num_frames += header[:4] == b"ANMF"
        if len(header) < 8 or num_frames > 1:
            break
        size = int.from_bytes(header[4:], "little")
        file.seek(size + size % 2, os.SEEK_CUR)
    return num_frames > 1


def _is_animated_gif(file: IO[bytes]) -> bool:
    """Look for a second frame among the blocks."""
    begin = file.read(13)
    if len(begin) < 13:
        return False
    _skip_colours(file, begin[10])
    num_frames = 0
    for _ in range(_MOST_PARTS):
        kind = file.read(1)
        if kind == b",":  # a frame
            num_frames += 1
            begin = file.read(9)
            if len(begin) < 9 or num_frames > 1:
                break
            _skip_colours(file, begin[8])
            file.seek(1, os.SEEK_CUR)
        elif kind == b"!":  # an extension
            file.seek(1, os.SEEK_CUR)
        else:
            break
        for _ in range(_MOST_PIECES):
            size = file.read(1)
            if size in (b"", b"\0"):
                break
            file.seek(size[0], os.SEEK_CUR)
    return num_frames > 1


def _skip_colours(file: IO[bytes], flags: int) -> None:
    if flags & 0x80:
        file.seek(3 * 2 ** (flags % 8 + 1), os.SEEK_CUR)


def _is_animated_avif(file: IO[bytes]) -> bool:
    return b"avis" in read_brands(file.read(64))


def _has_pages(file: IO[bytes]) -> bool:
    """Return whether a page follows the first one that is no smaller copy of it and no mask."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    begin = file.read(4)
    order = "<" if begin[:2] == b"II" else ">"
    is_big = b"+" in begin
    place_form, count_form, tag_size = (f"{order}Q", f"{order}Q", 20) if is_big else (f"{order}I", f"{order}H", 12)
    file.seek(8 if is_big else 4)
    place = _read_number(file, place_form)
    for number in range(_MOST_PARTS):
        if not 0 < place < end:
            return False
        file.seek(place)
        count = _read_number(file, count_form)
        if not 0 < count <= _MOST_TAGS:
            return False
        tags = file.read(count * tag_size)
        if len(tags) < count * tag_size:
            return False
        found = dict(_read_tag(tags[at : at + tag_size], order) for at in range(0, len(tags), tag_size))
        if number and not is_copy_or_mask(found.get(NEW_SUBFILE_TYPE, 0), found.get(SUBFILE_TYPE, 0)):
            return True
        place = _read_number(file, place_form)
    return False


def _read_tag(tag: bytes, order: str) -> tuple[int, int]:
    """Return the number of a tag and its value, as far as that is one small number."""
    number, kind = struct.unpack(f"{order}HH", tag[:4])
    form = "H" if kind == _SHORT else "I"
    return number, struct.unpack_from(order + form, tag, 8 if len(tag) == 12 else 12)[0]


def _read_number(file: IO[bytes], form: str) -> int:
    """Read an unsigned number; 0 at the end of the file."""
    size = struct.calcsize(form)
    found = file.read(size)
    return struct.unpack(form, found)[0] if len(found) == size else 0


_TELLERS: Final[dict[str, Callable[[IO[bytes]], bool]]] = {
    "PNG": _is_animated_png,
    "WEBP": _is_animated_webp,
    "GIF": _is_animated_gif,
    "AVIF": _is_animated_avif,
    "TIFF": _has_pages,
}
