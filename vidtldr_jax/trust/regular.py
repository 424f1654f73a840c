"""Refusal of what is not a regular file: opening a FIFO waits for ever, and a device may never end."""

from __future__ import annotations

import os
import stat
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
