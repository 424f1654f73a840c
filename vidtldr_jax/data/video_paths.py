"""Which videos are meant by paths on a command line, and what tells one video's content from another's."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.folder_contents import list_contents, list_pictures
from vidtldr_jax.trust.harmless import make_harmless
from vidtldr_jax.trust.regular import check_regular

log = logging.getLogger("vidtldr_jax")

_CHUNK: Final = 2**20


class FoundVideos(NamedTuple):
    """What is meant by paths.

    Attributes:
      videos: in the given order, those below a folder by name, each once, in whichever ways it was given.
      errors: path -> what is wrong with one that means no video, or with a folder below that can't be looked at.
      notes: one line each on what is left out of folders.
    """

    videos: list[Path]
    errors: dict[str, str]
    notes: list[str]


def look_for_videos(paths: Sequence[str | os.PathLike[str]]) -> FoundVideos:
    """List the videos that are meant; nothing that is wrong with one path stops the others.

    Args:
      paths: videos, folders of frames, and folders of videos, by the rule of `data.folder_contents`.

    Returns:
      A `FoundVideos`.
    """
    found: dict[str, Path] = {}
    errors: dict[str, str] = {}
    notes: dict[str, None] = {}
    for path in map(Path, paths):
        below = [path]
        if is_missing(path):
            below = []
            errors[str(path)] = f"a video must exist; there is no {str(path)!r}; check the path."
        elif os.path.isdir(path):
            contents = list_contents(path)
            below = contents.videos
            errors |= contents.errors
            if not below:
                errors.setdefault(str(path), _explain_empty(path))
            notes |= dict.fromkeys(contents.notes)
        for one in below:
            found.setdefault(os.path.abspath(one), one)
    return FoundVideos(list(found.values()), errors, list(notes))


def find_videos(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """List the videos that are meant, and refuse paths that mean none.

    What is left out of folders goes to the log "vidtldr_jax" as a warning; `look_for_videos` returns it.

    Args:
      paths: videos, folders of frames, and folders of videos, by the rule of `data.folder_contents`.

    Returns:
      Paths in the given order, those below a folder by name, each once, in whichever ways it was given.

    Raises:
      VideoReadError: a path does not exist, a folder can't be looked at, or it has neither images nor videos.
    """
    found = look_for_videos(paths)
    for place, reason in found.errors.items():
        raise VideoReadError(reason if repr(place) in reason else f"{place}: {reason}")
    for note in found.notes:
        log.warning("%s", make_harmless(note))
    return found.videos


def is_missing(path: str | os.PathLike[str]) -> bool:
    """Return whether there is nothing at a path; what can't be looked at counts as there, for reading says why."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name may have a null byte
        return True
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _explain_empty(folder: Path) -> str:
    return (
        "a folder has videos (.3gp, .avi, .mkv, .mov, .mp4, .webm, ...) below it, or images; "
        f"{str(folder)!r} has none; give another, or name the files."
    )


def hash_content(path: Path) -> str:
    """Returns the SHA-256 of a video's bytes; of a folder of images, of their names and bytes.

    Args:
      path: of an existing video or folder.

    Returns:
      64 hexadecimal digits, the same wherever the video lies and whatever it is called.

    Raises:
      OSError: it can't be read, or is no regular file.
    """
    digest = hashlib.sha256()
    files = sorted(list_pictures(path)) if path.is_dir() else [path]
    for file in files:
        check_regular(file)
        if path.is_dir():
            digest.update(os.fsencode(file.name) + f"\0{file.stat().st_size}\0".encode())
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
