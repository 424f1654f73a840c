"""A folder of frames or a folder of videos: the one rule, for every command and function that takes a folder.

1. Where there are videos below a folder, at any depth, they are meant, and pictures beside them are not.
2. Where there are none, pictures directly in a folder make it one video, whose frames they are.
3. Where there is neither, each folder below that has pictures is a video.

An animated picture is a video. Hidden files and folders are left out; links to folders are not followed. What else is
left out is told in notes, so that nothing is skipped silently.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import re
import stat
from pathlib import Path
from typing import Final

from vidtldr_jax.data.animation import is_animated
from vidtldr_jax.data.suffixes import IMAGE_SUFFIXES, SOUND_OR_VIDEO_SUFFIXES, VIDEO_SUFFIXES

_MOST_NAMED: Final = 3
_MOST_SUFFIXES: Final = 6
_ENOUGH_TO_TELL: Final = 4096
_VIDEO_IN_OGG: Final = re.compile(rb"\x80theora|BBCD|OVP80|\x01video|YUV4MPEG")


@dataclasses.dataclass
class FolderContents:
    """What is below a folder.

    Attributes:
      videos: that are meant, those of a folder before those of the folders in it, by name; the folder itself where its
        pictures are the frames of one video. Links that lead nowhere, FIFOs and devices with a video's name are among
        them: reading them says what they are.
      errors: path -> why a folder below can't be looked at.
      notes: one line each on what is left out.
    """

    videos: list[Path] = dataclasses.field(default_factory=list)
    errors: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class _Walk:
    """What was seen below a folder, before the rule is applied."""

    videos: list[Path] = dataclasses.field(default_factory=list)
    pictures: dict[Path, list[Path]] = dataclasses.field(default_factory=dict)  # of each folder that has some
    others: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    links: list[Path] = dataclasses.field(default_factory=list)
    special: list[Path] = dataclasses.field(default_factory=list)
    errors: dict[str, str] = dataclasses.field(default_factory=dict)


def list_contents(folder: Path) -> FolderContents:
    """Apply the rule to a folder.

    Args:
      folder: an existing one; a link to one is followed.

    Returns:
      A `FolderContents`; without videos where there is nothing that can be one.
    """
    seen = _walk(folder)
    if seen.videos:
        meant = seen.videos
    elif folder in seen.pictures:
        meant = [folder]
    else:
        meant = _take_topmost(list(seen.pictures))
    return FolderContents(meant, seen.errors, _describe_rest(folder, seen, meant) if meant else [])


def list_pictures(folder: Path) -> list[Path]:
    """List the pictures directly in a folder, in no order.

    Args:
      folder: an existing one.

    Returns:
      Everything with a picture's name that is not hidden and no folder; a link that leads nowhere is among them, so
      that a frame that is missing is an error.

    Raises:
      OSError: the folder can't be read.
    """
    with os.scandir(folder) as entries:
        return [
            folder / entry.name
            for entry in entries
            if not entry.name.startswith(".") and _has_suffix(entry.name, IMAGE_SUFFIXES) and not _is_folder(entry)
        ]


def _walk(folder: Path) -> _Walk:
    seen = _Walk()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda one: one.name)
        except OSError as error:
            seen.errors[str(place)] = error.strerror or str(error)
            continue
        for entry in found:
            if not _is_folder(entry):
                _sort_in(place, entry, seen)
            elif entry.is_symlink():
                seen.links.append(place / entry.name)
        below = [place / entry.name for entry in found if _is_folder(entry) and not entry.is_symlink()]
        waiting.extend(reversed(below))
    return seen


def _sort_in(place: Path, entry: os.DirEntry[str], seen: _Walk) -> None:
    path = place / entry.name
    kind = _find_kind(entry)
    is_ogg = _has_suffix(entry.name, SOUND_OR_VIDEO_SUFFIXES)
    if _has_suffix(entry.name, VIDEO_SUFFIXES) or (is_ogg and (kind or _has_video_in_ogg(path))):
        seen.videos.append(path)
    elif _has_suffix(entry.name, IMAGE_SUFFIXES):
        if kind is None and is_animated(path):
            seen.videos.append(path)
        else:
            seen.pictures.setdefault(place, []).append(path)
    elif kind is not None:
        seen.special.append(path)
    else:
        seen.others[Path(entry.name).suffix.lower() or "without suffix"] += 1


def _find_kind(entry: os.DirEntry[str]) -> str | None:
    """Return what a thing is that is no regular file and no folder; None for a regular file."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "a link that leads nowhere"
    return None if stat.S_ISREG(mode) else "no regular file"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes


def _has_video_in_ogg(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _VIDEO_IN_OGG.search(file.read(_ENOUGH_TO_TELL)) is not None
    except OSError:
        return True  # reading it says why


def _take_topmost(folders: list[Path]) -> list[Path]:
    """Leave out folders that lie below another one of a list in the order of walking."""
    found: list[Path] = []
    for folder in folders:
        if not found or found[-1] not in folder.parents:
            found.append(folder)
    return found


def _describe_rest(folder: Path, seen: _Walk, meant: list[Path]) -> list[str]:
    left = [(place, pictures) for place, pictures in seen.pictures.items() if place not in meant]
    notes = []
    if left:
        count = sum(len(pictures) for _, pictures in left)
        places = _name([place for place, _ in left], folder)
        notes.append(
            f"{folder}: {_count(count, 'picture')} left out, in {places}; to take a folder of pictures as one video, "
            "name it"
        )
    if seen.others:
        most = seen.others.most_common(_MOST_SUFFIXES)
        more = ", ..." if len(seen.others) > len(most) else ""
        kinds = ", ".join(f"{suffix} {count}" for suffix, count in most) + more
        notes.append(
            f"{folder}: {_count(seen.others.total(), 'file')} left out, by suffix no videos ({kinds}); to take one, "
            "name it"
        )
    if seen.links:
        links = f"{_count(len(seen.links), 'link')} to folders not followed ({_name(seen.links, folder)})"
        notes.append(f"{folder}: {links}; to take one, name it")
    if seen.special:
        notes.append(f"{folder}: left out are links that lead nowhere, FIFOs or devices: {_name(seen.special, folder)}")
    return notes


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _name(paths: list[Path], folder: Path) -> str:
    names = [os.path.relpath(path, folder) if path != folder else "the folder itself" for path in paths[:_MOST_NAMED]]
    more = f" and {len(paths) - _MOST_NAMED:,} more" if len(paths) > _MOST_NAMED else ""
    return ", ".join(names) + more
