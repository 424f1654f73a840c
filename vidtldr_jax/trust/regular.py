"""Refusal of what is not a regular file: opening a FIFO waits for ever, and a device may never end."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from io import FileIO
from typing import Final

_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)


class NotRegularError(OSError):
    """A path names something other than a regular file; the message is one line."""


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what is not a regular file; links are followed.

    Args:
      path: of an existing file.

    Raises:
      NotRegularError: the path names a folder, a FIFO, a device or a socket.
      OSError: there is nothing, or it can't be looked at.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "of an unknown kind")
    raise NotRegularError(f"a regular file is needed; {os.fspath(path)!r} is {kind}; give a file")


def open_own(path: str | os.PathLike[str]) -> FileIO:
    """Open a file to read and write, or make it; what a link leads to would be overwritten, so none is followed.

    Args:
      path: of a regular file, or of nothing.

    Returns:
      The open file, at its start.

    Raises:
      NotRegularError: the path names a link, a folder, a FIFO, a device or a socket.
      OSError: it can't be opened.
    """
    if os.path.islink(path):
        raise NotRegularError(f"a regular file is needed; {os.fspath(path)!r} is a link; remove it")
    if os.path.exists(path):
        check_regular(path)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return FileIO(os.open(path, flags, 0o666), "r+b")


@contextlib.contextmanager
def name_path(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Let an error of a write to an open file, which knows no path, name it.

    Args:
      path: of the file.

    Yields:
      Nothing.
    """
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise
