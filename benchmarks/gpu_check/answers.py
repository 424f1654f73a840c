"""Step 4: do the trained models of the accuracy benchmark answer in bfloat16 what they answer in float32?

Clips are drawn as the benchmark draws them, which needs the extra `pictures`, and for the captioned ones Debian's
tuxpaint-stamps-default; where something is missing, the row says what. Nothing is decoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
import safetensors.numpy

from benchmarks.accuracy import make_schedule
from benchmarks.accuracy_tasks import MAKERS, TRAINED, Options, Task, find_outputs
from benchmarks.gpu_check.programs import NO_TIME, describe_error
from benchmarks.gpu_check.sizes import Size
from benchmarks.gpu_check.steps import Deadline
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.load import build_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.architectures import restore_config

TASKS: Final = ("moving_objects", "captioned_objects")
BUDGETS: Final = (100, 50)  # per cent of the tokens that are left after the last layer
_BATCH_SIZE: Final = 64
_NUM_GALLERIES: Final = 2


def run(size: Size, deadline: Deadline, excluded: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Answer in both dtypes, task by task and model by model.

    Args:
      size: of the measurement.
      deadline: until when.
      excluded: forms of attention to leave out.

    Yields:
      Rows of plain data.
    """
    form = "blocked" if "kernel" in excluded else "auto"
    for name in TASKS:
        try:
            task = MAKERS[name](Options(num_clips=size.num_clips, num_galleries=_NUM_GALLERIES, stamps=size.stamps))
        except Exception as error:  # pictures that are not here; what else is wrong with them is recorded alike
            yield {"task": name, "left_out": describe_error(error)}
            continue
        for seed in range(min(size.num_trained, task.num_models)):
            yield from compare_answers(task, seed, form, deadline)


def compare_answers(task: Task, seed: int, form: str, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """Yield a row for each budget of one model."""
    models = {dtype: read_trained(f"{task.name}_{seed}", dtype, form) for dtype in ("float32", "bfloat16")}
    for budget in BUDGETS:
        row: dict[str, Any] = {"task": task.name, "model": seed, "budget": budget, "metric": task.metric_in_words}
        if deadline.seconds_left < 0:
            yield row | {"left_out": NO_TIME}
            continue
        hits = {}
        for dtype, model in models.items():
            merged = model.with_schedule(make_schedule(model.config.num_tokens, budget))
            with jax.default_matmul_precision("highest" if dtype == "float32" else "default"):
                outputs = find_outputs(merged, task.clips, batch_size=_BATCH_SIZE)
            hits[dtype] = task.find_hits(seed, outputs)[task.metric]
            row[dtype] = round(float(hits[dtype].mean()), 4)
        yield row | {"clips": len(task.clips), "same": round(float(np.mean(hits["float32"] == hits["bfloat16"])), 4)}


def read_trained(name: str, dtype: str, form: str) -> VideoModel:
    """Read one of the trained models, with nothing but NumPy and safetensors."""
    folder: Path = TRAINED / name
    fields = json.loads((folder / "config.json").read_text())
    params = safetensors.numpy.load_file(folder / "model.safetensors")
    config, preprocessing = restore_config(fields["architecture"]), Preprocessing.from_dict(fields["preprocessing"])
    return build_model(params, config, preprocessing=preprocessing, dtype=dtype, attention=form)
