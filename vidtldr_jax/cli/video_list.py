"""The videos that a command line means, with what is left out told to the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.output import print_note

if TYPE_CHECKING:
    from vidtldr_jax.data.video_paths import FoundVideos


def take_videos(paths: Sequence[str]) -> FoundVideos:
    """List the videos that are meant, and tell what is left out of folders; for long work, before it begins.

    Args:
      paths: videos, folders of frames and folders of videos.

    Returns:
      The videos, and the errors of folders below, which the command reports with those of its work.

    Raises:
      CommandError: a path that was given means no video: a slip of the one who wrote it.
    """
    from vidtldr_jax.data.video_paths import look_for_videos

    found = look_for_videos(paths)
    for given in map(str, map(Path, paths)):
        if reason := found.errors.get(given):
            raise CommandError(reason if repr(given) in reason else f"{given}: {reason}")
    for note in found.notes:
        print_note(note)
    return found
