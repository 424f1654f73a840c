"""What every evaluation does with files: videos that don't exist, hashes, the result, what went wrong."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vidtldr_jax.cli.group import CommandError, describe_os_error, print_error
from vidtldr_jax.cli.kept_inputs import keep_inputs
from vidtldr_jax.cli.output import print_note
from vidtldr_jax.trust.digests import hash_bytes
from vidtldr_jax.trust.harmless import dump_json
from vidtldr_jax.trust.whole_files import write_whole

_MOST_NAMED: Final = 10


def find_skipped(paths: Mapping[str, Path], *, skip_missing: bool, option: str = "--root") -> list[str]:
    """Lists the videos that don't exist, before any work starts.

    Args:
      paths: name of a video -> where it should be.
      skip_missing: whether they may be left out.
      option: that says where videos are, for the message.

    Returns:
      Their names.

    Raises:
      CommandError: there are some and they may not be left out, or there is no other video.
    """
    from vidtldr_jax.data.video_paths import is_missing

    missing = [name for name, path in paths.items() if is_missing(path)]
    if missing and (not skip_missing or len(missing) == len(paths)):
        named = ", ".join(str(paths[name]) for name in missing[:_MOST_NAMED])
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        what = f"give {option}" if skip_missing else f"give {option}, or leave them out with --skip-missing"
        raise CommandError(f"videos must exist; {len(missing)} of {len(paths)} don't: {named}{more}; {what}.")
    return missing


def hash_text(text: str | None) -> str | None:
    """Returns the SHA-256 of a text, None of none."""
    return None if text is None else hash_bytes(text.encode())


def check_result_place(path: Path, inputs: Iterable[str | os.PathLike[str]]) -> Path:
    """Returns a place for a result, or says that it is none.

    Args:
      path: of the result.
      inputs: what the evaluation reads.

    Raises:
      CommandError: it is no place for a result.
      click.UsageError: it is what is read.
    """
    if path.is_dir() or path.suffix != ".json":
        raise CommandError(f"--out is a file that ends in .json; {str(path)!r} is not; give another.")
    keep_inputs({"--out": [path, path.with_suffix(".records.jsonl")]}, inputs)
    return path


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Writes the result in one step.

    Raises:
      CommandError: it can't be written; the message says what is safe.
    """
    with tell_what_is_safe(path.with_suffix(".records.jsonl"), lambda: "all records"):
        write_whole(path, dump_json(result, indent=2) + "\n")


@contextlib.contextmanager
def tell_what_is_safe(place: object, count: Callable[[], str]) -> Iterator[None]:
    """Lets a refusal of the system, such as a full disk, also say what is kept.

    Args:
      place: where it is; None where nothing is kept.
      count: returns how many of what are there.

    Raises:
      CommandError: the system refused something.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if place is None:
            raise
        raise CommandError(
            f"{describe_os_error(error)}; {count()} are safe in {place}, and the same command goes on from there"
        ) from error


def report_notices(notices: Mapping[str, Sequence[str]]) -> None:
    """Tells what a user should know about videos, about the first ones in words."""
    for name, texts in list(notices.items())[:_MOST_NAMED]:
        for text in texts:
            print_note(text, about=name)
    if len(notices) > _MOST_NAMED:
        print_note(f"{len(notices) - _MOST_NAMED} more videos have notices, such as too few frames")


def report_errors(errors: Mapping[str, str]) -> None:
    """Names the videos that can't be read, the first ones with the reason."""
    for name, error in list(errors.items())[:_MOST_NAMED]:
        print_error(error, about=name)
    if len(errors) > _MOST_NAMED:
        print_error(f"{len(errors) - _MOST_NAMED} more videos can't be read")
