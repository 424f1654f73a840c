"""What a run tells while it goes on: JSON Lines, one record per step or evaluation, and TensorBoard if asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from vidtldr_jax.train.errors import TrainError

STEP: Final = "step"
EVALUATION: Final = "evaluation"


class MetricsLog:
    """A file of records, each flushed as it comes. A context manager.

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
          TrainError: tensorboardX is asked for and not installed.
          OSError: the file can't be read or written.
        """
        self.path = path
        self.evaluations: list[dict[str, Any]] = []
        self.last: dict[str, Any] | None = None
        self._board = None if tensorboard is None else _open_board(tensorboard, last_step)
        self._file: IO[bytes] = path.open("a+b")
        try:
            self._file.seek(0)
            kept = 0
            for line in self._file.read().splitlines(keepends=True):
                record = _parse(line)
                if record is None or record["step"] > last_step:
                    break
                self._remember(record)
                kept += len(line)
            self._file.truncate(kept)
        except BaseException:
            self.close()
            raise

    def append(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Adds a record, which is then out of this process's hands."""
        record = {"kind": kind, "step": step, **values}
        self._remember(record)
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{kind}/{name}", value, step)

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

    def _remember(self, record: dict[str, Any]) -> None:
        if record["kind"] == EVALUATION:
            self.evaluations.append(record)
        else:
            self.last = record


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(record, dict) and isinstance(record.get("step"), int) and "kind" in record
    return record if is_one else None


def _open_board(folder: Path, last_step: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise TrainError(
            "finetune: events for TensorBoard need tensorboardX, which is not installed; pip install "
            "'vidtldr-jax[train]', or leave --tensorboard out; metrics.jsonl has the same numbers."
        ) from error
    return SummaryWriter(str(folder), purge_step=last_step + 1)
