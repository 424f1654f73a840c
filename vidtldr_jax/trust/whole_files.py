"""Files and folders that are there whole or not at all, and on the disk before their writer goes on.

    write_whole("out.json", text)
    with open_whole("weights.bin") as file:
        file.write(data)
    with write_aside("film.mp4") as aside:       # for libraries that want a path
        encode(aside)
    with replace_folder("checkpoint") as aside:  # the old folder is there until the new one is complete
        (aside / "config.json").write_text(text)

What is written lies in a hidden place of an unpredictable name beside its destination, opened exclusively, so that no
link is followed; modes follow the umask. A writer holds a lock on its hidden place: what a killed one left is found by
its lock being free, and is removed by the next writer of the same destination.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from vidtldr_jax.trust.regular import check_regular

_SUFFIX: Final = ".partial"
_READY: Final = ".ready"  # beside files that only wait for their names
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_LONGEST_STEM: Final = 100  # bytes of the destination's name that its hidden place repeats; a name may have 255


def write_whole(path: str | os.PathLike[str], content: bytes | bytearray | memoryview | str) -> None:
    """Write a file in one step.

    Args:
      path: of the file; what is there is replaced, a link by the file.
      content: bytes, or text that is written as UTF-8.

    Raises:
      NotRegularError: there is something other than a file.
      OSError: the file can't be written; it names the path, and what was there is unchanged.
    """
    with open_whole(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextlib.contextmanager
def open_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file for bytes that takes its name when all is written.

    Args:
      path: of the file; what is there is replaced when the context ends without an exception.

    Yields:
      The open file.

    Raises:
      OSError: the file can't be written; it names the path.
    """
    place = Path(path)
    _check_place(place)
    with _name_errors(place), _hold_folder(place) as folder:
        aside = folder / place.name
        with open(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, place)
        sync_folder(place.parent)


@contextlib.contextmanager
def write_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a place to write a file in; the file takes its name when the context ends without an exception.

    Args:
      path: of the file; what is there is replaced.

    Yields:
      A path with the same name in a hidden folder beside it, where nothing is yet.

    Raises:
      OSError: the file can't be written; it names the path.
    """
    place = Path(path)
    _check_place(place)
    with _name_errors(place), _hold_folder(place) as folder:
        aside = folder / place.name
        yield aside
        _sync_file(aside)
        os.replace(aside, place)
        sync_folder(place.parent)


@contextlib.contextmanager
def replace_files(paths: Sequence[str | os.PathLike[str]]) -> Iterator[list[Path]]:
    """Give places for files that belong together; they take their names when all of them are on the disk.

    If the process ends while they take their names, the others wait beside them: the next writer of the first path, or
    `complete_files`, gives them their names.

    Args:
      paths: of the files, in one folder; what is there is replaced.

    Yields:
      As many paths in a hidden folder, where nothing is yet.

    Raises:
      OSError: a file can't be written; it names the first path, and what was there is unchanged.
    """
    places = [Path(path) for path in paths]
    for place in places:
        _check_place(place)
    with _name_errors(places[0]), _hold_folder(places[0]) as folder:
        yield [folder / place.name for place in places]
        sync_tree(folder)
        (folder / _READY).touch()
        sync_folder(folder)
        _move_ready(folder)


def complete_files(path: str | os.PathLike[str]) -> bool:
    """Give files their names that belong together and were complete when their writer was stopped.

    Args:
      path: the first of the files.

    Returns:
      Whether there were some.
    """
    for folder in _list_partial(Path(path)):
        with _try_lock(folder) as is_free:
            if is_free and (folder / _READY).exists():
                _move_ready(folder)
                shutil.rmtree(folder, ignore_errors=True)
                return True
    return False


@contextlib.contextmanager
def replace_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the path's place when the context ends without an exception.

    Where the system can exchange two names (Linux), there is a whole folder at the path at every moment. Elsewhere the
    old folder is set aside first, and `recover_folder` puts it back if the process ends in between.

    Args:
      path: of the folder; what is there is replaced, and is for the caller to check before.

    Yields:
      The new folder, hidden beside the path.

    Raises:
      OSError: the folder can't be written; it names the path, and what was there is unchanged.
    """
    place = Path(path)
    recover_folder(place)
    with _name_errors(place), _hold_folder(place) as folder:
        aside = folder / place.name
        aside.mkdir()
        yield aside
        sync_tree(aside)
        _swap(aside, place, folder)
        sync_folder(place.parent)


def recover_folder(path: str | os.PathLike[str]) -> bool:
    """Put back a folder that a process set aside and did not replace, as happens without an exchange of names.

    Args:
      path: where the folder belongs.

    Returns:
      Whether it was put back; False where there is something, or nothing was set aside.
    """
    place = Path(path)
    if os.path.lexists(place):
        return False
    for folder in _list_partial(place):
        with _try_lock(folder) as is_free:
            old = _name_old(folder, place)
            if is_free and old.is_dir():
                os.rename(old, place)
                sync_folder(place.parent)
                shutil.rmtree(folder, ignore_errors=True)
                return True
    return False


def remove_leftovers(path: str | os.PathLike[str]) -> int:
    """Remove what killed writers of a destination left beside it; a writer that is alive keeps its own.

    Args:
      path: of the destination, a file or a folder.

    Returns:
      How many places were removed.
    """
    place, count = Path(path), 0
    for folder in _list_partial(place):
        with _try_lock(folder) as is_free:
            is_only_copy = _name_old(folder, place).is_dir() and not os.path.lexists(place)
            if is_free and not is_only_copy:
                _move_ready(folder)
                shutil.rmtree(folder, ignore_errors=True)
                count += 1
    return count


def sync_tree(folder: Path) -> None:
    """Bring a folder and all that is below it to the disk.

    Args:
      folder: of regular files and folders.

    Raises:
      OSError: something can't be written.
    """
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            _sync_file(Path(place) / name)
        sync_folder(Path(place))


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    with contextlib.suppress(PermissionError, IsADirectoryError):  # Windows opens no folder
        _sync(folder, os.O_RDONLY)


def _check_place(place: Path) -> None:
    """Refuse to put a file in the place of a device, a FIFO or a folder, or of a link to one, such as /dev/stdout."""
    if os.path.exists(place):  # a link that leads to a file or nowhere may be replaced
        check_regular(place)


def _sync_file(path: Path) -> None:
    _sync(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)


def _sync(path: Path, flags: int) -> None:
    opened = os.open(path, flags)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has nothing to bring anywhere
            raise
    finally:
        os.close(opened)


@contextlib.contextmanager
def _name_errors(place: Path) -> Iterator[None]:
    """Let an error of a write, which knows no path, name the destination."""
    try:
        yield
    except OSError as error:
        is_hidden = error.filename is None or _SUFFIX in os.fsdecode(error.filename)
        if error.errno is None or not is_hidden:
            raise
        # A new one: those of PyAV take no other name.
        raise OSError(error.errno, error.strerror or str(error), str(place)) from error


@contextlib.contextmanager
def _hold_folder(place: Path) -> Iterator[Path]:
    """Make a hidden folder beside a destination and hold its lock; it is removed at the end."""
    remove_leftovers(place)
    folder, lock = _make_folder(place)
    try:
        yield folder
    finally:
        if not (folder / _READY).exists():  # else something failed while files took their names: the others wait
            shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _move_ready(folder: Path) -> None:
    """Give complete files their names beside their hidden folder; nothing where they are not complete."""
    if not (folder / _READY).exists():
        return
    for file in sorted(folder.iterdir()):
        if file.name != _READY:
            os.replace(file, folder.parent / file.name)
    sync_folder(folder.parent)
    (folder / _READY).unlink()


def _make_folder(place: Path) -> tuple[Path, int | None]:
    while True:
        folder = place.parent / f"{_begin_name(place)}{secrets.token_hex(8)}{_SUFFIX}"
        folder.mkdir(mode=0o700)
        lock = _lock(folder, wait=True)
        # Between its making and its lock, another process may have taken it for a leftover.
        if folder.is_dir():
            return folder, lock
        if lock is not None:
            os.close(lock)


def _begin_name(place: Path) -> str:
    name = os.fsencode(place.name)[:_LONGEST_STEM]
    return f".{os.fsdecode(name)}-"


def _name_old(folder: Path, place: Path) -> Path:
    """Return where the folder that is replaced lies in a hidden folder meanwhile."""
    return folder / f"{place.name}.old"


def _list_partial(place: Path) -> list[Path]:
    name = re.compile(rf"{re.escape(_begin_name(place))}[0-9a-f]{{16}}{re.escape(_SUFFIX)}", re.DOTALL)
    try:
        with os.scandir(place.parent) as entries:
            return [Path(one.path) for one in entries if name.fullmatch(one.name) and one.is_dir(follow_symlinks=False)]
    except OSError:
        return []


@contextlib.contextmanager
def _try_lock(folder: Path) -> Iterator[bool]:
    """Tell whether a hidden folder's writer is gone, and hold its lock meanwhile; never where locks are not had."""
    try:
        lock = _lock(folder, wait=False)
    except OSError:
        yield False
        return
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Lock a folder; None where the system or the file system has no locks.

    Raises:
      BlockingIOError: another process has it, and waiting is off.
      FileNotFoundError: it is gone, and waiting is off.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        opened = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        if wait:
            return None
        raise
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(opened)
        raise
    except OSError:
        os.close(opened)
        return None
    return opened


def _swap(new: Path, place: Path, folder: Path) -> None:
    """Put a folder in a place; what is there goes into the hidden folder, in the same step where the system can."""
    if not os.path.lexists(place):
        os.rename(new, place)
        return
    if _exchange(new, place):
        return
    old = _name_old(folder, place)
    os.rename(place, old)
    try:
        os.rename(new, place)
    except OSError:
        os.rename(old, place)
        raise


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system can't."""
    try:
        renameat2: Any = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    paths = (os.fsencode(first), os.fsencode(second))
    if renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(second))
