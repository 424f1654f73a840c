"""Digests of a training state: which files it has, what is in them, which run and which step it is of.

    00000120/
      state/        what Orbax writes
      digests.json  size and SHA-256 of each file of state/, the step, the run, and the metrics up to that step

A state with a file too many, too few or of another content, or whose records of the metrics are not those that were
written, is damaged and not restored. States of earlier versions are the files of state/ alone, without digests.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypedDict

import msgspec

from vidtldr_jax.trust.digests import hash_bytes, hash_file, is_checking
from vidtldr_jax.trust.faults import show
from vidtldr_jax.trust.harmless import dump_json
from vidtldr_jax.trust.json_files import JsonError, read_json
from vidtldr_jax.trust.limits import LimitError

STATE_NAME: Final = "state"
DIGESTS_NAME: Final = "digests.json"
_FORMAT: Final = 1

_Count = Annotated[int, msgspec.Meta(ge=0)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class LogMark(NamedTuple):
    """The beginning of a file that only grows.

    Attributes:
      num_bytes: how long it is.
      sha256: of these bytes.
    """

    num_bytes: int
    sha256: str


class _File(TypedDict):
    bytes: _Count
    sha256: Sha256


class StateRecord(TypedDict):
    """Content of digests.json.

    Attributes:
      format: of this file.
      step: how many steps were done.
      run: SHA-256 of the run's description.
      metrics: beginning of the run's metrics that the state belongs to.
      files: of the state, by path.
    """

    format: Literal[1]
    step: _Count
    run: Sha256
    metrics: _File
    files: dict[str, _File]


class DamageError(ValueError):
    """A state is not what was written; the message is a part of a line."""


def write_digests(place: Path, *, step: int, run: str, mark: LogMark) -> None:
    """Write the digests of a state that is complete.

    Args:
      place: folder with the state's files in `STATE_NAME`.
      step: how many steps were done.
      run: SHA-256 of the run's description.
      mark: of the run's metrics.

    Raises:
      OSError: a file can't be read or written.
    """
    files = {
        name: _File(bytes=path.stat().st_size, sha256=hash_file(path))
        for name, path in _list_files(place / STATE_NAME).items()
    }
    metrics = _File(bytes=mark.num_bytes, sha256=mark.sha256)
    record = StateRecord(format=_FORMAT, step=step, run=run, metrics=metrics, files=files)
    (place / DIGESTS_NAME).write_text(dump_json(record, indent=1) + "\n", encoding="utf-8")


def has_digests(place: Path) -> bool:
    """Return whether a state is of a version that writes digests."""
    return os.path.lexists(place / STATE_NAME) or os.path.lexists(place / DIGESTS_NAME)


def check_state(place: Path, *, step: int, run: str | None, verify: bool | None = None) -> StateRecord:
    """Compare the files of a state with their digests, one after the other.

    Args:
      place: folder of the state.
      step: that the folder's name says.
      run: SHA-256 of the run's description; None for any.
      verify: compare contents, not sizes alone; None does unless the environment has `VIDTLDR_CHECK_DIGESTS=0`.

    Returns:
      What digests.json says.

    Raises:
      DamageError: the state is not what was written, or is another run's or step's.
      OSError: a file can't be read.
    """
    try:
        record: StateRecord = read_json(place / DIGESTS_NAME, StateRecord)
    except (JsonError, LimitError, FileNotFoundError) as error:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
        raise DamageError(f"{DIGESTS_NAME}: {reason}") from error
    if record["step"] != step:
        raise DamageError(f"it is the state of step {record['step']}")
    if run is not None and record["run"] != run:
        raise DamageError("it is the state of another run")
    is_verifying = is_checking() if verify is None else verify
    found = _list_files(place / STATE_NAME)
    for name in record["files"]:
        if name not in found:
            raise DamageError(f"{show(name)} is missing")
    for name, path in found.items():
        wanted = record["files"].get(name)
        if wanted is None:
            raise DamageError(f"{show(name)} is a file too many")
        if path.stat().st_size != wanted["bytes"] or (is_verifying and hash_file(path) != wanted["sha256"]):
            raise DamageError(f"{show(name)} has another content than was written")
    return record


def check_metrics(path: Path, record: StateRecord) -> None:
    """Compare the beginning of a run's metrics with what it was when a state was written.

    Args:
      path: of the metrics.
      record: of the state.

    Raises:
      DamageError: they differ.
      OSError: the file can't be read.
    """
    wanted = record["metrics"]
    try:
        with path.open("rb") as file:
            begins = file.read(wanted["bytes"])
    except FileNotFoundError:
        begins = b""
    if len(begins) != wanted["bytes"] or hash_bytes(begins) != wanted["sha256"]:
        raise DamageError(f"{path.name} is not what was written up to step {record['step']}")


def _list_files(folder: Path) -> dict[str, Path]:
    """Return the regular files below a folder by their path in it; anything else but folders is damage."""
    if not stat.S_ISDIR(_look(folder)):
        raise DamageError(f"{folder.name} is no folder")
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent) / name
            mode = _look(path)
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise DamageError(f"{show(name)} is neither a file nor a folder")
            if stat.S_ISREG(mode):
                found[path.relative_to(folder).as_posix()] = path
    return found


def _look(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0
