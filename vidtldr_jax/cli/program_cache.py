"""JAX's cache of compiled programs, with every entry tied to its key.

JAX runs whatever lies under a key. Here an entry begins with the SHA-256 of its key and its program: one that was
damaged, cut short or copied from another key is removed, and what it stands for is compiled again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from vidtldr_jax.trust.regular import check_regular
from vidtldr_jax.trust.whole_files import write_whole

log = logging.getLogger("vidtldr_jax")

_MARK: Final = b"vidtldr-jax program 1\n"
_SUFFIX: Final = "-cache"
_FOLDERS: dict[str, Callable[[str], None]] = {}  # folder -> what tells of an entry that does not fit


class ProgramCache:
    """What JAX calls of a cache: `get` and `put`."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        """Takes the folder, and what is called with a line on the first entry that does not fit."""
        self._path = folder
        self._tell = tell
        self._has_told = False

    def get(self, key: str) -> bytes | None:
        """Returns the program of a key; None where there is none or it is not the one that was put there."""
        path = self._path / f"{key}{_SUFFIX}"
        try:
            check_regular(path)
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        head = len(_MARK) + hashlib.sha256().digest_size
        if data[:head] == _seal(key, data[head:]):
            return data[head:]
        self._report(f"compiled program {path} is damaged or another one's; it is removed and compiled again")
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keeps the program of a key."""
        write_whole(self._path / f"{key}{_SUFFIX}", _seal(key, value) + value)

    def _report(self, message: str) -> None:
        if self._has_told:
            log.info("%s", message)
        else:
            self._tell(message)
        self._has_told = True


def use_program_cache(folder: Path, tell: Callable[[str], None]) -> None:
    """Lets JAX keep compiled programs in a folder.

    Args:
      folder: of the user alone, see `make_private_folder`.
      tell: called with a line on the first entry that does not fit its key.

    Raises:
      NotImplementedError: this version of JAX has no place for a cache of ours.
    """
    import jax

    _install()
    _FOLDERS[str(folder)] = tell
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    with contextlib.suppress(AttributeError):  # what XLA keeps of its own accord is tied to nothing
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


def _install() -> None:
    """Puts our cache where JAX makes its own, for the folders that were given to us."""
    try:
        from jax._src import compilation_cache
        from jax._src.compilation_cache_interface import CacheInterface

        make_theirs: Any = compilation_cache.get_file_cache
    except (ImportError, AttributeError) as error:
        import jax

        raise NotImplementedError(f"entries can't be checked with JAX {jax.__version__}") from error
    if getattr(make_theirs, "is_ours", False):
        return

    class OurCache(ProgramCache, CacheInterface):
        """Ours, of the type that JAX asks for."""

    def make_cache(path: str) -> Any:
        if path in _FOLDERS:
            return OurCache(Path(path), _FOLDERS[path]), path
        return make_theirs(path)

    make_cache.is_ours = True  # type: ignore[attr-defined]
    compilation_cache.get_file_cache = make_cache


def _seal(key: str, value: bytes) -> bytes:
    digest = hashlib.sha256(key.encode() + b"\0")
    digest.update(value)
    return _MARK + digest.digest()
