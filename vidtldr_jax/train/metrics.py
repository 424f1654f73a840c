"""What a run tells while it goes on: JSON Lines, one record per step or evaluation, and TensorBoard if asked."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated, Any, Final, Literal, TypedDict

import msgspec

from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.state_digests import LogMark
from vidtldr_jax.trust.harmless import dump_json
from vidtldr_jax.trust.json_files import JsonError, check_type, parse_json
from vidtldr_jax.trust.regular import NotRegularError, check_regular, name_path, open_own

STEP: Final = "step"
EVALUATION: Final = "evaluation"

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class StepRecord(TypedDict):
    """What a step tells, see `train.steps.Metrics`; seconds since the record before."""

    kind: Literal["step"]
    step: _Count
    loss: float
    accuracy: _Share
    gradient_norm: float
    learning_rate: float
    seconds: float


class EvaluationRecord(TypedDict):
    """What an evaluation tells, see `train.evaluation.score`."""

    kind: Literal["evaluation"]
    step: _Count
    loss: float | None
    accuracy: _Share
    right: _Count
    of: _Count
    interval_95: Annotated[list[float], msgspec.Meta(min_length=2, max_length=2)]


_KINDS: Final[dict[str, Any]] = {STEP: StepRecord, EVALUATION: EvaluationRecord}


class MetricsLog:
    """A file of records, each flushed as it comes, all brought to the disk by `mark`. A context manager.

    Attributes:
      path: of the file.
      evaluations: records of evaluations, those that were there included.
      last: the last record of a step, or None.
    """

    def __init__(self, path: Path, *, last_step: int, tensorboard: Path | None = None) -> None:
        """Opens the file and drops what a state that is gone on from knows nothing of.

        Args:
          path: of the file; made if it is missing.
          last_step: of the state; records of later steps, and a torn last line, are dropped.
          tensorboard: folder for TensorBoard's events, or None.

        Raises:
          TrainError: tensorboardX is asked for and not installed, or the file is a link or no regular file.
          OSError: the file can't be read or written.
        """
        self.path = path
        self.evaluations: list[dict[str, Any]] = []
        self.last: dict[str, Any] | None = None
        self._board = None if tensorboard is None else _open_board(tensorboard, last_step)
        self._file: IO[bytes] = _open(path)
        self._hash = hashlib.sha256()
        self._num_bytes = 0
        try:
            for line in self._file:
                record = _parse(line)
                if record is None or record["step"] > last_step:
                    break
                self._remember(record, line)
            self._file.truncate(self._num_bytes)
            self._file.seek(0, os.SEEK_END)
        except BaseException:
            self.close()
            raise

    def append(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Adds a record, which is then out of this process's hands.

        Args:
          kind: `STEP` or `EVALUATION`.
          step: how many steps were done.
          values: the record's other fields.

        Raises:
          OSError: it can't be written; it names the file.
        """
        record = {"kind": kind, "step": step, **values}
        line = dump_json(record).encode() + b"\n"
        with name_path(self.path):
            self._file.write(line)
            self._file.flush()
        self._remember(record, line)
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{kind}/{name}", value, step)

    def mark(self) -> LogMark:
        """Brings the records to the disk and returns what the file is now.

        Raises:
          OSError: they can't be written; it names the file.
        """
        with name_path(self.path):
            os.fsync(self._file.fileno())
        return LogMark(self._num_bytes, self._hash.hexdigest())

    def find_best(self) -> int | None:
        """Returns the step of the best evaluation so far, the earliest of equals; None before the first."""
        found = [record for record in self.evaluations if record["step"] > 0]
        return max(found, key=lambda record: (record["accuracy"], -record["step"]))["step"] if found else None

    def close(self) -> None:
        """Lets go of the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _remember(self, record: dict[str, Any], line: bytes) -> None:
        self._hash.update(line)
        self._num_bytes += len(line)
        if record["kind"] == EVALUATION:
            self.evaluations.append(record)
        else:
            self.last = record


def find_bad_line(path: Path) -> int | None:
    """Finds the first line that is no record; a run that goes on drops it and what follows.

    Args:
      path: of a run's metrics.

    Returns:
      Its number from 1, or None.

    Raises:
      OSError: the file can't be read or is no regular file.
    """
    check_regular(path)
    with path.open("rb") as file:
        return next((number for number, line in enumerate(file, start=1) if _parse(line) is None), None)


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record: dict[str, Any] = parse_json(line, dict[str, Any])
        checked: dict[str, Any] = check_type(record, _KINDS[record["kind"]])
    except (JsonError, KeyError, TypeError):
        return None
    return checked


def _open(path: Path) -> IO[bytes]:
    try:
        return io.BufferedRandom(open_own(path))
    except NotRegularError as error:
        raise TrainError(f"metrics are a file of the run's own; {error}") from error


def _open_board(folder: Path, last_step: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise TrainError(
            "events for TensorBoard need tensorboardX, which is not installed; pip install 'vidtldr-jax[train]', or "
            "leave --tensorboard out; metrics.jsonl has the same numbers"
        ) from error
    return SummaryWriter(str(folder), purge_step=last_step + 1)
