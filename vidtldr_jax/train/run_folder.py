"""The folder of a run: which run it is, that one process has it, and where everything in it lies.

run.json       what decides the result; another run is refused
train.csv      the videos that were chosen, where few of each class were asked for
metrics.jsonl  a record per step and evaluation
checkpoints/   states to go on from
model/         the checkpoint folder that `load_model` reads, once the run is through
result.json    the results
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, Literal, NotRequired, TypedDict

import jax

from vidtldr_jax.data.labels import Labels
from vidtldr_jax.data.manifest import ManifestEntry
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.state_digests import Sha256
from vidtldr_jax.trust.digests import hash_json
from vidtldr_jax.trust.faults import join_faults
from vidtldr_jax.trust.harmless import dump_json
from vidtldr_jax.trust.json_files import JsonError, read_json
from vidtldr_jax.trust.limits import LimitError
from vidtldr_jax.trust.records import find_differences, lock_file
from vidtldr_jax.trust.recovery import recover_and_tell
from vidtldr_jax.trust.regular import NotRegularError, open_own
from vidtldr_jax.trust.whole_files import remove_leftovers, write_whole

RUN_NAME: Final = "run.json"
RESULT_NAME: Final = "result.json"
METRICS_NAME: Final = "metrics.jsonl"
STATES_NAME: Final = "checkpoints"
MODEL_NAME: Final = "model"
LOCK_NAME: Final = ".lock"
_KIND: Final = "vidtldr-jax fine-tuning"
_CHOSEN: Final = "train.csv"
_BOARD: Final = "tensorboard"


class RunRecord(TypedDict):
    """Content of run.json.

    Attributes:
      kind: what it is.
      jax: version that the run was begun with.
      platform: that it was begun on.
      run: its description, or None while it is removed.
      sha256: of the description; older versions wrote none.
    """

    kind: Literal["vidtldr-jax fine-tuning"]
    jax: NotRequired[str]
    platform: NotRequired[str]
    run: dict[str, Any] | None
    sha256: NotRequired[Sha256]


class RunFolder:
    """A run's folder, locked. A context manager.

    Attributes:
      path: of it.
      run: SHA-256 of the run's description.
      notes: what a user should know, such as that it was begun elsewhere.
    """

    def __init__(
        self, path: Path, description: Mapping[str, Any], *, restart: bool = False, must_exist: bool = False
    ) -> None:
        """Opens the folder of a run, or makes it.

        Args:
          path: of it.
          description: all that decides the result, plain data.
          restart: remove what an earlier run left.
          must_exist: refuse to begin a new run.

        Raises:
          TrainError: the folder is of another run or of something else, or there is none and there must be.
          RecordsError: another process has it.
          OSError: it can't be read or written.
        """
        self.path = path
        self.notes: tuple[str, ...] = ()
        wanted = json.loads(json.dumps(dict(description)))  # as it will be read again
        self.run = hash_json(wanted)
        here = {"jax": jax.__version__, "platform": jax.default_backend()}
        if path.exists() and not path.is_dir():
            raise TrainError(f"a run is a folder; {path} is a file; give another place")
        if re.search("[\ud800-\udfff]", os.path.abspath(path)):
            raise TrainError(
                f"a run lies in a folder whose path is UTF-8, which Orbax needs; got {str(path)!r}; give another place"
            )
        names = {one.name for one in path.iterdir() if not _is_leftover(one.name)} if path.is_dir() else set()
        if must_exist and RUN_NAME not in names:
            raise TrainError(f"there must be a run to go on with; {path} has none; leave --resume out")
        if names - {LOCK_NAME} and RUN_NAME not in names:
            raise TrainError(
                f"a run has a folder of its own; {path} has other files and no {RUN_NAME}; give another place"
            )
        path.mkdir(parents=True, exist_ok=True)
        self._lock: IO[bytes] = open_lock(path / LOCK_NAME)
        try:
            lock_file(self._lock, path)
            self._clean()
            if RUN_NAME in names:
                found = read_run(path / RUN_NAME)
                if not restart and found["run"] is not None:
                    self._compare(found, wanted, here)
                    return
                self._clear()
            self.write_json(RUN_NAME, {"kind": _KIND, **here, "run": wanted, "sha256": self.run})
        except BaseException:
            self._lock.close()
            raise

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Writes a file in one step, so that no half of it is ever there."""
        write_whole(self.path / name, dump_json(value, indent=2) + "\n")

    def write_manifest(self, name: str, entries: list[ManifestEntry], class_names: tuple[str, ...] | None) -> None:
        """Writes a list of videos that `read_manifest` reads: CSV, or JSON Lines where CSV can't hold a name."""
        labels = Labels(class_names, None)
        rows = [(os.path.abspath(entry.path), labels.write(entry.labels[0])) for entry in entries]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("path", "label"), *rows])
        content = text.getvalue()
        # Python before 3.13 quotes no carriage return; a byte that is not UTF-8 (half of a surrogate pair) has no code.
        if re.search("[\r\ud800-\udfff]", content):
            content = "".join(f"{dump_json({'path': path, 'label': label})}\n" for path, label in rows)
        write_whole(self.path / name, content)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: Any) -> None:
        self._lock.close()

    def _clean(self) -> None:
        """Removes what killed processes left, and puts back a model that one was about to replace."""
        recover_and_tell(self.path / MODEL_NAME)
        for name in (RUN_NAME, RESULT_NAME, _CHOSEN, MODEL_NAME):
            remove_leftovers(self.path / name)
            (self.path / f".{name}.part").unlink(missing_ok=True)  # of earlier versions

    def _clear(self) -> None:
        """Removes what a run writes, and nothing else. A process that ends in between leaves a run that is none."""
        self.write_json(RUN_NAME, {"kind": _KIND, "run": None})
        for name in (RESULT_NAME, METRICS_NAME, _CHOSEN, STATES_NAME, MODEL_NAME, _BOARD):
            place = self.path / name
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)

    def _compare(self, found: RunRecord, wanted: dict[str, Any], here: dict[str, str]) -> None:
        if differing := find_differences(found["run"], wanted):
            raise TrainError(
                f"{self.path} was begun by another run: {join_faults(differing)}; give another place, or --restart to "
                "begin anew"
            )
        if elsewhere := find_differences({name: found.get(name) for name in here}, here):
            self.notes = (
                f"the run was begun elsewhere ({join_faults(elsewhere)}): losses may differ in the last bits",
            )


def read_run(path: Path) -> RunRecord:
    """Reads the description of a run.

    Args:
      path: of run.json.

    Returns:
      Its content.

    Raises:
      TrainError: it describes no run, or another one than was written.
      OSError: it can't be read.
    """
    try:
        found: RunRecord = read_json(path, RunRecord)
        sha256 = hash_json(found["run"])
    except (JsonError, LimitError, RecursionError) as error:
        raise TrainError(f"{path} describes no run of this program ({error}); give another place") from error
    if found.get("sha256", sha256) != sha256:
        raise TrainError(
            f"{path} is damaged: its description is not the one that was written; give another place, or put the file "
            "back"
        )
    return found


def open_lock(path: Path) -> IO[bytes]:
    """Opens the file whose lock a run holds.

    Args:
      path: of the file; made if it is missing.

    Returns:
      The open file.

    Raises:
      TrainError: it is a link or no regular file.
      OSError: it can't be opened.
    """
    try:
        return open_own(path)
    except NotRegularError as error:
        raise TrainError(f"the lock of a run is a file of its own; {error}") from error


def _is_leftover(name: str) -> bool:
    """Tells whether a name is of what a process left that was killed while it wrote run.json."""
    return name == f".{RUN_NAME}.part" or (name.startswith(f".{RUN_NAME}-") and name.endswith(".partial"))
