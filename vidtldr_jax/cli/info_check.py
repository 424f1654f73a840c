"""What `vidtldr info --check` says: which kind of thing lies in a place, and whether it is what was written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.output import print_json, print_line, print_note
from vidtldr_jax.export.files import FOLDER_MARK, FOLDER_SIDECAR, SIDECAR_SUFFIX, WEIGHTS_SUFFIX
from vidtldr_jax.inference.checkpoint import CONFIG_NAME, WEIGHTS_NAME
from vidtldr_jax.inference.hub import SCHEME
from vidtldr_jax.inference.load import SHIPPED_MODELS, find_checkpoint
from vidtldr_jax.trust.recovery import complete_and_tell, recover_and_tell
from vidtldr_jax.trust.verification import Verification

_RUN: Final = "run.json"
_INDEX: Final = "description.json"
_RULE: Final = (
    f"what can be checked is a checkpoint (a folder with {CONFIG_NAME} and {WEIGHTS_NAME}), an index (a folder with "
    f"{_INDEX}), a run (a folder with {_RUN}) or an export (a program with its {SIDECAR_SUFFIX} beside it, or a "
    "SavedModel)"
)


def show_check(name: str, *, as_json: bool) -> None:
    """Check a place and print what was found.

    Args:
      name: path, name of a shipped model or hf://owner/name.
      as_json: print JSON and nothing else.

    Raises:
      CommandError: there is nothing that can be checked, or faults were found.
    """
    place, verify = choose_check(name)
    found = verify(place)
    if as_json:
        print_json({"place": str(place), **found._asdict(), "is_sound": found.is_sound})
    else:
        _print(place, found)
    if not found.is_sound:
        count = f"{len(found.faults)} fault{'s' if len(found.faults) > 1 else ''}"
        raise CommandError(f"{count} found in {place}: {found.faults[0]}")


def choose_check(name: str) -> tuple[Path, Callable[[Path], Verification]]:
    """Find out what lies in a place.

    Args:
      name: path, name of a shipped model or hf://owner/name.

    Returns:
      The place and the function that checks it.

    Raises:
      CommandError: there is nothing that can be checked.
    """
    from vidtldr_jax.export.files import verify_export
    from vidtldr_jax.inference.checkpoint_check import verify_checkpoint_folder

    place = Path(name)
    recover_and_tell(place)
    if name.startswith(SCHEME) or (name in SHIPPED_MODELS and not place.is_dir()):
        return find_checkpoint(name), verify_checkpoint_folder
    if place.is_dir():
        there = {path.name for path in place.iterdir()}
        if there & {FOLDER_MARK} or (place / FOLDER_SIDECAR).exists():
            return place, verify_export
        if there & {CONFIG_NAME, WEIGHTS_NAME}:
            return place, verify_checkpoint_folder
        if _RUN in there:
            from vidtldr_jax.train.run_check import verify_run

            return place, verify_run
        if _INDEX in there:
            from vidtldr_jax.search.features_check import verify_features

            return place, verify_features
        raise CommandError(f"{_RULE}; {place} is none of them; check the path.")
    program = _find_program(place)
    if program is None:
        what = f"{place} is none of them" if os.path.lexists(place) else f"there is no {place}"
        raise CommandError(f"{_RULE}; {what}; check the path.")
    return program, verify_export


def _find_program(place: Path) -> Path | None:
    """Return the program of an export, of which any file may be named; None where it is none."""
    names = [place.name.removesuffix(suffix) for suffix in ("", SIDECAR_SUFFIX, WEIGHTS_SUFFIX)]
    programs = [place.with_name(name) for name in names if name]
    for path in programs:
        complete_and_tell(path)
    return next((path for path in programs if path.with_name(path.name + SIDECAR_SUFFIX).exists()), None)


def _print(place: Path, found: Verification) -> None:
    count = found.num_checked
    equal = "1 file equals its digest" if count == 1 else f"{count:,} files equal their digests"
    print_line(f"{found.kind} {place}: {equal}")
    for note in found.notes:
        print_note(note)
    for fault in found.faults:
        print_line(f"fault: {fault}")
    if found.is_sound:
        print_line("no fault found")
