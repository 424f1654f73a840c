"""Measures the shipped model on held-out clips, plain and merged, and writes the results as JSON.

    python scripts/moving_objects/evaluate.py --out benchmarks/results/moving_objects_accuracy.json

The clips show digits and photos that training never saw. Every schedule sees the same ones, so that a schedule is
compared with the plain model clip by clip: how many answers it spoils and corrects. Two runs of the plain model
check the task itself: on the middle frame alone (it says nothing about the motion) and on the frames in random order.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from clips import draw_clips, load_small_pictures
from pictures import PHOTOS, Split

from vidtldr_jax.inference.load import load_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.reduction.cost import count_macs

SCHEDULES = (
    "none",
    "36",
    "72",
    "36,36",
    "100,40",
    "72,54,40",
    "144",
    "144,72",
    "144,72,36",
    "144,72,36,18",
)
_BATCH_SIZE = 64


def load_test_clips(num_clips: int, seed: int, split: Split = "test") -> tuple[np.ndarray, np.ndarray]:
    """Renders the held-out clips, uint8 `[num, T, Y, X, 3]`, and their labels."""
    pictures = load_small_pictures(split)
    batches = -(-num_clips // _BATCH_SIZE)
    parts = [draw_clips(pictures, split, n, batch_size=_BATCH_SIZE, seed=seed) for n in range(batches)]
    clips, labels = (np.concatenate(side) for side in zip(*parts, strict=True))
    return clips, labels


def predict_labels(
    model: VideoModel, clips: np.ndarray, change: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """Returns the most likely label of each clip.

    Args:
      model: the model.
      clips: uint8, at the model's size.
      change: what to do with each batch before; None for nothing.

    Returns:
      Indices of labels.
    """
    mean, std = (np.asarray(part, np.float32) for part in (model.preprocessing.mean, model.preprocessing.std))
    answers = []
    for first in range(0, len(clips), _BATCH_SIZE):
        batch = clips[first : first + _BATCH_SIZE]
        video = ((batch if change is None else change(batch)).astype(np.float32) / 255 - mean) / std
        answers.append(np.asarray(model.classify(video)).argmax(-1))
    return np.concatenate(answers)


def find_interval(hits: int, total: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a share."""
    z = 1.96
    share, spread = hits / total, z * z / total
    middle = share + spread / 2
    half = math.sqrt(spread * share * (1 - share) + spread * spread / 4)
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def find_sign_test(lost: int, gained: int) -> float:
    """Returns the two-sided p-value of the exact sign test: chance that a fair coin splits so unevenly."""
    total = lost + gained
    tail = sum(math.comb(total, k) for k in range(min(lost, gained) + 1))
    return min(1.0, 2 * tail / 2**total)


def measure(model: VideoModel, clips: np.ndarray, labels: np.ndarray, schedules: list[str]) -> list[dict[str, Any]]:
    """Measures every schedule on the same clips.

    Args:
      model: its parameters are shared by all schedules.
      clips: uint8.
      labels: the truth.
      schedules: as `parse_schedule` reads them.

    Returns:
      One row per schedule, as it goes into the JSON.
    """
    plain_is_right = predict_labels(model.with_schedule(None), clips) == labels
    rows = []
    for text in schedules:
        merged = model.with_schedule(text)
        is_right = plain_is_right if merged.schedule.is_plain else predict_labels(merged, clips) == labels
        lost, gained = int((plain_is_right & ~is_right).sum()), int((~plain_is_right & is_right).sum())
        low, high = find_interval(int(is_right.sum()), len(labels))
        rows.append(
            {
                "schedule": merged.schedule.text,
                "clamps": list(merged.schedule.clamps),
                "tokens": list(merged.schedule.tokens),
                "gmacs": round(count_macs(model.config, merged.schedule).gmacs, 4),
                "accuracy": round(float(is_right.mean()), 4),
                "accuracy_interval_95": [round(low, 4), round(high, 4)],
                "right_only_plain": lost,
                "right_only_merged": gained,
                "sign_test_two_sided_p": float(f"{find_sign_test(lost, gained):.3g}"),
                "accuracy_by_label": {
                    name: round(float(is_right[labels == index].mean()), 3)
                    for index, name in enumerate(model.labels or [])
                },
            }
        )
        print(f"{rows[-1]['schedule']:>16}  {rows[-1]['gmacs']:.4f} GMACs  {is_right.mean():.2%}", flush=True)
    return rows


def measure_task(model: VideoModel, clips: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Measures the plain model on the middle frame repeated, and on frames in random order."""
    rng = np.random.default_rng(0)
    middle = clips.shape[1] // 2
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "middle_frame_repeated": lambda batch: np.repeat(batch[:, middle : middle + 1], batch.shape[1], 1),
        "frames_in_random_order": lambda batch: np.stack([clip[rng.permutation(len(clip))] for clip in batch]),
    }
    plain = model.with_schedule(None)
    scores = {name: predict_labels(plain, clips, change) == labels for name, change in changes.items()}
    return {"chance": round(1 / len(model.labels or [0]), 4)} | {
        name: round(float(hits.mean()), 4) for name, hits in scores.items()
    }


def describe_machine() -> dict[str, Any]:
    """Returns what the numbers were measured on and with."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return {
        "machine": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("jax", "flax", "numpy", "pillow", "mlxtend", "scikit-image")},
        "commit": commit.stdout.strip() or None,
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="moving-objects", help="a checkpoint folder (default: the shipped model)")
    parser.add_argument("--clips", type=int, default=2048, help="held-out clips, rounded up to a multiple of 64")
    parser.add_argument("--seed", type=int, default=0, help="of the clips (default 0)")
    parser.add_argument("--schedules", nargs="+", default=list(SCHEDULES), metavar="R")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    clips, labels = load_test_clips(arguments.clips, arguments.seed)
    result = {
        "question": "What does merging do to the accuracy of the shipped model on held-out clips?",
        "model": {"name": arguments.model, "source": model.source},
        "clips": {"count": len(clips), "seed": arguments.seed, "photos": PHOTOS["test"], "shape": clips.shape[1:]},
        "dtype": str(model.dtype),
        **describe_machine(),
        "task": measure_task(model, clips, labels),
        "schedules": measure(model, clips, labels, arguments.schedules),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["task"]), f"wrote {arguments.out}", sep="\n")


if __name__ == "__main__":
    main()
