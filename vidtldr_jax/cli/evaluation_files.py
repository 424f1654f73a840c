"""What commands say of many videos and of the place of a result: errors and notices by video, options by name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from vidtldr_jax.cli.group import CommandError, print_error
from vidtldr_jax.cli.kept_inputs import keep_inputs
from vidtldr_jax.trust.notes import MOST_NAMED


@contextlib.contextmanager
def name_options(*, videos: str) -> Iterator[None]:
    """Let errors of an evaluation name options where Python's name arguments.

    Args:
      videos: option for the folder of the videos.

    Raises:
      CommandError: what the evaluation was given is wrong.
    """
    from vidtldr_jax.evaluation.arguments import ArgumentError, MissingVideosError

    try:
        yield
    except MissingVideosError as error:
        hint = ", or leave them out with --skip-missing" if error.can_skip else ""
        raise CommandError(f"{error.problem}; give {videos}{hint}.") from error
    except ArgumentError as error:
        raise CommandError(f"--{error.argument.replace('_', '-')} {error.rule}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error


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


def report_errors(errors: Mapping[str, str]) -> None:
    """Names the videos that can't be read, the first ones with the reason."""
    for name, error in list(errors.items())[:MOST_NAMED]:
        print_error(error, about=name)
    if len(errors) > MOST_NAMED:
        print_error(f"{len(errors) - MOST_NAMED} more videos can't be read")
