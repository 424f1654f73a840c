"""`vidtldr demo`: one clip through the plain and the merged model, with pictures of what was merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vidtldr_jax.cli.choices import FILE
from vidtldr_jax.cli.comparison import (
    MEMORY_MEANING,
    compare_models,
    list_predictions,
    list_rows,
    summarise_gain,
    warn_of_loss,
)
from vidtldr_jax.cli.group import CommandError
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
from vidtldr_jax.cli.output import print_json, print_line, print_note, print_table, show_progress

_EPILOG = """\b
Examples:
  vidtldr demo
  vidtldr demo --video dive.mp4 --schedule 100,40 --out dive-demo
"""


@click.command(epilog=_EPILOG)
@click.option("--video", type=FILE, help="Video, GIF or folder of images.  [default: a clip that ships with it]")
@model_option
@schedule_option("Without it: one that suits the model.")
@method_option
@click.option(
    "--out",
    default="vidtldr-demo",
    show_default=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the overlay video and the strip.",
)
@click.option("--top-k", type=click.IntRange(min=1), default=3, show_default=True, help="Predictions shown.")
@click.option("--repeats", type=click.IntRange(min=1), default=7, show_default=True, help="Timed runs of each.")
@dtype_option
@json_option
@cache_option
@verbose_option
def demo(
    video: str | None,
    model: str,
    schedule: str | None,
    method: str | None,
    out: Path,
    top_k: int,
    repeats: int,
    dtype: str,
    as_json: bool,
) -> None:
    """Classifies a clip plain and merged, side by side, and draws what was merged and dropped.

    Prints predictions, tokens per layer, GMACs, measured time and memory of both; writes an overlay video (MP4) and a
    strip (PNG). One clip from the middle of the video is looked at, cropped at the centre.
    """
    from vidtldr_jax.data.clip import read_clip
    from vidtldr_jax.inference.device import describe_device
    from vidtldr_jax.visualize import draw_overlay_frames, draw_strip, record_history, write_image, write_video

    path = Path(video) if video is not None else find_demo_clip()
    merged = open_model(model, schedule=choose_schedule(schedule, model), method=method, dtype=dtype)
    batch = read_clip(path, merged.preprocessing)[None]
    out.mkdir(parents=True, exist_ok=True)
    with show_progress("compiling, running and timing both"):
        history = record_history(merged, path, top_k=top_k)  # names the video where its outputs are not finite
        result = compare_models(merged, batch, repeats=repeats)
    for name, answer in (("plain", history.plain), ("merged", history.merged)):
        result[name]["predictions"] = answer.predictions
    with show_progress("drawing"):
        stem = path.resolve().stem
        overlay = write_video(out / f"{stem}-overlay.mp4", draw_overlay_frames(history), fps=history.fps)
        strip = write_image(out / f"{stem}-strip.png", draw_strip(history))
    heading = {"video": str(path), "model": model, "dtype": dtype, "device": describe_device()}
    files = {"overlay": str(overlay), "strip": str(strip)}
    notices = [*history.notices, *([warning] if (warning := warn_of_loss(result)) else [])]
    if as_json:
        print_json({**heading, "notices": notices, "memory_meaning": MEMORY_MEANING, **result, "files": files})
        return
    _print(heading, result, merged.schedule.describe(), files)
    for notice in notices:
        print_note(notice)


def find_demo_clip() -> Path:
    """Returns the clip that ships with the package.

    Raises:
      CommandError: this installation has none.
    """
    from vidtldr_jax.inference.load import find_asset

    folder = find_asset("clips")
    clips = sorted(folder.glob("*.mp4"))
    if not clips:
        raise CommandError(f"the shipped clips must lie in {folder}; there are none; install again, or give --video.")
    return clips[0]


def _print(heading: dict[str, Any], result: dict[str, Any], schedule: str, files: dict[str, str]) -> None:
    print_line(f"video     {heading['video']}")
    print_line(f"model     {heading['model']}, {heading['dtype']}")
    print_line(f"device    {heading['device']}")
    print_line(f"schedule  {schedule}")
    print_line()
    rows = list_predictions(result["plain"]["predictions"], result["merged"]["predictions"])
    rows += list_rows(result, compile_label="compile, or load from cache")
    print_table(("", "plain", "merged"), rows)
    print_line()
    print_line(summarise_gain(result))
    print_line(f"memory: {MEMORY_MEANING}")
    print_line()
    print_line(f"overlay   {files['overlay']}")
    print_line(f"strip     {files['strip']}")
