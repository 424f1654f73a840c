"""`vidtldr classify`: videos in, top predictions out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import click
import numpy as np

from vidtldr_jax.cli.comparison import describe_schedule
from vidtldr_jax.cli.group import CommandError, describe_os_error, format_error, strip_function_name
from vidtldr_jax.cli.options import (
    cache_option,
    dtype_option,
    json_option,
    model_option,
    open_model,
    schedule_option,
    verbose_option,
)
from vidtldr_jax.cli.output import print_json, print_note, show_progress
from vidtldr_jax.cli.predictions import average_views, format_percent, list_top
from vidtldr_jax.data.clip import read_frames
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.transforms import normalize_frames
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.reduction.cost import count_macs

_EPILOG = """\b
Examples:
  vidtldr classify clip.mp4
  vidtldr classify clips/*.mp4 frames/ --schedule 100,40 --top-k 3
  vidtldr classify dive.webm --model checkpoints/mine --json
"""


class Views(NamedTuple):
    """What was read of one video: its normalised views, or the error; and what a user should know."""

    video: np.ndarray | None
    notices: tuple[str, ...]
    error: str | None


@click.command(epilog=_EPILOG)
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...", type=click.Path())
@model_option
@schedule_option("Without it: no merging.")
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Predictions per video.")
@click.option("--batch-size", type=click.IntRange(min=1), default=4, show_default=True, help="Clips per run.")
@dtype_option
@json_option
@cache_option
@verbose_option
def classify(
    videos: tuple[str, ...],
    model: str,
    schedule: str | None,
    top_k: int,
    batch_size: int,
    dtype: str,
    as_json: bool,
) -> int:
    """Classifies videos, GIFs and folders of images.

    A bad file is reported and the others are done; the exit code is then 1. Where a model looks at several views of a
    video (clips, crops), the probabilities of the views are averaged.
    """
    loaded = open_model(model, schedule=schedule, dtype=dtype)
    if loaded.config.num_classes is None:
        raise CommandError(f"classify needs a model with a classifier; {model!r} has none; take another --model.")
    results: list[dict[str, Any]] = []
    with show_progress("classifying", total=len(videos)) as progress:
        for path, views, logits in _run(loaded, videos, batch_size):
            results.append(_describe_result(path, views, logits, loaded, top_k))
            progress.advance(progress.task_ids[0])
    for result in results:
        if result["error"]:
            click.echo(format_error(f"{result['video']}: {result['error']}"), err=True)
    if as_json:
        _print_json(model, loaded, results)
    else:
        _print_text(loaded, results)
    return 1 if any(result["error"] for result in results) else 0


def _run(model: VideoModel, paths: Sequence[str], batch_size: int) -> Iterator[tuple[str, Views, np.ndarray | None]]:
    """Yields every video with the logits of its views, in order; batches reach over the videos' borders.

    All batches have one size, so that there is one compilation; the last one is filled up.
    """
    size = min(batch_size, len(paths) * model.preprocessing.num_views)
    waiting: list[tuple[str, Views]] = []
    pending: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    for path in paths:
        views = _read_views(path, model)
        waiting.append((path, views))
        pending.extend([] if views.video is None else list(views.video))
        while len(pending) >= size:
            logits.extend(_classify_batch(model, pending[:size], size))
            del pending[:size]
        yield from _release(waiting, logits)
    if pending:
        logits.extend(_classify_batch(model, pending, size))
    yield from _release(waiting, logits)


def _release(
    waiting: list[tuple[str, Views]], logits: list[np.ndarray]
) -> Iterator[tuple[str, Views, np.ndarray | None]]:
    """Yields the videos at the front whose views are all done, and takes them off the lists."""
    while waiting:
        path, views = waiting[0]
        count = 0 if views.video is None else len(views.video)
        if len(logits) < count:
            return
        yield path, views, np.stack(logits[:count]) if count else None
        del waiting[0], logits[:count]


def _classify_batch(model: VideoModel, clips: Sequence[np.ndarray], size: int) -> list[np.ndarray]:
    padded = np.stack([*clips, *[clips[-1]] * (size - len(clips))])
    return list(np.asarray(model.classify(padded))[: len(clips)])


def _read_views(path: str, model: VideoModel) -> Views:
    preprocessing = model.preprocessing
    try:
        clip = read_frames(path, preprocessing)
    except VideoReadError as error:
        return Views(None, (), strip_function_name(str(error)))
    except OSError as error:
        return Views(None, (), describe_os_error(error))
    video = normalize_frames(clip.frames, mean=preprocessing.mean, std=preprocessing.std)
    return Views(video, clip.notices, None)


def _describe_result(
    path: str, views: Views, logits: np.ndarray | None, model: VideoModel, top_k: int
) -> dict[str, Any]:
    predictions = None if logits is None else list_top(average_views(logits), model.labels, k=top_k)
    return {"video": path, "error": views.error, "notices": list(views.notices), "predictions": predictions}


def _print_json(name: str, model: VideoModel, results: list[dict[str, Any]]) -> None:
    print_json(
        {
            "model": name,
            "schedule": describe_schedule(model.schedule),
            "gmacs": count_macs(model.config, model.schedule).gmacs,
            "dtype": str(model.dtype),
            "num_views": model.preprocessing.num_views,
            "views": "probabilities averaged",
            "results": results,
        }
    )


def _print_text(model: VideoModel, results: list[dict[str, Any]]) -> None:
    for result in results:
        for notice in result["notices"]:
            print_note(f"{result['video']}: {notice}")
        if result["predictions"] is not None:
            click.echo(result["video"])
            for prediction in result["predictions"]:
                click.echo(f"  {format_percent(prediction):>7}  {prediction['label']}")
    views = model.preprocessing.num_views
    averaged = f"; probabilities averaged over {views} views" if views > 1 else ""
    click.echo(f"({model.schedule.describe()}{averaged})")
