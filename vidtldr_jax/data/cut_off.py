"""Whether a file ends before the end that its own header gives it.

Durations and frame counts of headers say nothing about that: sound may go on after the picture, a recording may begin
at any time, dropped frames are counted. The sizes of a container's parts do.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

from vidtldr_jax.data.mp4_boxes import find_mp4_end

_TOLERATED: Final = 8  # bytes: some programs leave padding out
_SEGMENT: Final = 0x18538067
_MOST_PARTS: Final = 100_000


def describe_cut(path: Path, format_name: str) -> str | None:
    """Return a notice where a file was cut off.

    Args:
      path: of the file.
      format_name: FFmpeg's name of its format. Matroska, AVI, MP4 and QuickTime are looked at; most others don't say
        how long they are.

    Returns:
      The notice; None where the file is whole or nothing tells.

    Raises:
      OSError: the file can't be read.
    """
    find_end = _FINDERS.get(format_name.split(",")[0])
    if find_end is None:
        return None
    size = path.stat().st_size
    with path.open("rb") as file:
        end = find_end(file, size)
    if end <= size + _TOLERATED:
        return None
    return f"the header announces {end:,} bytes, {size:,} are there: it may be cut off"


def _find_matroska_end(file: BinaryIO, size: int) -> int:
    """Returns where the last element at the top ends; 0 if that is left open, as in live recordings."""
    offset = 0
    for _ in range(_MOST_PARTS):
        if offset >= size:
            break
        file.seek(offset)
        header = file.read(12)
        kind_length, length_length = _count_vint(header[:1]), 0
        if kind_length:
            length_length = _count_vint(header[kind_length : kind_length + 1])
        kind = int.from_bytes(header[:kind_length], "big")
        coded = header[kind_length : kind_length + length_length]
        if not kind_length or not length_length or len(coded) < length_length:
            break
        unknown = (1 << 7 * length_length) - 1
        length = int.from_bytes(coded, "big") & unknown
        if length == unknown:
            return 0
        end = offset + kind_length + length_length + length
        if kind == _SEGMENT or end > size:
            return end
        offset = end
    return 0


def _count_vint(first: bytes) -> int:
    """Returns how many bytes a number of variable length has; 0 if that can't be."""
    return 9 - first[0].bit_length() if first and first[0] else 0


def _find_riff_end(file: BinaryIO, size: int) -> int:
    """Returns where the last of an AVI's large parts ends; 0 if none has a length, as in recordings broken off."""
    offset, end = 0, 0
    for _ in range(_MOST_PARTS):
        if offset >= size:
            break
        file.seek(offset)
        header = file.read(8)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or not 0 < length < 0xFFFFFFFF:
            break
        end = offset + 8 + length
        offset = end + length % 2
    return end


_FINDERS: Final = {"matroska": _find_matroska_end, "avi": _find_riff_end, "mov": find_mp4_end}
