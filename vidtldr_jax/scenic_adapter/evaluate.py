r"""Evaluation of a checkpoint in several views, with and without merging. No training, no optimizer.

    python -m vidtldr_jax.scenic_adapter.evaluate \
        --config=configs/scenic/k400_b16x2.py --checkpoint=vivit_b16x2/checkpoint --workdir=results/k400

The config is run as Python: give only one that you trust.

Runs the test split of the config's data set. The scores of a video are the mean over its views of the logits, or of the
probabilities where `config.multicrop_softmax_logits` says so, as Scenic's own test has it. Writes `evaluation.json`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vidtldr_jax.scenic_adapter.availability import require_scenic

require_scenic(exits=__name__ == "__main__")

import flax  # noqa: E402  # Scenic's flags are defined by the imports below, after the check that explains what is missing
import jax  # noqa: E402
import numpy as np  # noqa: E402
from absl import flags, logging  # noqa: E402
from flax import jax_utils  # noqa: E402
from scenic import app  # noqa: E402

from vidtldr_jax.evaluation.heads import Head, answer, count_accuracies  # noqa: E402
from vidtldr_jax.evaluation.metrics import compute_mean_average_precision  # noqa: E402
from vidtldr_jax.reduction import ResolvedSchedule, count_macs, count_xla_gmacs  # noqa: E402
from vidtldr_jax.reduction.fitting import fit_schedule  # noqa: E402
from vidtldr_jax.reduction.schedule import ScheduleEntry  # noqa: E402
from vidtldr_jax.scenic_adapter.checkpoints import check_params, find_shapes, read_checkpoint  # noqa: E402
from vidtldr_jax.scenic_adapter.config_check import check_config, check_sharing  # noqa: E402
from vidtldr_jax.scenic_adapter.config_fields import SUFFIX  # noqa: E402
from vidtldr_jax.scenic_adapter.datasets import build_dataset  # noqa: E402
from vidtldr_jax.scenic_adapter.models import build_merging_module, get_model_cls  # noqa: E402
from vidtldr_jax.scenic_adapter.one_line import end_in_one_line  # noqa: E402
from vidtldr_jax.scenic_adapter.settings import (  # noqa: E402
    TokenMerging,
    read_architecture,
    read_preprocessing,
    read_token_merging,
)
from vidtldr_jax.trust.harmless import dump_json, make_lines_harmless  # noqa: E402
from vidtldr_jax.trust.whole_files import write_whole  # noqa: E402

flags.DEFINE_string("checkpoint", None, "File of Scenic's model zoo or of a run, or a folder with them.")
flags.DEFINE_bool("scenic_module", False, "Also run Scenic's own module, unchanged, as a third way.")


def main(rng: jax.Array, config: Any, workdir: str, writer: Any) -> dict[str, Any]:
    """Evaluates; `scenic.app` calls it.

    Args:
      rng: of the data set.
      config: the experiment's ConfigDict; `multicrop_clips_per_device` views run at once on a device (2 if missing).
      workdir: where `evaluation.json` goes.
      writer: of metrics.

    Returns:
      What is written to `evaluation.json`.
    """
    with end_in_one_line():
        result = evaluate(config, flags.FLAGS.checkpoint, rng=rng, use_scenic_module=flags.FLAGS.scenic_module)
        folder = Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "evaluation.json", dump_json(result, indent=2) + "\n")
    for name, way in result["ways"].items():
        writer.write_scalars(result["step"] or 0, {f"{name}/{key}": value for key, value in way["metrics"].items()})
    print(make_lines_harmless(describe(result)))
    return result


def evaluate(config: Any, checkpoint: str | None, *, rng: jax.Array, use_scenic_module: bool = False) -> dict[str, Any]:
    """Runs a checkpoint over the test split in all ways.

    Args:
      config: the experiment's ConfigDict.
      checkpoint: file or folder.
      rng: of the data set.
      use_scenic_module: also run Scenic's own module.

    Returns:
      Plain data: protocol, counts, and of every way metrics, GMACs and seconds.

    Raises:
      ValueError: there is no checkpoint or test split, they don't fit each other, the config asks for what nobody would
        do, the devices can't share the views evenly, or there are several hosts.
    """
    if checkpoint is None:
        raise ValueError("weights are needed; got no --checkpoint; give a file of the model zoo or of a run.")
    if jax.process_count() > 1:
        raise ValueError(f"one host is needed; got {jax.process_count()}; start it on one.")
    check_config(config, is_training=False)
    devices = {"num_devices": jax.device_count(), "num_local_devices": jax.local_device_count()}
    check_sharing(config, **devices, is_training=False)
    if config.get("init_from"):
        logging.info("init_from is not read: all parameters come from --checkpoint")
    read = read_checkpoint(checkpoint)
    merging = read_token_merging(config.model)
    dataset_config = copy.deepcopy(config)
    # Scenic's batches are for training too; here one says how many videos the devices share.
    dataset_config.batch_size = config.get("batch_size", jax.device_count())
    dataset_config.data_dtype_str = config.get("data_dtype_str", "float32")
    dataset = build_dataset(dataset_config, rng)
    meta = dataset.meta_data
    if dataset.test_iter is None or not meta.get("num_test_examples"):
        raise ValueError("the data set must have a test split; it has none; name one in dataset_configs.")
    ways = _choose_ways(config, meta, merging, use_scenic_module)
    for way in ways.values():
        check_params(read.params, find_shapes(way.module, (1, *meta["input_shape"][1:])))
    runners = {name: _Runner(way.module, read.params, config) for name, way in ways.items()}
    views = read_preprocessing(config).num_views
    labels, scores = _run(runners, dataset.test_iter, meta["num_test_examples"] // views, views)
    architecture = read_architecture(config, num_classes=meta["num_classes"])
    found = {
        name: {
            "schedule": way.schedule.title,
            "clamps": list(way.schedule.clamps),
            "gmacs_per_view": count_macs(architecture, way.schedule).gmacs,
            "xla_gmacs_per_view": count_xla_gmacs(architecture, way.schedule),
            "seconds": runners[name].seconds,
            "compile_seconds": runners[name].compile_seconds,
            "metrics": _compute_metrics(config, scores[name], labels),
        }
        for name, way in ways.items()
    }
    return {
        "checkpoint": str(read.path),
        "step": read.step,
        "model": config.model_name,
        "dataset": config.dataset_name,
        "videos": len(labels),
        "views": views,
        "averaged": "probabilities" if config.get("multicrop_softmax_logits", False) else "logits",
        "devices": [device.device_kind for device in jax.local_devices()],
        "versions": {"jax": jax.__version__, "flax": flax.__version__, "numpy": np.__version__},
        "ways": found,
        "agreement": _find_agreement(scores),
    }


def describe(result: dict[str, Any]) -> str:
    """Writes a result as text."""
    lines = [
        f"{result['model']} on {result['dataset']}: {result['videos']} videos x {result['views']} views, "
        f"{result['averaged']} averaged"
    ]
    for name, way in result["ways"].items():
        accuracies = ", ".join(f"{key} {value:.2%}" for key, value in way["metrics"].items())
        lines.append(
            f"  {name} (schedule {way['schedule']}): {accuracies}; {way['gmacs_per_view']:.4g} GMACs per view, "
            f"{way['seconds']:.3g} s and {way['compile_seconds']:.3g} s of compiling"
        )
        lines += [f"    {clamp}" for clamp in way["clamps"]]
    if result["agreement"] is not None:
        lines.append(f"  plain and merged agree on {result['agreement']:.2%} of the videos")
    return "\n".join(lines)


class _Runner:
    """A module over all local devices, some views at a time, and the time that it takes."""

    def __init__(self, module: Any, params: Any, config: Any) -> None:
        self._params = jax_utils.replicate(params)
        self._chunk = config.get("multicrop_clips_per_device", 2)
        self._use_softmax = config.get("multicrop_softmax_logits", False)
        self._apply = jax.pmap(lambda p, x: module.apply({"params": p}, x, train=False, mutable=False, debug=False))
        self.seconds = self.compile_seconds = 0.0
        self._is_compiled = False

    def score(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the logits, or probabilities, of `[devices, views, T, Y, X, C]`: `[devices, views, classes]`."""
        count = inputs.shape[1]
        padded = np.concatenate([inputs, np.repeat(inputs[:, -1:], -count % self._chunk, axis=1)], axis=1)
        chunks = []
        for first in range(0, padded.shape[1], self._chunk):
            part = padded[:, first : first + self._chunk]
            if not self._is_compiled:
                start = time.perf_counter()
                jax.block_until_ready(self._apply(self._params, part))
                self.compile_seconds, self._is_compiled = time.perf_counter() - start, True
            start = time.perf_counter()
            chunks.append(np.asarray(jax.block_until_ready(self._apply(self._params, part)), np.float32))
            self.seconds += time.perf_counter() - start
        logits = np.concatenate(chunks, axis=1)[:, :count]
        return np.asarray(jax.nn.softmax(logits)) if self._use_softmax else logits


def _run(
    runners: dict[str, _Runner], batches: Iterator[dict[str, Any]], num_videos: int, views: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Runs all ways over the videos; returns labels and the mean scores of every way."""
    labels: list[np.ndarray] = []
    scores: dict[str, list[np.ndarray]] = {name: [] for name in runners}
    seen = 0
    while seen < num_videos:
        batch = jax.tree.map(np.asarray, next(batches))
        mask = batch["batch_mask"].reshape(-1, views)[:, 0] > 0
        if not mask.any():
            raise ValueError(f"{num_videos} videos are promised; the data set ended after {seen}.")
        # What follows the last video is the next round's beginning.
        mask &= np.cumsum(mask) <= num_videos - seen
        seen += int(mask.sum())
        labels.append(batch["label"].reshape(-1, views, batch["label"].shape[-1])[mask, 0])
        for name, runner in runners.items():
            every = runner.score(batch["inputs"])
            averaged = every.reshape(-1, views, every.shape[-1]).mean(1)[mask]
            check_finite(averaged, way=name, first=seen - len(averaged))
            scores[name].append(averaged)
        logging.log_every_n_seconds(logging.INFO, "%d of %d videos", 30, seen, num_videos)
    return np.concatenate(labels), {name: np.concatenate(parts) for name, parts in scores.items()}


def check_finite(scores: np.ndarray, *, way: str, first: int) -> None:
    """Refuses scores that are no numbers: an accuracy made of them would mean nothing.

    Args:
      scores: `[videos, classes]`.
      way: that made them.
      first: place of the first of these videos in the test split.

    Raises:
      ValueError: a score is infinite or NaN.
    """
    is_broken = ~np.isfinite(scores).all(-1)
    if is_broken.any():
        raise ValueError(
            f"scores are finite numbers; got others for video {first + int(is_broken.argmax()) + 1} of the test split "
            f"({way}); check the checkpoint, and that video."
        )


class _Way(NamedTuple):
    """One module of a comparison, and what it merges."""

    module: Any
    schedule: ResolvedSchedule


def _choose_ways(
    config: Any, meta: dict[str, Any], merging: TokenMerging | None, use_scenic_module: bool
) -> dict[str, _Way]:
    """Builds our module plain and, where the config merges, merged; Scenic's where asked for or where ours has none."""
    num_classes = meta["num_classes"]
    architecture = read_architecture(config, num_classes=num_classes)

    ways = {}
    schedules: dict[str, tuple[ScheduleEntry, ...]] = {"plain": ()} if architecture.is_mergeable else {}
    if merging is not None and not merging.is_plain:
        schedules["merged"] = merging.schedule  # building it says why where nothing can be merged
    for name, schedule in schedules.items():
        asked = TokenMerging(schedule=schedule, method=merging.method if merging else "vidtldr", attention="auto")
        module = build_merging_module(config, num_classes=num_classes, merging=asked)
        ways[name] = _Way(module, fit_schedule(architecture, schedule, method=asked.method))
    if use_scenic_module or not ways:
        model_cls = get_model_cls(config.model_name.removesuffix(SUFFIX))
        ways["scenic"] = _Way(model_cls(config, meta).flax_model, fit_schedule(architecture, ()))
    return ways


def _compute_metrics(config: Any, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    if "multilabel" in config.model_name:
        value = compute_mean_average_precision(scores, labels)
        return {} if math.isnan(value) else {"mean_average_precision": value}
    splits = tuple(config.dataset_configs.get("class_splits") or (labels.shape[-1],))
    names = tuple(config.dataset_configs.get("split_names") or [str(n + 1) for n in range(len(splits))])
    heads = [Head(name, count) for name, count in zip(names, splits)]
    numbers = np.stack([part.argmax(-1) for part in np.split(labels, np.cumsum(splits)[:-1], axis=-1)], axis=-1)
    # The views are averaged already.
    answers = [answer(score[None], heads, right, average="logits") for score, right in zip(scores, numbers)]
    found = count_accuracies(answers, heads)
    return {
        top if len(heads) == 1 else f"{name}_{top}": share["value"]
        for name, tops in found.items()
        for top, share in tops.items()
    }


def _find_agreement(scores: dict[str, np.ndarray]) -> float | None:
    if "merged" not in scores:
        return None
    return float((scores["plain"].argmax(-1) == scores["merged"].argmax(-1)).mean())


if __name__ == "__main__":
    flags.mark_flag_as_required("checkpoint")
    app.run(main=main)
