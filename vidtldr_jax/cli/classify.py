"""`vidtldr classify`: videos in, top predictions out."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from vidtldr_jax.cli.group import CommandError, describe_os_error, print_error
from vidtldr_jax.cli.options import (
    cache_option,
    devices_option,
    dtype_option,
    json_lines_option,
    method_option,
    model_option,
    open_model,
    schedule_option,
    verbose_option,
)
from vidtldr_jax.cli.output import print_json_line, print_line, print_note, show_progress

if TYPE_CHECKING:
    from vidtldr_jax.inference.model import VideoModel
    from vidtldr_jax.inference.stream import EncodedVideo

_EPILOG = """\b
Examples:
  vidtldr classify clip.mp4
  vidtldr classify videos/ frames/ more/*.mp4 --schedule 100,40 --top-k 3
  vidtldr classify dive.webm --model checkpoints/mine --json
  vidtldr classify clips/*.mp4 --workers 4 --batch-size 16
"""
_WORKERS_HELP = (
    "Processes that decode videos ahead; 0 is a thread of this one. Each takes seconds to start: for many videos and "
    "idle cores. Needs the extra 'workers'."
)


@click.command(epilog=_EPILOG)
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO|FOLDER...", type=click.Path())
@model_option
@schedule_option("Without it: no merging.")
@method_option
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Predictions per video.")
@click.option("--batch-size", type=click.IntRange(min=1), default=4, show_default=True, help="Clips per run.")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help=_WORKERS_HELP)
@devices_option
@dtype_option
@json_lines_option
@cache_option
@verbose_option
def classify(
    videos: tuple[str, ...],
    model: str,
    schedule: str | None,
    method: str | None,
    top_k: int,
    batch_size: int,
    workers: int,
    devices: int,
    dtype: str,
    as_json: bool,
) -> int:
    """Classifies videos, GIFs, folders of images and folders of videos.

    Each result is printed as soon as it is there; --json prints JSON Lines, one object per video. A bad file is
    reported and the others are done; the exit code is then 1. Where a model looks at several views of a video (clips,
    crops), the probabilities of the views are averaged.
    """
    from vidtldr_jax.inference.stream import encode_videos

    loaded = open_model(model, schedule=schedule, method=method, dtype=dtype, devices=devices)
    if loaded.config.num_classes is None:
        raise CommandError(f"classify needs a model with a classifier; {model!r} has none; take another --model.")
    found = _find_videos(videos)
    for note in found.notes:
        print_note(note)
    facts = _describe_run(model, loaded)
    has_failed = False
    with show_progress("classifying", total=len(found.videos)) as progress:

        def tell(result: dict[str, Any]) -> None:
            nonlocal has_failed
            if result["error"]:
                has_failed = True
                print_error(result["error"], about=result["video"])
            if as_json:
                print_json_line(result | facts)
            else:
                _print_text(result)

        for place, reason in found.errors.items():
            tell({"video": place, "error": reason, "notices": [], "predictions": None})
        stream = encode_videos(loaded, found.videos, output="logits", batch_size=batch_size, num_workers=workers)
        with contextlib.closing(stream):
            for video in stream:
                tell(_describe_result(video, loaded, top_k))
                progress.advance(progress.task_ids[0])
    if not as_json:
        _print_end(loaded)
    return 1 if has_failed else 0


class _Found(NamedTuple):
    """What is classified, as it was written where nothing stands for several videos."""

    videos: list[str]
    errors: dict[str, str]
    notes: list[str]


def _find_videos(given: Sequence[str]) -> _Found:
    """Lists the videos of every path; one that is given twice is answered twice."""
    from vidtldr_jax.data.video_paths import look_for_videos

    found = _Found([], {}, [])
    for text in given:
        videos, errors, notes = look_for_videos([text])
        if not videos:
            errors = {}  # reading it says what is wrong
        found.videos.extend([text] if videos in ([], [Path(text)]) else map(str, videos))
        found.errors.update(errors)
        found.notes.extend(notes)
    return found


def _describe_run(name: str, model: VideoModel) -> dict[str, Any]:
    from vidtldr_jax.reduction.cost import count_macs

    return {
        "model": name,
        "schedule": model.schedule.to_dict(),
        "gmacs": count_macs(model.config, model.schedule).gmacs,
        "dtype": str(model.dtype),
        "num_views": model.preprocessing.num_views,
    }


def _describe_result(video: EncodedVideo, model: VideoModel, top_k: int) -> dict[str, Any]:
    from vidtldr_jax.inference.predictions import average_views, list_top

    predictions = None if video.outputs is None else list_top(average_views(video.outputs), model.labels, k=top_k)
    error = None if video.error is None else _describe_error(video.error)
    return {"video": video.path, "error": error, "notices": list(video.notices), "predictions": predictions}


def _describe_error(error: Exception) -> str:
    return describe_os_error(error) if isinstance(error, OSError) else " ".join(str(error).split())


def _print_text(result: dict[str, Any]) -> None:
    from vidtldr_jax.inference.predictions import format_percent

    for notice in result["notices"]:
        print_note(notice, about=result["video"])
    if result["predictions"] is not None:
        print_line(result["video"])
        for prediction in result["predictions"]:
            print_line(f"  {format_percent(prediction):>7}  {prediction['label']}")


def _print_end(model: VideoModel) -> None:
    views = model.preprocessing.num_views
    averaged = f"; probabilities averaged over {views} views" if views > 1 else ""
    print_line(f"({model.schedule.describe()}{averaged})")
