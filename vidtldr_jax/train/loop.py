"""The loop: steps, evaluations, states to go on from, and in the end a checkpoint folder that `load_model` reads.

    setup = prepare("checkpoints/umt-b16-k400", "train.csv", Recipe(steps=500, few=5), val="val.csv")
    result = finetune(setup, "runs/mine")

A process that is killed goes on when it is started again the same way, with the same losses to the bit on the same
machine: clips, their order and what is random in them depend on the seed and the number of the step alone.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import jax

from vidtldr_jax.inference.checkpoint import save_checkpoint
from vidtldr_jax.train.checkpoints import Checkpoints
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.evaluation import Rows, classify_rows, encode_entries, make_model, score
from vidtldr_jax.train.examples import Batch, stream_batches, stream_feature_batches
from vidtldr_jax.train.metrics import EVALUATION, STEP, MetricsLog
from vidtldr_jax.train.run_folder import METRICS_NAME, MODEL_NAME, RESULT_NAME, STATES_NAME, RunFolder
from vidtldr_jax.train.setup import Setup
from vidtldr_jax.train.steps import (
    Metrics,
    TrainState,
    choose_params,
    init_state,
    make_dropout_key,
    split_params,
    train_step,
)
from vidtldr_jax.trust.digests import hash_json

_SECONDS_BETWEEN_SAVES: Final = 120.0


def finetune(
    setup: Setup,
    out: str | os.PathLike[str],
    *,
    restart: bool = False,
    must_resume: bool = False,
    save_every: int | None = None,
    num_workers: int = 0,
    skips: bool = False,
    use_tensorboard: bool = False,
    tell: Callable[[str], None] = lambda note: None,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Trains, or goes on.

    Args:
      setup: what `prepare` returned.
      out: folder of the run; see `run_folder`.
      restart: forget what is there.
      must_resume: refuse to begin a new run.
      save_every: steps between states; None for every two minutes. At every evaluation there is one in any case.
      num_workers: processes that read videos; 0 is a thread.
      skips: take other videos instead of those that can't be read, and count these as wrong in evaluations.
      use_tensorboard: write events for TensorBoard too.
      tell: called with what a user should know.
      progress: called with the number of steps that are done now; first with those of earlier starts.

    Returns:
      Plain data: `model` (the folder), `steps`, `kept_step`, `resumed_from`, `videos`, `train` (the last step's
      metrics), `val_before`, `val` (of the kept parameters), `unreadable` and `notices` by name.

    Raises:
      TrainError: the folder is another run's, a video can't be read, or the loss is not finite.
      RecordsError: another process has the folder.
      WorkerError: see `read_videos`.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(RunFolder(Path(out), setup.description, restart=restart, must_exist=must_resume))
        for note in (*setup.notes, *folder.notes):
            tell(note)
        if setup.recipe.few is not None:
            folder.write_manifest("train.csv", setup.train, setup.classes.names)
        checkpoints = stack.enter_context(Checkpoints(folder.path / STATES_NAME, run=folder.run))
        is_best = setup.recipe.keep == "best"
        first, notes = checkpoints.find_newest(folder.path / METRICS_NAME, needs_metrics=is_best)
        for note in notes:
            tell(note)
        board = folder.path / "tensorboard" if use_tensorboard else None
        log = stack.enter_context(MetricsLog(folder.path / METRICS_NAME, last_step=first, tensorboard=board))
        if first:
            tell(f"goes on from step {first} of {setup.num_steps}")
        if is_best and (best := log.find_best()) is not None:
            checkpoints.require(best)
        try:
            run = _Run(setup, checkpoints, log, save_every, num_workers, skips)
            progress(first)
            run.train(first, progress)
            result = run.finish(folder.path / MODEL_NAME) | {"resumed_from": first}
            folder.write_json(RESULT_NAME, {**result, "sha256": hash_json(result)})
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            place = f"{error.filename}: " if error.filename else ""
            raise TrainError(f"{place}{error.strerror}; {checkpoints.describe_safe()}") from error
        return result


class _Run:
    """The parts of a run while it goes on."""

    def __init__(
        self,
        setup: Setup,
        checkpoints: Checkpoints,
        log: MetricsLog,
        save_every: int | None,
        num_workers: int,
        skips: bool,
    ) -> None:
        self._setup, self._checkpoints, self._log = setup, checkpoints, log
        self._save_every = save_every
        self._reading: dict[str, Any] = {"num_workers": num_workers, "skips": skips, "unreadable": {}, "notices": {}}
        self._step_setup = setup.step_setup
        self._key = make_dropout_key(setup.recipe.seed)
        trained, self._frozen = split_params(setup.params, setup.recipe)
        self._frozen = {path: jax.numpy.asarray(value) for path, value in self._frozen.items()}
        self._state = init_state(trained, self._step_setup)
        self._val_features: Rows | None = None
        self._last_save = self._last_record = time.monotonic()

    def train(self, first: int, progress: Callable[[int], None]) -> None:
        """Takes the steps that are left."""
        setup = self._setup
        if first:
            self._state = self._checkpoints.restore(first, self._state)
        elif setup.val and not setup.classes.is_new and not self._log.evaluations:
            self._evaluate(0)
        if first >= setup.num_steps:
            return
        pending: tuple[int, Metrics] | None = None
        with contextlib.closing(self._stream(first)) as batches:
            for done, batch in enumerate(batches, start=first + 1):
                self._state, metrics = train_step(self._state, self._frozen, batch, self._key, setup=self._step_setup)
                if pending is not None:  # a step behind, so that the device need not wait
                    self._record(*pending)
                pending = done, metrics
                is_evaluated = self._is_evaluated(done)
                if is_evaluated or self._is_saved(done):
                    self._record(*pending)
                    pending = None
                    if is_evaluated and setup.val:
                        self._evaluate(done)
                    self._save(done)
                progress(1)

    def finish(self, place: Path) -> dict[str, Any]:
        """Writes the model and returns the results."""
        setup, log = self._setup, self._log
        kept = setup.num_steps
        if setup.recipe.keep == "best":
            kept = log.find_best() or kept
        state = self._state if kept == setup.num_steps else self._checkpoints.restore(kept, self._state)
        records = {record["step"]: _strip(record) for record in log.evaluations}
        source = {
            "made_by": "vidtldr finetune",
            "run": setup.description,
            "step": kept,
            "val": records.get(kept),
            "started_from": setup.stored.source,
        }
        save_checkpoint(
            place,
            params=self._join(state),
            config=setup.config,
            preprocessing=setup.stored.preprocessing,
            family=setup.stored.family,
            labels=setup.classes.names,
            source=source,
        )
        return {
            "model": str(place),
            "steps": setup.num_steps,
            "kept_step": kept,
            "videos": len(setup.train),
            "classes": setup.classes.num_classes,
            "has_new_classifier": setup.classes.is_new,
            "schedule": setup.schedule.text,
            "method": setup.schedule.method.name,
            "train": None if log.last is None else _strip(log.last),
            "val_before": records.get(0),
            "val": records.get(kept),
            "unreadable": self._reading["unreadable"],
            "notices": self._reading["notices"],
        }

    def _stream(self, first: int) -> Generator[Batch, None, None]:
        setup, stored = self._setup, self._setup.stored
        if not self._step_setup.takes_features:
            return stream_batches(
                setup.train, stored.preprocessing, setup.recipe, first=first, num_steps=setup.num_steps, **self._reading
            )
        rows = self._encode(setup.train, setup.recipe.schedule)
        labels = [entry.labels[0] for entry, is_read in zip(setup.train, rows.is_read) if is_read]
        return stream_feature_batches(
            rows.values[rows.is_read], labels, setup.recipe, first=first, num_steps=setup.num_steps
        )

    def _encode(self, entries: list[Any], schedule: str) -> Rows:
        """Computes what the classifier sees of each video, once."""
        model = make_model(self._setup, self._join(self._state), schedule)
        return encode_entries(
            model, entries, output="pooled", batch_size=self._setup.recipe.batch_size, **self._reading
        )

    def _evaluate(self, step: int) -> None:
        setup, recipe = self._setup, self._setup.recipe
        schedule = recipe.eval_schedule or recipe.schedule
        if self._step_setup.takes_features:
            if self._val_features is None:
                self._val_features = self._encode(setup.val, schedule)
            logits = classify_rows(choose_params(self._state), self._val_features)
        else:
            model = make_model(setup, self._join(self._state), schedule)
            logits = encode_entries(model, setup.val, output="logits", batch_size=recipe.batch_size, **self._reading)
        self._log.append(EVALUATION, step, score(logits, [entry.labels[0] for entry in setup.val]))
        self._last_record = time.monotonic()

    def _record(self, step: int, metrics: Metrics) -> None:
        values = {name: float(value) for name, value in metrics._asdict().items()}
        if not all(math.isfinite(value) for value in values.values()):
            raise TrainError(
                f"losses and gradients are finite; at step {step} the loss was {values['loss']} and the "
                f"gradients' norm {values['gradient_norm']}; take a smaller learning_rate, a longer warmup, or float32"
            )
        now = time.monotonic()
        self._log.append(STEP, step, {**values, "seconds": round(now - self._last_record, 4)})
        self._last_record = now

    def _save(self, step: int) -> None:
        self._checkpoints.save(step, self._state, self._log.mark())  # the records are on the disk before the state is
        best = self._log.find_best()
        self._checkpoints.prune({step} if best is None else {step, best})
        self._last_save = time.monotonic()

    def _is_evaluated(self, step: int) -> bool:
        every = self._setup.recipe.evaluate_every
        return step == self._setup.num_steps or (every is not None and step % every == 0)

    def _is_saved(self, step: int) -> bool:
        if self._save_every is not None:
            return step % self._save_every == 0
        return time.monotonic() - self._last_save > _SECONDS_BETWEEN_SAVES

    def _join(self, state: TrainState) -> dict[str, Any]:
        return {**self._frozen, **choose_params(state)}


def _strip(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "kind"}
