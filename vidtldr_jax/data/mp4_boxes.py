"""The boxes of an MP4 or QuickTime file, read before FFmpeg opens it.

FFmpeg makes an entry in memory for every frame that an index announces, so that a file of 1 kB can ask for gigabytes;
and an index may point at another file. Both are found here, at the cost of reading a few bytes of each box.
"""

from __future__ import annotations

import io
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.trust.limits import check_limit

# FFmpeg looks into these wherever they stand.
_PARENTS: Final = frozenset(
    b"moov trak mdia minf dinf stbl edts moof traf cmov udta mvex tref wave sinf schi iprp ipro".split()
)
_TOP: Final = frozenset(b"ftyp moov mdat wide free skip pnot styp moof sidx uuid mfra meta pdin emsg ssix prft".split())
_COUNTED: Final = frozenset(b"stsz stz2 elst trun".split())
_COMPRESSED: Final = b"cmvd"  # a whole index, in old QuickTime files
_LONGEST_INDEX: Final = 2**26  # bytes of it that are looked at
_MOST_BOXES: Final = 1_000_000
_DEEPEST: Final = 12
_USUAL_REPEATS: Final = 4  # times that edits may list every frame, up to which the limit is not touched


class Box(NamedTuple):
    """A part of a file.

    Attributes:
      kind: four bytes.
      depth: 0 at the top.
      begin: where its content begins.
      size: bytes of its content, as far as the file reaches.
      end: where it says that it ends.
    """

    kind: bytes
    depth: int
    begin: int
    size: int
    end: int


def check_mp4_index(path: Path) -> None:
    """Refuse an MP4 or QuickTime file that announces too many frames, or whose frames are in another file.

    Args:
      path: of a regular file of any format; others pass.

    Raises:
      LimitError: the index announces more frames than the limit.
      VideoReadError: the frames are in another file.
      OSError: the file can't be read.
    """
    with path.open("rb") as file:
        _check_index(file, path.stat().st_size, path)


def _check_index(file: BinaryIO, size: int, path: Path, *, is_compressed: bool = False) -> None:
    video = f"the video {str(path)!r}"
    num_frames = num_edits = num_in_fragments = 0
    is_picture = False
    for box in walk_boxes(file, size):
        if box.kind == b"trak":
            num_frames, num_edits, is_picture = 0, 0, False
        elif box.kind == b"vmhd":
            is_picture = True
        elif box.kind == b"dref" and is_picture:
            _refuse_other_files(_read(file, box, box.size), path)
        elif box.kind in (b"stsz", b"stz2"):
            num_frames = int.from_bytes(_read(file, box, 12)[8:12], "big")
        elif box.kind == b"elst":
            num_edits = (box.size - 8) // (20 if _read(file, box, 1) == b"\1" else 12)
        elif box.kind == b"trun":
            num_in_fragments += int.from_bytes(_read(file, box, 8)[4:8], "big")
        elif box.kind == _COMPRESSED:
            _check_compressed_index(_read(file, box, _LONGEST_INDEX)[4:], path, is_compressed=is_compressed)
        if box.kind not in _COUNTED:
            continue
        check_limit("frames", max(num_frames, num_in_fragments), video)
        # FFmpeg lists the frames of each edit: usual edits show other parts each, those of an attack all of it.
        check_limit("frames", num_frames * num_edits // _USUAL_REPEATS, f"the edits of {video}")


def _refuse_other_files(references: bytes, path: Path) -> None:
    if _points_elsewhere(references):
        raise VideoReadError(
            f"a video is one file with its own content; the frames of {str(path)!r} are in another file; give the "
            "whole video."
        )


def _check_compressed_index(data: bytes, path: Path, *, is_compressed: bool) -> None:
    if is_compressed:
        raise VideoReadError(
            f"the index of a video is compressed at most once; that of {str(path)!r} is compressed twice; give another "
            "file"
        )
    index = _decompress(data)
    _check_index(io.BytesIO(index), len(index), path, is_compressed=True)


def walk_boxes(file: BinaryIO, size: int) -> Iterator[Box]:
    """Yield the boxes of a file in order, parents before what is in them.

    Args:
      file: opened for reading; of another format, what looks like a box is taken for one.
      size: of the file, bytes.

    Yields:
      The boxes, up to the first that can't be one.
    """
    ends = [size]
    offset = num_boxes = 0
    while ends and num_boxes < _MOST_BOXES:
        if offset + 8 > ends[-1]:
            offset = ends.pop()
            continue
        file.seek(offset)
        header = file.read(16)
        length, kind, num_header = int.from_bytes(header[:4], "big"), header[4:8], 8
        if length == 1:  # the length is 64 bits, after the name
            length, num_header = int.from_bytes(header[8:], "big"), 16
        elif length == 0:  # up to the end
            length = ends[-1] - offset
        if length < num_header:
            if len(ends) == 1:
                return
            offset = ends.pop()
            continue
        end = min(offset + length, ends[-1])
        num_boxes += 1
        yield Box(kind, len(ends) - 1, offset + num_header, max(end - offset - num_header, 0), offset + length)
        if kind in _PARENTS and len(ends) < _DEEPEST:
            ends.append(end)
            offset += num_header
        else:
            offset = end


def find_mp4_end(file: BinaryIO, size: int) -> int:
    """Return where the last box at the top says that it ends; what follows the last known one is not looked at."""
    tops = (box for box in walk_boxes(file, size) if box.depth == 0)
    return max((box.end for box in itertools.takewhile(lambda box: box.kind in _TOP, tops)), default=0)


def _read(file: BinaryIO, box: Box, count: int) -> bytes:
    file.seek(box.begin)
    return file.read(min(count, box.size))


def _decompress(data: bytes) -> bytes:
    """Returns an index that was compressed; nothing of a damaged one, which FFmpeg does not read either."""
    try:
        return zlib.decompressobj().decompress(data, _LONGEST_INDEX)
    except zlib.error:
        return b""


def _points_elsewhere(table: bytes) -> bool:
    """Tells whether an entry of a table of references names a place that is not this file."""
    offset = 8
    while offset + 12 <= len(table):
        length = int.from_bytes(table[offset : offset + 4], "big")
        is_here = table[offset + 11] & 1
        if not is_here and any(table[offset + 12 : offset + length]):
            return True
        offset += max(length, 12)
    return False
