"""Which videos are meant by paths on a command line, and what tells one video's content from another's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.image_folder import IMAGE_SUFFIXES

VIDEO_SUFFIXES: Final = (
    *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts"),
    *(".webm", ".wmv"),
)
_CHUNK: Final = 2**20


def find_videos(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Lists the videos that are meant.

    Args:
      paths: videos; folders of images, each of which is a video; other folders, of which all videos below are meant.

    Returns:
      Paths in the given order, those below a folder by name, each once, in whichever ways it was given.

    Raises:
      VideoReadError: a path does not exist, or a folder has neither images nor videos.
    """
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise VideoReadError(f"find_videos: a video must exist; there is no {str(path)!r}; check the path.")
        below = [path] if not path.is_dir() or _has_images(path) else list(_list_below(path))
        if not below:
            raise VideoReadError(
                f"find_videos: a folder has videos ({', '.join(VIDEO_SUFFIXES)}) below it, or images; {str(path)!r} "
                "has none; give another, or name the files."
            )
        for one in below:
            found.setdefault(os.path.abspath(one), one)
    return list(found.values())


def hash_content(path: Path) -> str:
    """Returns the SHA-256 of a video's bytes; of a folder of images, of their names and bytes.

    Args:
      path: of an existing video or folder.

    Returns:
      64 hexadecimal digits, the same wherever the video lies and whatever it is called.

    Raises:
      OSError: it can't be read.
    """
    digest = hashlib.sha256()
    files = sorted(_list_images(path)) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(os.fsencode(file.name) + f"\0{file.stat().st_size}\0".encode())
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _list_below(folder: Path) -> Iterator[Path]:
    """Yields the videos below a folder, hidden files and folders left out."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            Path(place) / name
            for name in sorted(files)
            if Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith(".")
        )


def _list_images(folder: Path) -> list[Path]:
    return _list_files(folder, IMAGE_SUFFIXES)


def _list_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    names = (path for path in folder.iterdir() if not path.name.startswith("."))
    return [path for path in names if path.suffix.lower() in suffixes and path.is_file()]


def _has_images(folder: Path) -> bool:
    """Tells whether a folder is a video itself: images in it and no video."""
    return bool(_list_images(folder)) and not _list_files(folder, VIDEO_SUFFIXES)
