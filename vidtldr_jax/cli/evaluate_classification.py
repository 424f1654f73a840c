"""`vidtldr evaluate classification`: top-1 and top-5 on a data set, with and without merging."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from vidtldr_jax import __version__
from vidtldr_jax.cli.choices import FILE, FOLDER, ChoiceType
from vidtldr_jax.cli.evaluation_files import (
    check_result_place,
    find_skipped,
    report_errors,
    tell_what_is_safe,
    write_result,
)
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.names import AVERAGES
from vidtldr_jax.cli.options import (
    DEFAULT_MODEL,
    cache_option,
    check_model_name,
    choose_mesh,
    devices_option,
    dtype_option,
    json_option,
    method_option,
    optional_model_option,
    schedule_option,
    verbose_option,
)
from vidtldr_jax.cli.output import SECONDS_BETWEEN_LOGS, print_json, print_note, show_progress
from vidtldr_jax.cli.python_config import RUNS_CODE
from vidtldr_jax.cli.runtime import log_model, log_weights
from vidtldr_jax.trust.digests import hash_file
from vidtldr_jax.trust.records import Records

if TYPE_CHECKING:
    from vidtldr_jax.cli.classification_config import Experiment
    from vidtldr_jax.data.manifest import ManifestEntry
    from vidtldr_jax.data.preprocessing import Preprocessing
    from vidtldr_jax.evaluation.class_embeddings import ClassEmbeddings
    from vidtldr_jax.evaluation.heads import Average, Head
    from vidtldr_jax.inference.checkpoint import Checkpoint
    from vidtldr_jax.inference.model import VideoModel
    from vidtldr_jax.models.architectures import Config

log = logging.getLogger("vidtldr_jax")

_EPILOG: Final = """\b
Examples:
  vidtldr evaluate classification --manifest val.csv --schedule 100,40 --compare-plain
  vidtldr evaluate classification --config configs/scenic/k400_b16x2.py --model checkpoints/vivit-b16x2 \\
      --manifest kinetics400/val.csv --out results/k400.json --workers 8 --dtype bfloat16
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--config",
    type=FILE,
    metavar="FILE.py[:ARG]",
    help=f"Experiment in Scenic's format. {RUNS_CODE} Needs the extra 'configs'.",
)
@optional_model_option
@click.option("--manifest", type=FILE, help="CSV with a header, or JSON Lines: path, label.")
@click.option("--root", type=FOLDER, help="What paths are relative to.  [default: the manifest's folder]")
@schedule_option("Without it: the config's, or no merging.")
@method_option
@click.option("--clips", type=click.IntRange(min=1), help="Clips per video.  [default: the config's or the model's]")
@click.option("--crops", type=ChoiceType(["1", "3"]), help="Crops per clip.  [default: the same]")
@click.option(
    "--average",
    type=ChoiceType(AVERAGES),
    help="What of the views is averaged.  [default: the config's, or probabilities]",
)
@click.option(
    "--class-embeddings", type=FILE, help="Zero-shot: .npz or .safetensors with embeddings [classes, E] and names."
)
@click.option("--compare-plain", is_flag=True, help="Run the plain model on the same views too.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many videos of the manifest.")
@click.option(
    "--out", type=FILE, metavar="FILE.json", help="Where the result goes; records beside it let a later start go on."
)
@click.option("--restart", is_flag=True, help="Forget the records beside --out.")
@click.option("--skip-missing", is_flag=True, help="Leave out videos that don't exist, and say how many.")
@click.option("--batch-size", type=click.IntRange(min=1), default=4, show_default=True, help="Views per run.")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes that decode.")
@devices_option
@dtype_option
@json_option
@cache_option
@verbose_option
def classification(
    config: str | None,
    model: str | None,
    manifest: str | None,
    root: str | None,
    schedule: str | None,
    method: str | None,
    clips: int | None,
    crops: str | None,
    average: Average | None,
    class_embeddings: str | None,
    compare_plain: bool,
    limit: int | None,
    out: str | None,
    restart: bool,
    skip_missing: bool,
    batch_size: int,
    workers: int,
    devices: int,
    dtype: str,
    as_json: bool,
) -> int:
    """Measures top-1 and top-5 accuracy on labelled videos.

    With --out every video is recorded as soon as it is answered; the same command goes on where it was broken off. A
    video that can't be read is named and counts as wrong; the exit code is then 1.
    """
    import jax

    from vidtldr_jax.cli.classification_config import load_experiment
    from vidtldr_jax.cli.evaluation_report import build_result, describe_protocol, print_result
    from vidtldr_jax.evaluation.classification import VideoRecord, find_record_fault
    from vidtldr_jax.inference.checkpoint import WEIGHTS_NAME
    from vidtldr_jax.models.architectures import describe_config

    experiment = load_experiment(config) if config else None
    setup = _prepare(
        experiment, config, model, schedule=schedule, method=method, clips=clips, crops=crops,
        class_embeddings=class_embeddings, dtype=dtype, devices=devices,
    )  # fmt: skip
    ways = {"plain" if setup.model.schedule.is_plain else "merged": setup.model}
    if compare_plain and "plain" in ways:
        raise CommandError("--compare-plain needs a schedule that merges; got none; give --schedule.")
    if compare_plain:
        ways["plain"] = setup.model.with_schedule(None)
    place = manifest or (experiment.manifest if experiment else None)
    if place is None:
        raise click.UsageError("--manifest is needed: a list of videos and their classes.")
    base = root or (experiment.root if experiment else None)
    listed = _read_entries(place, base, setup.heads)
    selected = listed[:limit]
    skipped = find_skipped({entry.name: entry.path for entry in selected}, skip_missing=skip_missing)
    entries = [entry for entry in selected if entry.name not in skipped]
    averaged: Average = average or (experiment.average if experiment else "probabilities")
    protocol = describe_protocol(setup.model.preprocessing, averaged, is_zero_shot=setup.classes is not None)
    sha256 = {"checkpoint": hash_file(setup.folder / WEIGHTS_NAME), "manifest": hash_file(Path(place))}
    description = {
        "version": __version__,
        "protocol": protocol,
        "average": averaged,
        "checkpoint_sha256": sha256["checkpoint"],
        "architecture": describe_config(setup.model.config),
        "schedules": {way: one.schedule.title for way, one in ways.items()},
        "preprocessing": setup.model.preprocessing.to_dict(),
        "dtype": str(setup.model.dtype),
        "platform": jax.default_backend(),
        "manifest_sha256": sha256["manifest"],
        "root": str(Path(base or Path(place).parent).absolute()),
        "heads": [[head.name, head.num_classes] for head in setup.heads],
        "class_embeddings_sha256": None if class_embeddings is None else hash_file(Path(class_embeddings)),
    }
    file = (
        None if out is None else check_result_place(Path(out), [place, *filter(None, [class_embeddings]), setup.folder])
    )
    try:
        records = Records(
            file and file.with_suffix(".records.jsonl"),
            description,
            restart=restart,
            kind=VideoRecord,
            find_fault=lambda record: find_record_fault(record, ways, setup.heads),
        )
        with tell_what_is_safe(records.path, lambda: f"{len(records.found)} videos"), records:
            compile_seconds = _run(ways, entries, setup, averaged, records, batch_size, workers)
            result = build_result(
                ways, entries, setup.heads, records, protocol=protocol, average=averaged,
                compile_seconds=compile_seconds,
                facts={
                    "model": setup.name, "config": config, "checkpoint": str(setup.folder),
                    "checkpoint_sha256": sha256["checkpoint"], "manifest": place,
                    "manifest_sha256": sha256["manifest"], "class_embeddings": class_embeddings,
                    "batch_size": batch_size, "workers": workers, "devices": devices, "version": __version__,
                },
                num_listed=len(listed), skipped=skipped, records_file=None if file is None else str(records.path),
            )  # fmt: skip
    except ValueError as error:
        raise CommandError(str(error)) from error
    if file is not None:
        write_result(file, result)
    report_errors(result["errors"])
    if as_json:
        print_json(result)
    else:
        print_result(result)
    return 1 if result["errors"] else 0


class _Setup(NamedTuple):
    """What is evaluated: the model, where its weights are, and what it answers."""

    name: str
    folder: Path
    model: VideoModel
    heads: tuple[Head, ...]
    classes: ClassEmbeddings | None


def _prepare(
    experiment: Experiment | None,
    config: str | None,
    name: str | None,
    *,
    schedule: str | None,
    method: str | None,
    clips: int | None,
    crops: str | None,
    class_embeddings: str | None,
    dtype: str,
    devices: int,
) -> _Setup:
    from vidtldr_jax.cli.classification_config import change_frames, match_architecture
    from vidtldr_jax.evaluation.class_embeddings import read_class_embeddings
    from vidtldr_jax.inference.checkpoint import read_checkpoint
    from vidtldr_jax.inference.load import find_checkpoint
    from vidtldr_jax.inference.model import VideoModel

    chosen = name or (experiment.checkpoint if experiment else DEFAULT_MODEL)
    if chosen is None:
        raise click.UsageError(f"--model is needed: {config} names no checkpoint.")
    check_model_name(chosen)
    folder = find_checkpoint(chosen)
    log_weights(chosen, folder)
    stored = read_checkpoint(folder)
    architecture: Config = stored.config
    recipe = stored.preprocessing
    if experiment is not None and experiment.architecture is not None:
        architecture = match_architecture(stored.config, experiment.architecture, place=str(config))
        recipe = experiment.preprocessing or recipe
    try:
        if experiment is not None and experiment.num_frames is not None:
            architecture, recipe = change_frames(architecture, recipe, experiment.num_frames)
        recipe = _change_views(recipe, clips, crops)
        classes = None
        if class_embeddings is not None:
            if stored.config.embed_dim is None:
                raise CommandError(
                    f"--class-embeddings needs a model that embeds videos; {chosen!r} does not; leave them out."
                )
            classes = read_class_embeddings(class_embeddings, embed_dim=stored.config.embed_dim)
        heads = _find_heads(chosen, stored, experiment, classes)
        written: Any = schedule if schedule is not None else (experiment.schedule if experiment else None)
        model = VideoModel(
            stored.params,
            architecture,
            preprocessing=recipe,
            labels=stored.labels,
            schedule=written,
            method=method or (experiment.method if experiment else None),
            source=stored.source,
            dtype=dtype,
            mesh=choose_mesh(devices),
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    log_model(model)
    return _Setup(chosen, folder, model, heads, classes)


def _change_views(recipe: Preprocessing, clips: int | None, crops: str | None) -> Preprocessing:
    changes: dict[str, Any] = {} if clips is None else {"num_clips": clips}
    if crops is not None and int(crops) != recipe.num_crops:
        three = "three_up" if recipe.sampling == "windows" else "three"
        changes["crop"] = three if crops == "3" else "center"
    return dataclasses.replace(recipe, **changes)


def _find_heads(
    name: str, stored: Checkpoint, experiment: Experiment | None, classes: ClassEmbeddings | None
) -> tuple[Head, ...]:
    from vidtldr_jax.evaluation.heads import Head

    if classes is not None:
        return (Head("label", len(classes.names), classes.names),)
    if stored.config.num_classes is None:
        raise CommandError(
            f"classification needs a model with a classifier, or --class-embeddings; {name!r} has none; give either."
        )
    heads = experiment.heads if experiment is not None else None
    if heads is None:
        heads = (Head("label", stored.config.num_classes),)
    if stored.labels is None:
        return heads
    found, first = [], 0
    for head in heads:
        names = tuple(stored.labels[first : first + head.num_classes])
        found.append(head._replace(class_names=names))
        first += head.num_classes
    return tuple(found)


def _read_entries(manifest: str, root: str | None, heads: Sequence[Head]) -> list[ManifestEntry]:
    from vidtldr_jax.data.manifest import read_manifest

    try:
        return read_manifest(
            manifest,
            root=root,
            columns=[head.name for head in heads],
            class_names=[head.class_names for head in heads],
            num_classes=[head.num_classes for head in heads],
        )
    except ValueError as error:
        raise CommandError(str(error)) from error


def _run(
    ways: Mapping[str, VideoModel],
    entries: Sequence[ManifestEntry],
    setup: _Setup,
    average: Average,
    records: Records,
    batch_size: int,
    workers: int,
) -> float:
    from vidtldr_jax.evaluation.classification import evaluate_videos

    way = next(iter(ways))
    done = {entry.name for entry in entries if "ways" in records.found.get(entry.name, {})}
    if done:
        print_note(f"{len(done)} of {len(entries)} videos are known from {records.path}.")
    right = sum(_is_right(records.found[name], way) for name in done)
    count, last_log = len(done), time.monotonic()
    with show_progress("evaluating", total=len(entries)) as progress:
        progress.advance(progress.task_ids[0], count)

        def tell(entry: ManifestEntry) -> None:
            nonlocal right, count, last_log
            right, count = right + _is_right(records.found[entry.name], way), count + 1
            text = f"evaluating, {way} {right / count:.1%} right"
            progress.update(progress.task_ids[0], advance=1, description=text)
            if time.monotonic() - last_log > SECONDS_BETWEEN_LOGS:
                last_log = time.monotonic()
                log.info("%d of %d videos, %s", count, len(entries), text)

        return evaluate_videos(
            ways,
            entries,
            heads=setup.heads,
            average=average,
            records=records,
            classes=setup.classes,
            batch_size=batch_size,
            num_workers=workers,
            progress=tell,
        )


def _is_right(record: Mapping[str, Any], way: str) -> bool:
    return "ways" in record and all(head["rank"] == 0 for head in record["ways"][way])
