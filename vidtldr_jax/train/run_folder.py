"""The folder of a run: which run it is, that one process has it, and where everything in it lies.

run.json       what decides the result; another run is refused
train.csv      the videos that were chosen, where few of each class were asked for
metrics.jsonl  a record per step and evaluation
checkpoints/   states to go on from
model/         the checkpoint folder that `load_model` reads, once the run is through
result.json    what came out
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import jax

from vidtldr_jax.data.labels import Labels
from vidtldr_jax.data.manifest import ManifestEntry
from vidtldr_jax.inference.records import find_differences, lock_file
from vidtldr_jax.train.errors import TrainError

_KIND: Final = "vidtldr-jax fine-tuning"
_RUN: Final = "run.json"
_LOCK: Final = ".lock"


class RunFolder:
    """A run's folder, locked. A context manager.

    Attributes:
      path: of it.
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
        here = {"jax": jax.__version__, "platform": jax.default_backend()}
        if path.exists() and not path.is_dir():
            raise TrainError(f"finetune: a run is a folder; {path} is a file; give another place.")
        names = {one.name for one in path.iterdir()} if path.is_dir() else set()
        if must_exist and _RUN not in names:
            raise TrainError(f"finetune: there must be a run to go on with; {path} has none; leave --resume out.")
        if names - {_LOCK} and _RUN not in names:
            raise TrainError(
                f"finetune: a run has a folder of its own; {path} has other files and no {_RUN}; give another place."
            )
        path.mkdir(parents=True, exist_ok=True)
        self._lock: IO[bytes] = (path / _LOCK).open("ab")
        try:
            lock_file(self._lock, path)
            if _RUN in names:
                found = _read_run(path / _RUN)
                if not restart and found["run"] is not None:
                    self._compare(found, wanted, here)
                    return
                self._clear()
            self.write_json(_RUN, {"kind": _KIND, **here, "run": wanted})
        except BaseException:
            self._lock.close()
            raise

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Writes a file beside its place first, so that no half of it is ever there."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Writes a file beside its place first."""
        aside = self.path / f".{name}.part"
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, self.path / name)

    def write_manifest(self, name: str, entries: list[ManifestEntry], class_names: tuple[str, ...] | None) -> None:
        """Writes a list of videos that `read_manifest` reads."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(("path", "label"))
        labels = Labels(class_names, None)
        for entry in entries:
            lines.writerow((os.path.abspath(entry.path), labels.write(entry.labels[0])))
        self.write_text(name, text.getvalue())

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: Any) -> None:
        self._lock.close()

    def _clear(self) -> None:
        """Removes what a run writes, and nothing else. A process that ends in between leaves a run that is none."""
        self.write_json(_RUN, {"kind": _KIND, "run": None})
        for name in ("result.json", "metrics.jsonl", "train.csv"):
            (self.path / name).unlink(missing_ok=True)
        for name in ("checkpoints", "model", "tensorboard"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def _compare(self, found: dict[str, Any], wanted: dict[str, Any], here: dict[str, str]) -> None:
        differing = find_differences(found["run"], wanted)
        if differing:
            raise TrainError(
                f"finetune: {self.path} was begun by another run: {'; '.join(differing)}; give another place, or "
                "--restart to begin anew."
            )
        if elsewhere := find_differences({name: found.get(name) for name in here}, here):
            self.notes = (f"the run was begun elsewhere ({'; '.join(elsewhere)}): losses may differ in the last bits",)


def _read_run(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("kind") != _KIND or not isinstance(found.get("run", ""), dict | None):
        raise TrainError(f"finetune: {path} describes no run of this program; give another place.")
    return found
