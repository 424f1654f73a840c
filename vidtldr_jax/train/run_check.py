"""Whether a run's folder still holds what was written: its description, its states, its metrics and its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidtldr_jax.inference.checkpoint_check import verify_checkpoint_folder
from vidtldr_jax.train.checkpoints import find_place, list_steps
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.metrics import find_bad_line
from vidtldr_jax.train.run_folder import (
    LOCK_NAME,
    METRICS_NAME,
    MODEL_NAME,
    RESULT_NAME,
    RUN_NAME,
    STATES_NAME,
    open_lock,
    read_run,
)
from vidtldr_jax.train.state_digests import DIGESTS_NAME, DamageError, check_metrics, check_state, has_digests
from vidtldr_jax.trust.digests import hash_json
from vidtldr_jax.trust.json_files import JsonError, read_json
from vidtldr_jax.trust.limits import LimitError
from vidtldr_jax.trust.records import RecordsError, lock_file
from vidtldr_jax.trust.verification import Verification


def verify_run(place: Path) -> Verification:
    """Check all files of a run against their digests and schemas; nothing is changed.

    Args:
      place: folder of the run.

    Returns:
      What was found; each fault names its file and what to do.
    """
    found = _Findings(place)
    for check in (found.check_lock, found.check_description, found.check_states, found.check_texts, found.check_model):
        check()
    return Verification("run", found.num_checked, tuple(found.notes), tuple(found.faults))


class _Findings:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.num_checked = 0
        self.notes: list[str] = []
        self.faults: list[str] = []
        self._run: str | None = None

    def check_lock(self) -> None:
        if not (self.place / LOCK_NAME).exists():
            return
        try:
            with open_lock(self.place / LOCK_NAME) as file:
                lock_file(file, self.place)
        except RecordsError:
            self.notes.append("a process has the run: what it is about to write or remove may look damaged")
        except (TrainError, OSError) as error:
            self.faults.append(str(error))

    def check_description(self) -> None:
        path = self.place / RUN_NAME
        try:
            found = read_run(path)
        except (TrainError, OSError) as error:
            self.faults.append(str(error))
            return
        self._run = found.get("sha256")
        if self._run is None:
            self.notes.append(f"{path}: of a version that wrote no digest")
        else:
            self.num_checked += 1

    def check_states(self) -> None:
        folder = self.place / STATES_NAME
        metrics = self.place / METRICS_NAME
        for step in list_steps(folder) if folder.is_dir() else ():
            state = find_place(folder, step)
            if not has_digests(state):
                self.notes.append(f"{state}: of a version that wrote no digests; its files are not checked")
                continue
            try:
                record = check_state(state, step=step, run=self._run, verify=True)
                self.num_checked += len(record["files"])
            except (DamageError, OSError) as error:
                self.faults.append(
                    f"{state} is damaged ({error}); the command that began the run goes on from an older state, if any"
                )
                continue
            try:
                check_metrics(metrics, record)
            except (DamageError, OSError) as error:
                self.faults.append(f"{metrics} is damaged ({error}, see {state / DIGESTS_NAME}); put the file back")

    def check_texts(self) -> None:
        try:
            line = find_bad_line(self.place / METRICS_NAME)
            if line is not None:
                self.notes.append(
                    f"{self.place / METRICS_NAME}: line {line} is no record; it is dropped at the next start"
                )
        except FileNotFoundError:
            self.notes.append(f"{self.place / METRICS_NAME}: missing; no step was recorded, or the file was taken away")
        except OSError as error:
            self.faults.append(str(error))
        path = self.place / RESULT_NAME
        try:
            result: dict[str, Any] = read_json(path, dict[str, Any])
            sha256 = result.pop("sha256", None)
            if sha256 is None:
                self.notes.append(f"{path}: of a version that wrote no digest")
            elif sha256 != hash_json(result):
                raise JsonError("it is not what was written")
            else:
                self.num_checked += 1
        except FileNotFoundError:
            self.notes.append(f"{path}: missing; the run is not through")
        except (JsonError, LimitError, OSError, RecursionError) as error:
            self.faults.append(f"{path} is damaged ({error}); the command that began the run writes it again")

    def check_model(self) -> None:
        path = self.place / MODEL_NAME
        if not path.exists():
            return
        found = verify_checkpoint_folder(path)
        self.num_checked += found.num_checked
        self.notes += found.notes
        self.faults += [f"{fault}; the command that began the run writes it again" for fault in found.faults]
