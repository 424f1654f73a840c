"""Errors of what an evaluation was given, apart from their wording: commands name options, Python names arguments."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from vidtldr_jax.data.video_paths import is_missing
from vidtldr_jax.trust.fields import is_count
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


def check_model(model: object, kind: type, *, purpose: str) -> None:
    """Refuse what is not a model for an evaluation.

    Args:
      model: what was given.
      kind: class of the models that fit.
      purpose: what they are for, in a word or two.

    Raises:
      ArgumentError: it is of another class, or over devices of several processes.
    """
    if not isinstance(model, kind):
        got = type(model).__name__
        raise ArgumentError(
            "model", f"is a {kind.__name__}, as load_model makes it of a checkpoint for {purpose}; got {got}; load one."
        )
    mesh = getattr(model, "mesh", None)
    if mesh is not None and mesh.is_multi_process:
        processes = len({device.process_index for device in mesh.devices.flat})
        raise ArgumentError(
            "model",
            f"runs on devices of one process in an evaluation; got a mesh over {processes} processes, each of which "
            "would evaluate everything; pass model.with_local_mesh() in one of them.",
        )


def check_counts(*, least: int = 1, may_be_none: bool = False, **counts: object) -> None:
    """Refuse what is not a whole number, or too small a one.

    Args:
      least: the smallest that is allowed.
      may_be_none: whether None is allowed too.
      **counts: arguments by their names.

    Raises:
      ArgumentError: one does not fit.
    """
    for name, value in counts.items():
        if not (value is None and may_be_none) and not is_count(value, least=least):
            raise ArgumentError(name, f"is a whole number, at least {least}; got {value!r}; pass another.")


def check_paths(*, may_be_none: bool = False, **paths: object) -> None:
    """Refuse what is not the path of a file or folder.

    Args:
      may_be_none: whether None is allowed too.
      **paths: arguments by their names.

    Raises:
      ArgumentError: one is something else.
    """
    for name, value in paths.items():
        if not (value is None and may_be_none) and not isinstance(value, str | os.PathLike):
            raise ArgumentError(name, f"is a path; got {value!r}; write a file and pass its path.")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Refuse what is none of the choices.

    Raises:
      ArgumentError: it is none of them.
    """
    if value not in choices:
        raise ArgumentError(name, f"is one of {', '.join(choices)}; got {value!r}; take one of these.")


def choose_k(asked: int | None, usual: int, sizes: Mapping[str, int]) -> int:
    """Return the number of candidates to look at in full.

    Args:
      asked: what the caller wants, or None.
      usual: what None stands for, where there are that many.
      sizes: how many there are of what candidates are.

    Returns:
      The number.

    Raises:
      ArgumentError: it is no count, or there are fewer candidates.
    """
    check_counts(k_test=asked, may_be_none=True)
    check_counts(usual_k_test=usual)
    most = min(sizes.values())
    if asked is not None and asked > most:
        there = ", and of ".join(f"{what}, {count}" for what, count in sizes.items())
        raise ArgumentError("k_test", f"is at most the number of {there}; got {asked}; take fewer, or leave it out.")
    return min(asked or usual, most)


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
