"""How far do outputs move when weights and computation are bfloat16, plain and merged?

    python benchmarks/bfloat16.py              # writes benchmarks/results/bfloat16.json

Two models: the shipped trained one on held-out clips of moving digits (extra `pictures`), where logits,
answers and accuracy are compared; and UMT-B/16 with random weights on noise, where the pooled token is. Besides, how
many original tokens end in the same company, or are dropped alike: bfloat16 decides some pairs otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from benchmarks import record
from benchmarks.models import MSRVTT, choose_config, scale_schedule
from vidtldr_jax.data.transforms import normalize_frames
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import make_random_model, make_random_video

_SCHEDULES: Final = ("none", "36,36", "100,40", "144,72")
_BATCH_SIZE: Final = 64
_SCRIPTS = Path(__file__).resolve().parent.parent / "scripts" / "moving_objects"


def draw_clips(num_clips: int, preprocessing: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns held-out clips, normalised, and their labels."""
    sys.path.insert(0, str(_SCRIPTS))  # scripts import each other as Python sees them when they run
    from evaluate import load_test_clips

    clips, labels = load_test_clips(num_clips, 0)
    return normalize_frames(clips, mean=preprocessing.mean, std=preprocessing.std), labels


def run(model: VideoModel, video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encodes clips in batches; returns logits or pooled tokens, and the company of every original token."""
    outputs, companies = [], []
    for first in range(0, len(video), _BATCH_SIZE):
        out = model.encode_video(video[first : first + _BATCH_SIZE], trace=True)
        outputs.append(np.asarray(out.pooled if out.logits is None else out.logits, np.float32))
        companies.append(np.stack([name_company(source) for source in np.asarray(out.trace.source)]))
    return np.concatenate(outputs), np.concatenate(companies)


def name_company(source: np.ndarray) -> np.ndarray:
    """Names the token that each original one is in by the first original one in it; -1 is dropped."""
    _, first, inverse = np.unique(source, return_index=True, return_inverse=True)
    return np.where(source < 0, -1, first[inverse])


def compare(exact: VideoModel, rounded: VideoModel, video: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Returns the outputs of both, and how far they are apart."""
    (before, company), (after, other_company) = run(exact, video), run(rounded, video)
    apart = np.abs(after - before)
    cosine = (before * after).sum(-1) / np.linalg.norm(before, axis=-1) / np.linalg.norm(after, axis=-1)
    return (
        before,
        after,
        {
            "schedule": exact.schedule.describe(),
            "spread_of_output": float(before.std()),
            "median_apart": float(np.median(apart)),
            "max_apart": float(apart.max()),
            "min_cosine": float(cosine.min()),
            "same_company": float((company == other_company).mean()),
        },
    )


def measure_trained(num_clips: int) -> list[dict[str, Any]]:
    """Compares the shipped model's logits, answers and accuracy."""
    exact, rounded = (load_model("moving-objects", dtype=dtype) for dtype in (jnp.float32, jnp.bfloat16))
    video, labels = draw_clips(num_clips, exact.preprocessing)
    rows = []
    for schedule in _SCHEDULES:
        before, after, row = compare(exact.with_schedule(schedule), rounded.with_schedule(schedule), video)
        answers = before.argmax(-1), after.argmax(-1)
        row |= {
            "schedule": schedule,
            "same_answer": float((answers[0] == answers[1]).mean()),
            "accuracy_float32": float((answers[0] == labels).mean()),
            "accuracy_bfloat16": float((answers[1] == labels).mean()),
        }
        rows.append(row)
        print(row, flush=True)
    return rows


def measure_random(num_clips: int, *, is_smoke: bool) -> list[dict[str, Any]]:
    """Compares the pooled token of UMT-B/16 with random weights."""
    config = choose_config("umt-b16", is_smoke=is_smoke)
    exact, rounded = (make_random_model(config, dtype=dtype) for dtype in (jnp.float32, jnp.bfloat16))
    video = make_random_video(config, batch_size=num_clips)
    rows = []
    for schedule in (None, scale_schedule(MSRVTT, config.num_tokens)):
        row = compare(exact.with_schedule(schedule), rounded.with_schedule(schedule), video)[2]
        rows.append(row)
        print(row, flush=True)
    return rows


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--clips", type=int, default=512, help="held-out clips, a multiple of 64")
    arguments = parser.parse_args(words)
    result = {
        "num_clips": arguments.clips,
        "random": measure_random(2, is_smoke=arguments.smoke),
        "trained": [] if arguments.smoke else measure_trained(arguments.clips),
    }
    record.finish("bfloat16", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
