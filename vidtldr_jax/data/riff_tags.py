"""The tags of an AVI file, whose lengths FFmpeg takes at their word and makes room for before it reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Final

from vidtldr_jax.data.errors import VideoReadError

_MOST_CHUNKS: Final = 100_000  # of a header; usual ones have a dozen


def check_riff_tags(path: Path) -> None:
    """Refuse an AVI file with a tag that is longer than the file, which FFmpeg fails on after taking up to 2 GiB.

    Args:
      path: of a regular file; one that is no AVI file passes.

    Raises:
      VideoReadError: there is such a tag.
      OSError: the file can't be read.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            _walk(file, path, os.fstat(file.fileno()).st_size)


def _walk(file: IO[bytes], path: Path, end: int) -> None:
    """Go through the chunks of the header, those inside lists one after the other as FFmpeg does."""
    info_end = 0  # FFmpeg takes whatever begins before it for a tag, lists and frames too
    for _ in range(_MOST_CHUNKS):
        start = file.tell()
        head = file.read(12)
        name, size = head[:4], int.from_bytes(head[4:8], "little")
        is_tag = start < info_end
        if len(head) < 8 or (head[8:12] == b"movi" and not is_tag):
            return
        if is_tag and start + 8 + size > end:
            raise VideoReadError(
                f"a tag of a video lies inside its file; {str(path)!r} has one of {size:,} bytes at byte {start:,} of "
                f"{end:,}; the file is damaged; make or copy it again."
            )
        if name == b"LIST" and not is_tag:
            info_end = start + 8 + size if head[8:12] == b"INFO" else info_end
            file.seek(start + 12)
        else:
            file.seek(start + 8 + size + size % 2)
