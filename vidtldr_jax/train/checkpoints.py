"""Training states on disk, through Orbax: one folder per step, there whole or not at all, checked before it is read."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.state_digests import (
    STATE_NAME,
    DamageError,
    LogMark,
    check_metrics,
    check_state,
    has_digests,
    write_digests,
)
from vidtldr_jax.train.steps import TrainState
from vidtldr_jax.trust.digests import hash_bytes
from vidtldr_jax.trust.whole_files import recover_folder, remove_leftovers, replace_folder

NO_RUN: Final = hash_bytes(b"")
NO_METRICS: Final = LogMark(0, hash_bytes(b""))
_DIGITS: Final = 8
_PARTIAL: Final = ".partial-"


class Checkpoints:
    """The states of a run: the newest one, and that of the best evaluation. A context manager.

    Attributes:
      folder: where they are; each is a folder named by its step.
      run: SHA-256 of the run's description; states of other runs are refused.
    """

    def __init__(self, folder: Path, *, run: str = NO_RUN) -> None:
        """Takes the place; what an ended process left half written there is removed.

        Args:
          folder: where to; made if it is missing.
          run: SHA-256 of the run's description.

        Raises:
          TrainError: Orbax is not installed.
        """
        self.folder = folder.absolute()
        self.run = run
        self._sound: set[int] = set()
        self.folder.mkdir(parents=True, exist_ok=True)
        for rest in self.folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(rest, ignore_errors=True)
        for name in {path.name[1:].partition("-")[0] for path in self.folder.glob(".*-*.partial")}:
            recover_folder(self.folder / name)
            remove_leftovers(self.folder / name)
        self._writer = _import_orbax().StandardCheckpointer()

    def list_steps(self) -> list[int]:
        """Returns the steps that there is a state of, ascending."""
        return list_steps(self.folder)

    def find_place(self, step: int) -> Path:
        """Returns the folder of a state."""
        return find_place(self.folder, step)

    def find_newest(self, metrics: Path, *, needs_metrics: bool = True) -> tuple[int, tuple[str, ...]]:
        """Finds the state to go on from: the newest one that is whole. Steps since then give the same numbers again.

        Args:
          metrics: file of the run's metrics.
          needs_metrics: whether the file must be there; if it is, it must be what was written.

        Returns:
          Its step, 0 where there is none; and what a user should know: which newer ones are damaged.

        Raises:
          TrainError: there are states, and all are damaged.
          OSError: a file can't be read.
        """
        notes: list[str] = []
        is_lost = not needs_metrics and not metrics.exists()
        for step in reversed(self.list_steps()):
            try:
                note = self._check(step, None if is_lost else metrics)
            except DamageError as error:
                notes.append(f"the state of step {step} is damaged ({error}): it is not used")
                continue
            self._sound.add(step)  # not again when it is restored
            lost = f"{metrics.name} is missing: what it told of the steps up to {step} is lost" if is_lost else None
            return step, tuple(filter(None, (*notes, note, lost)))
        if notes:
            raise TrainError(
                f"a state must be whole to go on from; in {self.folder} {'; '.join(notes)}; give another place, or "
                "--restart to begin anew"
            )
        return 0, ()

    def save(self, step: int, state: TrainState, mark: LogMark = NO_METRICS) -> None:
        """Writes a state with its digests; a whole one that is there is left alone.

        Args:
          step: how many steps were done.
          state: after them.
          mark: of the metrics up to this step, which are on the disk.

        Raises:
          TrainError: it can't be written; the message names the last state that is safe.
        """
        place = self.find_place(step)
        if place.exists() and self._is_sound(step):
            return
        values = jax.tree.map(np.asarray, state._asdict())
        try:
            _check_space(self.folder, sum(leaf.nbytes for leaf in jax.tree.leaves(values)))
            with replace_folder(place) as aside, _quiet():
                self._writer.save(aside / STATE_NAME, values)
                self._writer.wait_until_finished()
                write_digests(aside, step=step, run=self.run, mark=mark)
        except Exception as error:  # whatever Orbax and its storage may raise of a full disk
            raise TrainError(
                f"{place}: the state of step {step} can't be written ({_describe(error)}); {self.describe_safe()}"
            ) from error

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Reads a state after its files were compared with their digests.

        Args:
          step: which one.
          like: a state of the same run; its values don't matter.

        Returns:
          The state, on the device.

        Raises:
          TrainError: it is damaged, can't be read or has other shapes.
        """
        place = self.find_place(step)
        wanted = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like._asdict())
        try:
            if step not in self._sound:
                self._check(step, None)
            self._sound.discard(step)
            with _quiet():
                found = self._writer.restore(place / STATE_NAME if has_digests(place) else place, wanted)
        except Exception as error:  # whatever Orbax and its storage may raise of a damaged folder
            raise TrainError(
                f"a state must be whole to go on from; {place} is damaged ({_shorten(str(error))}); take the folder "
                "away to go on from another one, or --restart to begin anew"
            ) from error
        shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (wanted, found)]
        if shapes[0] != shapes[1]:
            raise TrainError(f"{place} is the state of another model or optimiser; --restart to begin anew")
        if int(found["step"]) != step:
            raise TrainError(f"{place} is the state of step {int(found['step'])}; --restart to begin anew")
        return TrainState(**jax.tree.map(jax.numpy.array, found))

    def require(self, step: int) -> None:
        """Makes sure that a state that is needed later is whole.

        Args:
          step: which one.

        Raises:
          TrainError: it is damaged or missing.
        """
        try:
            self._check(step, None)
        except (DamageError, OSError) as error:
            raise TrainError(
                f"the state of the best evaluation is needed in the end; {self.find_place(step)} is damaged "
                f"({_shorten(str(error))}); --restart to begin anew"
            ) from error

    def prune(self, kept: set[int]) -> None:
        """Removes all states but some."""
        for step in self.list_steps():
            if step not in kept:
                # Renamed first: a folder that is half removed must not look like a state.
                aside = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.folder))
                os.rename(self.find_place(step), aside / STATE_NAME)
                shutil.rmtree(aside, ignore_errors=True)

    def describe_safe(self) -> str:
        """Returns what a run that stops now can rely on."""
        steps = [step for step in self.list_steps() if self._is_sound(step)]
        if not steps:
            return "no state of the run is on the disk yet; make space, then start again"
        return f"step {steps[-1]} is safe; make space, and the same command goes on from there"

    def _check(self, step: int, metrics: Path | None) -> str | None:
        """Checks a state; returns a note on one that has no digests."""
        place = self.find_place(step)
        if place.is_symlink() or not place.is_dir():
            raise DamageError("it is no folder")
        if not has_digests(place):
            return f"the state of step {step} is of a version that wrote no digests: its files are not checked"
        record = check_state(place, step=step, run=self.run)
        if metrics is not None:
            check_metrics(metrics, record)
        return None

    def _is_sound(self, step: int) -> bool:
        try:
            self._check(step, None)
        except (DamageError, OSError):
            return False
        return True

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.close()


def list_steps(folder: Path) -> list[int]:
    """Returns the steps that a folder has states of, ascending."""
    names = (path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal() and len(name) >= _DIGITS)


def find_place(folder: Path, step: int) -> Path:
    """Returns where the state of a step is in a folder of states."""
    return folder / f"{step:0{_DIGITS}d}"


def _check_space(folder: Path, num_bytes: int) -> None:
    """Refuses to begin what the disk has no room for: Orbax answers a full disk with tracebacks of all its threads."""
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {num_bytes:,} bytes are needed, {free:,} are free")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what Orbax logs of an error off the terminal; the error is raised too, and told in one line."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _describe(error: Exception) -> str:
    text = str(error)
    if "ENOSPC" in text:  # of Orbax's storage, behind much else
        return os.strerror(errno.ENOSPC)
    return _shorten(error.strerror if isinstance(error, OSError) and error.strerror else text)


def _shorten(reason: str) -> str:
    return " ".join(reason.split())[:200]


def _import_orbax() -> Any:
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise TrainError(
            "checkpoints of a run need orbax-checkpoint, which is not installed; pip install 'vidtldr-jax[train]'"
        ) from error
    return orbax.checkpoint
