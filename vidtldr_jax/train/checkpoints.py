"""Training states on disk, through Orbax: one folder per step, there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.steps import TrainState

_DIGITS: Final = 8
_PARTIAL: Final = ".partial-"


class Checkpoints:
    """The states of a run: the newest one, and that of the best evaluation. A context manager.

    Attributes:
      folder: where they are; each is a folder named by its step.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the place; what an ended process left half written there is removed.

        Args:
          folder: where to; made if it is missing.

        Raises:
          TrainError: Orbax is not installed.
        """
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        for rest in self.folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(rest, ignore_errors=True)
        self._writer = _import_orbax().StandardCheckpointer()

    def list_steps(self) -> list[int]:
        """Returns the steps that there is a state of, ascending."""
        names = (path.name for path in self.folder.iterdir() if path.is_dir())
        return sorted(int(name) for name in names if name.isdecimal())

    def save(self, step: int, state: TrainState) -> None:
        """Writes a state beside its place first, then renames it; one that is there is left alone."""
        place = self.folder / f"{step:0{_DIGITS}d}"
        if place.exists():
            return
        aside = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.folder))
        self._writer.save(aside / "state", jax.tree.map(np.asarray, state._asdict()))
        self._writer.wait_until_finished()
        os.rename(aside / "state", place)
        aside.rmdir()

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Reads a state.

        Args:
          step: which one.
          like: a state of the same run; its values don't matter.

        Returns:
          The state, on the device.

        Raises:
          TrainError: it can't be read or has other shapes.
        """
        place = self.folder / f"{step:0{_DIGITS}d}"
        wanted = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like._asdict())
        try:
            found = self._writer.restore(place, wanted)
        except Exception as error:  # whatever Orbax and its storage may raise of a damaged folder
            reason = " ".join(str(error).split())[:200]
            raise TrainError(
                f"finetune: a state must be whole to go on from; {place} is damaged ({reason}); take the folder away "
                "to go on from another one, or --restart to begin anew."
            ) from error
        shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (wanted, found)]
        if shapes[0] != shapes[1]:
            raise TrainError(f"finetune: {place} is the state of another model or optimiser; --restart to begin anew.")
        return TrainState(**jax.tree.map(jax.numpy.array, found))

    def prune(self, kept: set[int]) -> None:
        """Removes all states but some."""
        for step in self.list_steps():
            if step not in kept:
                # Renamed first: a folder that is half removed must not look like a state.
                place = self.folder / f"{step:0{_DIGITS}d}"
                aside = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.folder))
                os.rename(place, aside / "state")
                shutil.rmtree(aside, ignore_errors=True)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.close()


def _import_orbax() -> Any:
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise TrainError(
            "finetune: checkpoints of a run need orbax-checkpoint, which is not installed; pip install "
            "'vidtldr-jax[train]'."
        ) from error
    return orbax.checkpoint
