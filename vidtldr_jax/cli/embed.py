"""`vidtldr embed`: videos in, an index out."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from vidtldr_jax.cli.choices import FOLDER
from vidtldr_jax.cli.evaluation_files import report_errors
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.options import (
    ModelType,
    cache_option,
    devices_option,
    dtype_option,
    find_model,
    json_option,
    method_option,
    open_model,
    schedule_option,
    verbose_option,
)
from vidtldr_jax.cli.output import (
    begin_part,
    format_bytes,
    format_macs,
    format_seconds,
    print_json,
    print_line,
    print_note,
    show_progress,
)
from vidtldr_jax.cli.video_list import take_videos
from vidtldr_jax.trust.digests import hash_file
from vidtldr_jax.trust.notes import name_what_is_safe, tell_notices

if TYPE_CHECKING:
    from vidtldr_jax.search.index_prune import Pruned

_MOST_NAMED: Final = 10
_EPILOG: Final = """\b
Examples:
  vidtldr embed videos/ --model checkpoints/umt-b16-msrvtt --schedule 600,200,100 --tokens --out index
  vidtldr embed more/*.mp4 --model checkpoints/umt-b16-msrvtt --schedule 600,200,100 --tokens --out index
  vidtldr embed --prune --model checkpoints/umt-b16-msrvtt --schedule 600,200,100 --tokens --out index
  vidtldr search index "a dog catches a frisbee"
"""


@click.command(epilog=_EPILOG)
@click.argument("videos", nargs=-1, metavar="VIDEO|FOLDER...", type=click.Path())
@click.option("--out", required=True, type=FOLDER, help="The index; videos are added to one that is there.")
@click.option(
    "--model",
    required=True,
    type=ModelType(),
    metavar="FOLDER|NAME",
    help="Checkpoint folder of a model that embeds videos.",
)
@schedule_option("Without it: no merging.")
@method_option
@click.option("--tokens", is_flag=True, help="Keep the surviving tokens too, to re-rank the best of a search.")
@click.option("--restart", is_flag=True, help="Discard what the index has.")
@click.option("--prune", is_flag=True, help="Take videos out whose file is gone from a folder that has other files.")
@click.option(
    "--prune-folders",
    is_flag=True,
    help="Take videos out whose folder is gone or empty too, as that of a disk that is not mounted.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=4, show_default=True, help="Videos per run.")
@click.option(
    "--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Number of decoding processes."
)
@devices_option
@dtype_option
@json_option
@cache_option
@verbose_option
def embed(
    videos: tuple[str, ...],
    out: str,
    model: str,
    schedule: str | None,
    method: str | None,
    tokens: bool,
    restart: bool,
    prune: bool,
    prune_folders: bool,
    batch_size: int,
    workers: int,
    devices: int,
    dtype: str,
    as_json: bool,
) -> int:
    """Makes an index of videos to search by text, or adds to one.

    A video is known by its content: one that is in the index is not encoded again, wherever it lies. An index is of one
    model, schedule and dtype; others are refused. A process may be killed at any moment, the same command goes on. A
    video that can't be read is named and the others are done; the exit code is then 1. Videos that were deleted stay
    in the index until --prune takes them out.
    """
    from vidtldr_jax.inference.checkpoint import WEIGHTS_NAME
    from vidtldr_jax.reduction.cost import count_macs
    from vidtldr_jax.search.features import FeatureStore
    from vidtldr_jax.search.index import add_videos, describe_index, list_videos
    from vidtldr_jax.search.index_prune import Pruned, prune_index

    is_pruning = prune or prune_folders
    if not videos and not is_pruning:
        raise click.MissingParameter(param_type="argument", param_hint="'VIDEO|FOLDER...'")
    folder = find_model(model)
    loaded = open_model(folder, schedule=schedule, method=method, dtype=dtype, devices=devices)
    if loaded.config.embed_dim is None:
        raise CommandError(f"an index needs a model that embeds videos; {model!r} does not; take a UMT for retrieval.")
    loaded = loaded.with_one_view()
    found = take_videos(videos)
    description = describe_index(loaded, hash_file(folder / WEIGHTS_NAME), with_tokens=tokens)
    start = time.perf_counter()
    try:
        with (
            FeatureStore(out, description, about={"checkpoint": os.path.abspath(folder)}, restart=restart) as store,
            name_what_is_safe(out, lambda: f"{len(list_videos(store))} videos"),
        ):
            with show_progress("hashing", total=len(found.videos)) as progress:
                bar = progress.task_ids[0]

                def show(done: int, total: int) -> None:
                    if done == 0:
                        begin_part(progress, "encoding", total)
                    progress.update(bar, completed=done)

                report = add_videos(
                    store,
                    loaded,
                    found.videos,
                    batch_size=batch_size,
                    num_workers=workers,
                    hashing=lambda path: progress.advance(bar),
                    encoding=show,
                )
            pruned = prune_index(store, with_folders=prune_folders) if is_pruning else Pruned([], [])
            size, count = store.count_bytes(), len(list_videos(store))
    except ValueError as error:
        raise CommandError(str(error)) from error
    seconds = time.perf_counter() - start
    errors = found.errors | report.errors
    tell_notices(report.notices)
    report_errors(errors)
    gmacs = count_macs(loaded.config, loaded.schedule).gmacs
    if as_json:
        print_json(
            {
                "index": out, "videos": count, "added": report.added, "known": report.known, "moved": report.moved,
                "same": report.same, "pruned": pruned.removed, "gone": pruned.kept, "errors": errors,
                "notices": report.notices,
                "bytes": size, "seconds": seconds, "tokens": tokens,
                "model": model, "checkpoint_sha256": description["checkpoint_sha256"], "dtype": str(loaded.dtype),
                "schedule": loaded.schedule.to_dict(), "gmacs_per_video": gmacs,
            }
        )  # fmt: skip
        return 1 if errors else 0
    for name, other in report.same.items():
        print_note(f"{name} has the same content as {other}; it is in the index once.")
    _tell_pruned(pruned)
    print_line(f"{out}: {count} videos, {format_bytes(size)}; {Path(out) / 'description.json'} says how they were made")
    moved = f", {report.moved} of them found at a new place" if report.moved else ""
    print_line(f"added {report.added} in {format_seconds(seconds)}; {report.known} were there already{moved}")
    print_line(f"({loaded.schedule.describe()}; {format_macs(gmacs * 1e9)} GMACs per video)")
    return 1 if errors else 0


def _tell_pruned(pruned: Pruned) -> None:
    for paths, what in (
        (pruned.removed, "was taken out of the index: its file is gone"),
        (pruned.kept, "is gone with all that was in its folder, and stays; --prune-folders takes it out"),
    ):
        for path in paths[:_MOST_NAMED]:
            print_note(f"{path} {what}")
        if len(paths) > _MOST_NAMED:
            print_note(f"{len(paths) - _MOST_NAMED} more: each {what}")
