"""Folders whose content is trusted, such as compiled programs: made for their owner alone, and used only if they are.

folder = make_private_folder(Path.home() / ".cache", "vidtldr-jax", "compiled")
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


class NotPrivateError(OSError):
    """Others could change what is in a folder; the message is one line."""


def make_private_folder(base: Path, *names: str) -> Path:
    """Make folders one below the other with mode 0700, and make sure that only their owner can change them.

    Args:
      base: where the first is; missing folders above it are made, with mode 0700 too. It may be a link.
      names: of the folders, which must be no links.

    Returns:
      The last folder.

    Raises:
      NotPrivateError: a folder belongs to somebody else, is a link or can be written by others, or one above can.
      OSError: a folder can't be made.
    """
    base = Path(os.path.abspath(base))
    _make(base)
    whole = Path(os.path.realpath(base))
    for place in (*reversed(whole.parents), whole):
        _check_above(place)
    folder = base
    for name in names:
        folder = folder / name
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        _check_own(folder)
    return folder


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    _make(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)


def _check_own(folder: Path) -> None:
    """Refuse a folder of ours that is not the caller's alone to write."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no folder"
        raise NotPrivateError(f"it must be a folder of your own; {str(folder)!r} is {kind}; remove it")
    if os.name != "posix":
        return
    if found.st_uid != os.geteuid():
        raise NotPrivateError(
            f"it must be a folder of your own; {str(folder)!r} belongs to user {found.st_uid}; remove it"
        )
    if found.st_mode & 0o022:
        raise NotPrivateError(
            f"it must be writable by you alone; {str(folder)!r} has mode {stat.S_IMODE(found.st_mode):04o}; empty it "
            "and chmod 700 it"
        )


def _check_above(folder: Path) -> None:
    """Refuse a folder in which others could put another folder in the place of ours."""
    if os.name != "posix":
        return
    found = os.stat(folder)
    if found.st_uid not in (0, os.geteuid()):
        raise NotPrivateError(
            f"the folders above must be yours or root's; {str(folder)!r} belongs to user {found.st_uid}; choose "
            "another place"
        )
    is_open = found.st_mode & 0o002 or (found.st_mode & 0o020 and not _is_of_owner_alone(found))
    if is_open and not found.st_mode & stat.S_ISVTX:
        raise NotPrivateError(
            f"the folders above must not be writable by others; {str(folder)!r} has mode "
            f"{stat.S_IMODE(found.st_mode):04o}; choose another place or change its mode"
        )


def _is_of_owner_alone(found: os.stat_result) -> bool:
    """Return whether the group is the one that many systems make for each user."""
    import grp
    import pwd

    try:
        group = grp.getgrgid(found.st_gid)
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        return False
    return found.st_gid != 0 and group.gr_name == owner and set(group.gr_mem) <= {owner}
