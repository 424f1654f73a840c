"""`vidtldr visualize`: a video in, pictures of what merging did to it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from vidtldr_jax.cli.comparison import format_tokens, list_predictions
from vidtldr_jax.cli.kept_inputs import keep_inputs
from vidtldr_jax.cli.options import (
    cache_option,
    choose_schedule,
    dtype_option,
    json_option,
    method_option,
    model_option,
    open_model,
    schedule_option,
    verbose_option,
)
from vidtldr_jax.cli.output import format_macs, print_json, print_line, print_note, print_table, show_progress

if TYPE_CHECKING:
    from vidtldr_jax.visualize import ClipHistory

_EPILOG = """\b
Examples:
  vidtldr visualize dive.mp4
  vidtldr visualize dive.mp4 --html dive.html
  vidtldr visualize dive.mp4 --schedule 0.3,0.2 --mp4 dive-merged.mp4 --gif dive.gif
  vidtldr visualize frames/ --model checkpoints/vivit-b16x2-fe --png strip.png
"""
KINDS: Final = ("html", "mp4", "gif", "png")
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=_EPILOG)
@click.argument("video", metavar="VIDEO", type=click.Path(path_type=Path))
@click.option("--html", type=_FILE, metavar="FILE", help="Page for a browser, with sliders and merged groups.")
@click.option("--mp4", type=_FILE, metavar="FILE", help="A video (H.264) of all pictures side by side.")
@click.option("--gif", type=_FILE, metavar="FILE", help="The same as a GIF.")
@click.option("--png", type=_FILE, metavar="FILE", help="A strip of up to eight frames.")
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for all four, named after the video.  [default, if no file is named: vidtldr-visualize]",
)
@model_option
@schedule_option("Without it: one that suits the model.")
@method_option
@click.option(
    "--layers",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Layers whose saliency MP4, GIF and PNG show; the page has all.",
)
@click.option(
    "--height",
    type=click.IntRange(min=32),
    default=256,
    show_default=True,
    help="Approximate size of each picture in MP4 and GIF, in pixels.",
)
@click.option("--top-k", type=click.IntRange(min=1), default=3, show_default=True, help="Predictions shown.")
@dtype_option
@json_option
@cache_option
@verbose_option
def visualize(
    video: Path,
    html: Path | None,
    mp4: Path | None,
    gif: Path | None,
    png: Path | None,
    out: Path | None,
    model: str,
    schedule: str | None,
    method: str | None,
    layers: int,
    height: int,
    top_k: int,
    dtype: str,
    as_json: bool,
) -> None:
    """Shows what merging does to a video: saliency, groups, what was dropped, and what is left.

    One clip from the middle of the video is looked at, cropped at the centre, as the model sees it. Patches that share
    a token have one colour, in all frames and layers; what was dropped is dark. The last picture gives every patch the
    mean of its group. Below them: what the plain and the merged model say, and the tokens of every layer.
    """
    from vidtldr_jax.visualize import record_history
    from vidtldr_jax.visualize.history import PICTURE_SIZE

    files = _choose_files(video, dict(zip(KINDS, (html, mp4, gif, png))), out)
    named = {kind for kind, path in zip(KINDS, (html, mp4, gif, png)) if path is not None}
    keep_inputs({f"--{kind}" if kind in named else f"--out ({kind})": [files[kind]] for kind in files}, [video, model])
    merged = open_model(model, schedule=choose_schedule(schedule, model), method=method, dtype=dtype)
    with show_progress("reading, compiling and running"):
        history = record_history(merged, video, top_k=top_k, picture_size=max(height, PICTURE_SIZE))
    for file in files.values():
        file.parent.mkdir(parents=True, exist_ok=True)
    with show_progress("drawing", total=len(files)) as progress:
        for kind, file in files.items():
            _write(kind, file, history, layers, height)
            progress.advance(progress.task_ids[0])
    result = _describe(video, model, history, files)
    if as_json:
        print_json(result)
    else:
        _print(result, history)
        for notice in history.notices:
            print_note(notice)


def _choose_files(video: Path, named: dict[str, Path | None], out: Path | None) -> dict[str, Path]:
    """Returns what is written where: all kinds into a folder, and those that have a file of their own there."""
    chosen = {kind: path for kind, path in named.items() if path is not None}
    if chosen and out is None:
        return chosen
    folder = out or Path("vidtldr-visualize")
    return {kind: chosen.get(kind) or folder / f"{video.resolve().stem}.{kind}" for kind in KINDS}


def _write(kind: str, file: Path, history: ClipHistory, layers: int, height: int) -> None:
    from vidtldr_jax.visualize import draw_overlay_frames, draw_strip, write_gif, write_image, write_page, write_video

    if kind == "html":
        write_page(file, history)
    elif kind == "png":
        write_image(file, draw_strip(history, most_layers=layers))
    else:
        frames = draw_overlay_frames(history, height=height, most_layers=layers)
        (write_video if kind == "mp4" else write_gif)(file, frames, fps=history.fps)


def _describe(video: Path, model: str, history: ClipHistory, files: dict[str, Path]) -> dict[str, Any]:
    answers = {"plain": history.plain, "merged": history.merged}
    return {
        "video": str(video),
        "model": model,
        "schedule": history.schedule.to_dict(),
        **{
            name: {"tokens": answer.tokens, "gmacs": answer.gmacs, "predictions": answer.predictions}
            for name, answer in answers.items()
        },
        "cosine": history.cosine,
        "notices": list(history.notices),
        "files": {kind: str(file) for kind, file in files.items()},
    }


def _print(result: dict[str, Any], history: ClipHistory) -> None:
    print_line(f"video     {result['video']}")
    print_line(f"schedule  {history.schedule.describe()}")
    print_line()
    answers = (history.plain, history.merged)
    rows = [
        ("tokens per layer", *(format_tokens(list(answer.tokens)) for answer in answers)),
        ("GMACs per clip", *(format_macs(answer.gmacs * 1e9) for answer in answers)),
        *list_predictions(*(answer.predictions for answer in answers)),
        ("cosine of the outputs", "", f"{history.cosine:.4f}"),
    ]
    print_table(("", "plain", "merged"), rows)
    print_line()
    for kind, file in result["files"].items():
        print_line(f"{kind:<9} {file}")
