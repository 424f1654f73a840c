"""Versions of the libraries that this package hangs on most: which were tested, and a check when a room is imported."""

from __future__ import annotations

import logging
import re
from typing import Final

# Name in the package index -> oldest and newest version that all tests of what needs it have passed with.
TESTED: Final[dict[str, tuple[str, str]]] = {
    "jax": ("0.7.0", "0.12.0.1"),
    "flax": ("0.11.0", "0.12.12"),
    "av": ("18.0.0", "19.0.2"),
    "orbax-checkpoint": ("0.11.19", "0.12.8"),
}
# What was told of versions newer than the newest tested, for whoever sets up logging later.
NOTES: Final[list[str]] = []

log = logging.getLogger("vidtldr_jax")


class VersionError(ImportError):
    """An installed library is too old; the message is one line and says what to install."""


def require_version(name: str) -> None:
    """Refuse a version that is older than the oldest tested, and log one that is newer than the newest.

    A library that is not installed, or whose version can't be told, is left to its own import.

    Args:
      name: a key of `TESTED`.

    Raises:
      VersionError: the installed version is too old.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version(name)
    except PackageNotFoundError:
        return
    oldest, newest = TESTED[name]
    if not found or not _read_numbers(found):
        return
    if _read_numbers(found) < _read_numbers(oldest):
        raise VersionError(f"{name} {oldest} or newer is needed; got {found}; pip install -U '{name}>={oldest}'")
    if _read_numbers(found) > _read_numbers(newest):
        note = f"{name} {found} is newer than {newest}, the newest version that was tested"
        NOTES.append(note)
        log.info(note)


def _read_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with, without zeros at the end: (0, 12) of "0.12.0rc1"."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(number) for number in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
