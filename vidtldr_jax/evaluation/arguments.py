"""Errors of what an evaluation was given, apart from their wording: commands name options, Python names arguments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vidtldr_jax.data.video_paths import is_missing
from vidtldr_jax.trust.notes import MOST_NAMED


class ArgumentError(ValueError):
    """An argument does not fit the model or the data.

    Attributes:
      argument: its name.
      rule: what holds for it, what it got and what to do, as the rest of a sentence that begins with its name.
    """

    def __init__(self, argument: str, rule: str) -> None:
        """Take both parts."""
        super().__init__(f"{argument} {rule}")
        self.argument, self.rule = argument, rule


class MissingVideosError(ValueError):
    """Videos don't exist.

    Attributes:
      problem: how many, and the first ones by their paths.
      can_skip: whether leaving them out is still to be tried.
    """

    def __init__(self, problem: str, *, can_skip: bool) -> None:
        """Take what is wrong."""
        hint = ", or pass skip_missing=True" if can_skip else ""
        super().__init__(f"{problem}; fix the folder of the videos{hint}.")
        self.problem, self.can_skip = problem, can_skip


def find_missing(paths: Mapping[str, Path], *, skip_missing: bool) -> list[str]:
    """Return the videos that don't exist, before any work starts.

    Args:
      paths: name of a video -> where it should be.
      skip_missing: whether they may be left out.

    Returns:
      Their names.

    Raises:
      MissingVideosError: there are some and they may not be left out, or there is no other video.
    """
    missing = [name for name, path in paths.items() if is_missing(path)]
    if missing and (not skip_missing or len(missing) == len(paths)):
        named = ", ".join(str(paths[name]) for name in missing[:MOST_NAMED])
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        raise MissingVideosError(
            f"videos must exist; {len(missing)} of {len(paths)} don't: {named}{more}", can_skip=not skip_missing
        )
    return missing
