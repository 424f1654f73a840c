"""How many videos per second: decoding alone, computing alone, one after the other, and at the same time?

    python benchmarks/throughput.py          # writes results/throughput.json

H.264 videos of 340 x 256, a moving texture with noise, made in a temporary folder, go through a preset with random
weights and through the shipped model, in turn in each round. "decode" reads all frames that the model looks at, in one
thread of Python's (FFmpeg takes threads of its own); "compute" sends and encodes frames that are in memory; "in
turn" does both for one batch after the other; "overlapped" is `encode_videos` with so many workers. CPU time counts
workers, and so does starting them: the time to the first video stands beside.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks import record
from benchmarks.models import choose_config
from tests.data.making import write_video
from vidtldr_jax.data.clip import read_frames
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.stream import encode_videos
from vidtldr_jax.inference.timing import make_random_model
from vidtldr_jax.reduction.cost import count_macs

SHIPPED: Final = "moving-objects"
SHIPPED_SCHEDULE: Final = "100,40"
WORKERS: Final = (0, 1, 2)
HEIGHT: Final = 256
WIDTH: Final = 340
TEXTURE_GRAIN: Final = 8  # pixels
NOISE: Final = 4  # of 255, so that there is something to decode besides motion


class Run(NamedTuple):
    """What one run of a variant took.

    Attributes:
      seconds: wall time.
      cpu_seconds: of this process and of the workers that it started.
      first_seconds: wall time to the first video; None where that is not known.
    """

    seconds: float
    cpu_seconds: float
    first_seconds: float | None


def draw_texture(number: int, *, height: int, width: int) -> np.ndarray:
    """Draws a frame: a texture that moves down to the right, and noise."""
    coarse = np.random.default_rng(0).integers(30, 220, (-(-height // TEXTURE_GRAIN), -(-width // TEXTURE_GRAIN), 3))
    texture = coarse.repeat(TEXTURE_GRAIN, axis=0).repeat(TEXTURE_GRAIN, axis=1)[:height, :width]
    noise = np.random.default_rng(number).normal(0, NOISE, texture.shape)
    return (np.roll(texture, (number, 3 * number), axis=(0, 1)) + noise).clip(0, 255).astype(np.uint8)


def make_videos(folder: Path, *, num_videos: int, num_frames: int) -> list[Path]:
    """Writes the videos, no two alike."""
    make = functools.partial(write_video, num_frames=num_frames, height=HEIGHT, width=WIDTH, draw=draw_texture)
    return [make(folder / f"{n:03}.mp4", first_number=num_frames * n) for n in range(num_videos)]


def decode(model: VideoModel, paths: Sequence[Path]) -> list[np.ndarray]:
    """Reads what the model looks at, one video after the other."""
    return [view for path in paths for view in read_frames(path, model.preprocessing).frames]


def compute(model: VideoModel, views: Sequence[np.ndarray], batch_size: int) -> None:
    """Sends views as pixels and encodes them, one batch after the other."""
    for start in range(0, len(views), batch_size):
        np.asarray(model.encode_video(np.stack(views[start : start + batch_size])).pooled)


def run_in_turn(model: VideoModel, paths: Sequence[Path], batch_size: int) -> None:
    """Reads a batch, encodes it, reads the next one."""
    for start in range(0, len(paths), batch_size):
        compute(model, decode(model, paths[start : start + batch_size]), batch_size)


def run_overlapped(model: VideoModel, paths: Sequence[Path], batch_size: int, num_workers: int) -> float:
    """Runs `encode_videos`; returns the seconds to the first video."""
    start, first = time.perf_counter(), None
    videos = encode_videos(model, paths, output="pooled", batch_size=batch_size, num_workers=num_workers)
    with contextlib.closing(videos):
        for _ in videos:
            first = first or time.perf_counter() - start
    assert first is not None
    return first


def measure(job: Callable[[], Any]) -> Run:
    """Runs a job once; workers have ended when it returns, so that the system has counted them."""
    cpu, start = _count_cpu_seconds(), time.perf_counter()
    result = job()
    seconds = time.perf_counter() - start
    return Run(seconds, _count_cpu_seconds() - cpu, result if isinstance(result, float) else None)


def _count_cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def list_jobs(model: VideoModel, paths: Sequence[Path], batch_size: int) -> dict[str, Callable[[], Any]]:
    """Lists the variants for one model."""
    views = decode(model, paths)
    jobs: dict[str, Callable[[], Any]] = {
        "decode": functools.partial(decode, model, paths),
        "compute": functools.partial(compute, model, views, batch_size),
        "in turn": functools.partial(run_in_turn, model, paths, batch_size),
    }
    for count in WORKERS:
        name = f"overlapped, {count} workers"
        jobs[name] = functools.partial(run_overlapped, model, paths, batch_size, count)
    return jobs


def summarise(runs: Sequence[Run], num_videos: int) -> dict[str, Any]:
    """Returns rates of the median run, and every run."""
    seconds, cpu_seconds = [run.seconds for run in runs], [run.cpu_seconds for run in runs]
    first = [run.first_seconds for run in runs if run.first_seconds is not None]
    return {
        "videos_per_second": round(num_videos / statistics.median(seconds), 2),
        "cpu_seconds_per_video": round(statistics.median(cpu_seconds) / num_videos, 4),
        "median_first_seconds": round(statistics.median(first), 3) if first else None,
        "median_seconds": round(statistics.median(seconds), 4),
        "seconds": [round(value, 4) for value in seconds],
        "cpu_seconds": [round(value, 4) for value in cpu_seconds],
    }


def run(
    models: dict[str, VideoModel], *, num_videos: int, num_frames: int, batch_size: int, repeats: int
) -> dict[str, Any]:
    """Measures every variant of every model on the same files and returns plain data.

    Args:
      models: by name; each has one view per video.
      num_videos: how many there are, a multiple of the batch size, so that no batch is filled up.
      num_frames: in each file.
      batch_size: videos per run of a model.
      repeats: counted rounds; one more is a warm-up.

    Returns:
      The result, without where it ran.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = make_videos(Path(folder), num_videos=num_videos, num_frames=num_frames)
        num_bytes = sum(path.stat().st_size for path in paths)
        for name, model in models.items():
            jobs = list_jobs(model, paths, batch_size)
            jobs["in turn"]()  # compiles, and brings files and libraries into memory
            runs: dict[str, list[Run]] = {variant: [] for variant in jobs}
            for _ in range(repeats):
                for variant, job in jobs.items():
                    runs[variant].append(measure(job))
            shape = model.preprocessing.num_frames, model.preprocessing.image_size
            gmacs = count_macs(model.config, model.schedule).gmacs
            about = {"model": name, "schedule": model.schedule.text, "frames": shape[0], "image_size": shape[1]}
            for variant in jobs:
                row = about | {"gmacs": round(gmacs, 2), "variant": variant}
                rows.append(row | summarise(runs[variant], num_videos))
    return {
        "videos": {"count": num_videos, "frames": num_frames, "height": HEIGHT, "width": WIDTH, "bytes": num_bytes},
        "batch_size": batch_size,
        "dtype": "float32",
        "repeats": repeats,
        "rows": rows,
    }


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__, repeats=5)
    parser.add_argument("--preset", default="videomae-s16", help="architecture [default: %(default)s]")
    parser.add_argument("--schedule", default="0.25,0.11,0.06", help="for the preset [default: %(default)s]")
    parser.add_argument("--frames", type=int, default=8, help="that the preset looks at [default: %(default)s]")
    parser.add_argument("--videos", type=int, default=32, help="how many [default: %(default)s]")
    parser.add_argument("--video-frames", type=int, default=64, help="in each file [default: %(default)s]")
    parser.add_argument("--batch-size", type=int, default=4, help="videos per run [default: %(default)s]")
    arguments = parser.parse_args(words)
    if arguments.smoke:
        arguments.frames, arguments.videos, arguments.video_frames = 4, 4, 8
        arguments.batch_size, arguments.repeats = 2, 1
    if arguments.videos % arguments.batch_size:
        parser.error("--videos must be a multiple of --batch-size: a batch that is filled up is work for nothing")
    config = dataclasses.replace(choose_config(arguments.preset, is_smoke=arguments.smoke), num_frames=arguments.frames)
    models = {
        arguments.preset: make_random_model(config, arguments.schedule),
        SHIPPED: load_model(SHIPPED, schedule=SHIPPED_SCHEDULE),
    }
    result = run(
        models,
        num_videos=arguments.videos,
        num_frames=arguments.video_frames,
        batch_size=arguments.batch_size,
        repeats=arguments.repeats,
    )
    record.finish("throughput", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
