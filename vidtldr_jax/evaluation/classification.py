"""Accuracy of a classifier on labelled videos, plain and merged.

result = vt.evaluation.evaluate_classification(model, "val.csv", compare_plain=True, out="results/val.json")
result["ways"]["merged"]["accuracy"]["label"]["top_1"]["value"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict, cast

from vidtldr_jax import __version__
from vidtldr_jax.data.manifest import ManifestEntry, read_manifest
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.evaluation.arguments import (
    ArgumentError,
    check_choice,
    check_counts,
    check_model,
    check_paths,
    find_missing,
)
from vidtldr_jax.evaluation.class_embeddings import ClassEmbeddings, read_class_embeddings
from vidtldr_jax.evaluation.heads import AVERAGES, Average, Head
from vidtldr_jax.evaluation.progress import Watch, watch_silently
from vidtldr_jax.evaluation.run import (
    PathLike,
    Weights,
    describe_run,
    find_places,
    identify_weights,
    write_result,
)
from vidtldr_jax.evaluation.views import (
    VideoRecord,
    check_heads,
    evaluate_videos,
    find_record_fault,
    sum_seconds,
    summarise,
)
from vidtldr_jax.inference.device import describe_device
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.trust.digests import hash_file
from vidtldr_jax.trust.notes import name_what_is_safe, tell_note
from vidtldr_jax.trust.records import Records

_MOST_NOTICES: Final = 10  # in the result; the records have all


class WayResult(TypedDict):
    """What one model, plain or merged, did and cost. Accuracies are by head, then "top_1" or "top_5"."""

    schedule: dict[str, Any]
    gmacs_per_view: float
    gmacs_per_video: float
    gmacs_total: float
    accuracy: dict[str, dict[str, dict[str, Any]]]
    computing_seconds_per_video: float | None


class ClassificationResult(TypedDict):
    """What `evaluate_classification` found: plain data, as in its JSON file. `ways` has "merged", "plain" or both."""

    protocol: str
    checkpoint: str | None
    checkpoint_sha256: str | None
    manifest: str
    manifest_sha256: str
    class_embeddings: str | None
    batch_size: int
    workers: int
    version: str
    dtype: str
    device: str
    heads: dict[str, int]
    counts: dict[str, int]
    views: dict[str, Any]
    preprocessing: dict[str, Any]
    ways: dict[str, WayResult]
    agreement: dict[str, Any] | None
    seconds: dict[str, float | None]
    errors: dict[str, str]
    skipped: list[str]
    notices: dict[str, list[str]]
    records: str | None


def evaluate_classification(
    model: VideoModel,
    manifest: PathLike,
    videos: PathLike | None = None,
    *,
    heads: Sequence[Head] | None = None,
    average: Average = "probabilities",
    class_embeddings: PathLike | None = None,
    compare_plain: bool = False,
    limit: int | None = None,
    skip_missing: bool = False,
    out: PathLike | None = None,
    restart: bool = False,
    checkpoint: PathLike | None = None,
    batch_size: int = 4,
    num_workers: int = 0,
    watch: Watch = watch_silently,
    about: Mapping[str, Any] | None = None,
) -> ClassificationResult:
    """Measure top-1 and top-5 accuracy on labelled videos.

    A video that can't be read counts as wrong and is named in `errors`. With `out`, every video is recorded beside it
    as soon as it is answered, and the same call goes on where it was broken off.

    Args:
      model: with a classifier, or with embeddings for `class_embeddings`; its schedule is the one that is measured.
      manifest: list of videos and their classes, see `data.manifest`.
      videos: folder that paths are relative to; None is the manifest's own.
      heads: groups of classes; None is one, "label", with the model's classes.
      average: what of the views of a video is averaged, "probabilities" or "logits".
      class_embeddings: file of texts' embeddings, for zero-shot classification, see `read_class_embeddings`.
      compare_plain: also run the plain model on the same views.
      limit: number of videos of the manifest to take; None takes all.
      skip_missing: leave out videos that don't exist.
      out: JSON file for the result.
      restart: forget the records beside `out`.
      checkpoint: folder or name that the model was loaded from, which result and records then name by its SHA-256;
        without it records are of these parameters.
      batch_size: views per run, over all devices.
      num_workers: number of decoding processes; 0 decodes in a thread.
      watch: how progress is shown; nothing by default.
      about: more facts for the result.

    Returns:
      A `ClassificationResult`.

    Raises:
      ArgumentError: an argument does not fit the model.
      MissingVideosError: videos don't exist, and `skip_missing` is off or no other is left.
      RecordsError: the records beside `out` are of another run or damaged, and `restart` is off.
      ValueError: the manifest or the embeddings have faults.
      OSError: a file can't be read or written.
    """
    check_model(model, VideoModel, purpose="classification")
    check_paths(manifest=manifest)
    others = {"videos": videos, "class_embeddings": class_embeddings, "out": out, "checkpoint": checkpoint}
    check_paths(**others, may_be_none=True)
    check_counts(batch_size=batch_size)
    check_counts(limit=limit, may_be_none=True)
    check_counts(num_workers=num_workers, least=0)
    check_choice("average", average, AVERAGES)
    classes = _read_classes(model, class_embeddings)
    chosen = _choose_heads(model, heads, classes)
    ways = _list_ways(model, compare_plain=compare_plain)
    places = find_places(out, [manifest, class_embeddings, checkpoint])
    listed = read_manifest(
        manifest,
        root=videos,
        columns=[head.name for head in chosen],
        class_names=[head.class_names for head in chosen],
        num_classes=[head.num_classes for head in chosen],
    )
    selected = listed[:limit]
    skipped = find_missing({entry.name: entry.path for entry in selected}, skip_missing=skip_missing)
    entries = [entry for entry in selected if entry.name not in skipped]
    weights = identify_weights(model, checkpoint, is_kept=out is not None)
    protocol = describe_protocol(model.preprocessing, average, is_zero_shot=classes is not None)
    manifest_sha256 = hash_file(Path(manifest))
    description = {
        **describe_run(model, weights),
        "protocol": protocol,
        "average": average,
        "schedules": {way: one.schedule.title for way, one in ways.items()},
        "preprocessing": model.preprocessing.to_dict(),
        "manifest_sha256": manifest_sha256,
        "root": str(Path(videos or Path(manifest).parent).absolute()),
        "heads": [[head.name, head.num_classes] for head in chosen],
        "class_embeddings_sha256": None if class_embeddings is None else hash_file(Path(class_embeddings)),
    }
    records = Records(
        places.records,
        description,
        restart=restart,
        kind=VideoRecord,
        find_fault=lambda record: find_record_fault(record, ways, chosen),
    )
    with name_what_is_safe(records.path, lambda: f"{len(records.found)} videos"), records:
        compile_seconds = _run(
            ways, entries, records, watch, heads=chosen, average=average, classes=classes, batch_size=batch_size,
            num_workers=num_workers,
        )  # fmt: skip
    facts = {
        **_describe_inputs(weights, manifest, manifest_sha256, class_embeddings),
        "batch_size": batch_size,
        "workers": num_workers,
        "version": __version__,
        **(about or {}),
    }
    result = _build_result(
        ways, entries, chosen, records, protocol=protocol, average=average, compile_seconds=compile_seconds,
        facts=facts, num_listed=len(listed), skipped=skipped,
    )  # fmt: skip
    write_result(places, result)
    return result


def describe_protocol(recipe: Preprocessing, average: str, *, is_zero_shot: bool) -> str:
    """Say in one line how a video becomes an answer; accuracies compare where this line is the same."""
    apart = f", {recipe.stride} apart" if recipe.sampling in ("dense", "windows") else ""
    edge = recipe.shortest_edge or recipe.image_size
    shape = f"shortest edge {edge}, " if recipe.resize == "shortest_edge" else "squashed to "
    way = "zero-shot by cosine with class embeddings, " if is_zero_shot else ""
    averaged = "one view" if recipe.num_views == 1 else f"{average} averaged over views"
    return (
        f"{recipe.num_clips} x {recipe.num_crops} views (clips x crops) of {recipe.num_frames} frames "
        f"({recipe.sampling}{apart}), {shape}{recipe.image_size} x {recipe.image_size}, {recipe.kernel}; "
        f"{way}{averaged}"
    )


def _read_classes(model: VideoModel, class_embeddings: PathLike | None) -> ClassEmbeddings | None:
    if class_embeddings is None:
        return None
    if model.config.embed_dim is None:
        raise ArgumentError("class_embeddings", "needs a model that embeds videos; this one does not; leave it out.")
    return read_class_embeddings(class_embeddings, embed_dim=model.config.embed_dim)


def _choose_heads(model: VideoModel, heads: Sequence[Head] | None, classes: ClassEmbeddings | None) -> tuple[Head, ...]:
    if classes is not None:
        return (Head("label", len(classes.names), classes.names),)
    num_classes = model.config.num_classes
    if num_classes is None:
        raise ArgumentError(
            "class_embeddings", "is needed for a model without a classifier; got none; give it, or another model."
        )
    chosen = tuple(heads or (Head("label", num_classes),))
    if not all(isinstance(head, Head) for head in chosen):
        raise ArgumentError("heads", f"is a list of Head(name, num_classes); got {heads!r}; pass such a list.")
    for head in chosen:
        check_counts(num_classes=head.num_classes)
    check_heads(model, chosen)
    if model.labels is None:
        return chosen
    named, first = [], 0
    for head in chosen:
        named.append(head._replace(class_names=tuple(model.labels[first : first + head.num_classes])))
        first += head.num_classes
    return tuple(named)


def _list_ways(model: VideoModel, *, compare_plain: bool) -> dict[str, VideoModel]:
    if not compare_plain:
        return {"plain" if model.schedule.is_plain else "merged": model}
    if model.schedule.is_plain:
        raise ArgumentError("compare_plain", "needs a schedule that merges; got none; give a schedule.")
    return {"merged": model, "plain": model.with_schedule(None)}


def _describe_inputs(
    weights: Weights, manifest: PathLike, manifest_sha256: str, class_embeddings: PathLike | None
) -> dict[str, Any]:
    return {
        "checkpoint": weights.checkpoint,
        "checkpoint_sha256": weights.sha256,
        "manifest": str(manifest),
        "manifest_sha256": manifest_sha256,
        "class_embeddings": None if class_embeddings is None else str(class_embeddings),
    }


def _run(
    ways: Mapping[str, VideoModel], entries: Sequence[ManifestEntry], records: Records, watch: Watch, **options: Any
) -> float:
    """Evaluate what has no record yet; return the seconds that compiling took."""
    way = next(iter(ways))
    known = [entry.name for entry in entries if "ways" in records.found.get(entry.name, {})]
    if known:
        tell_note(f"{len(known)} of {len(entries)} videos are known from {records.path}.")
    right, count = sum(_is_right(records.found[name], way) for name in known), len(known)
    with watch("evaluating", total=len(entries), known=count) as advance:

        def tell(entry: ManifestEntry) -> None:
            nonlocal right, count
            right, count = right + _is_right(records.found[entry.name], way), count + 1
            advance(1, f"evaluating, {way} {right / count:.1%} right")

        return evaluate_videos(ways, entries, records=records, progress=tell, **options)


def _is_right(record: Mapping[str, Any], way: str) -> bool:
    return "ways" in record and all(head["rank"] == 0 for head in record["ways"][way])


def _build_result(
    ways: Mapping[str, VideoModel],
    entries: Sequence[ManifestEntry],
    heads: Sequence[Head],
    records: Records,
    *,
    protocol: str,
    average: str,
    compile_seconds: float,
    facts: Mapping[str, Any],
    num_listed: int,
    skipped: Sequence[str],
) -> ClassificationResult:
    found = summarise(records, entries, tuple(ways), heads)
    paces = sum_seconds(records, entries)
    model = next(iter(ways.values()))
    num_read, recipe = len(entries) - len(found["errors"]), model.preprocessing
    described = {}
    for way, one in ways.items():
        gmacs = count_macs(one.config, one.schedule).gmacs
        is_timed = way in paces.computing and bool(entries)
        described[way] = {
            "schedule": one.schedule.to_dict(),
            "gmacs_per_view": gmacs,
            "gmacs_per_video": gmacs * recipe.num_views,
            "gmacs_total": gmacs * recipe.num_views * num_read,
            "accuracy": found["accuracy"][way],
            "computing_seconds_per_video": paces.computing[way] / len(entries) if is_timed else None,
        }
    result = {
        "protocol": protocol,
        **facts,
        "dtype": str(model.dtype),
        "device": describe_device(),
        "heads": {head.name: head.num_classes for head in heads},
        "counts": {
            "listed": num_listed,
            "skipped_missing": len(skipped),
            "evaluated": len(entries),
            "unreadable_counted_as_wrong": len(found["errors"]),
            "with_notices": len(found["notices"]),
        },
        "views": {
            "clips": recipe.num_clips,
            "crops": recipe.num_crops,
            "per_video": recipe.num_views,
            "average": average,
        },
        "preprocessing": recipe.to_dict(),
        "ways": described,
        "agreement": found["agreement"],
        "seconds": {
            "total": paces.total,
            "per_video": paces.total / len(entries) if entries else None,
            "compiling_at_this_start": compile_seconds,
        },
        "errors": found["errors"],
        "skipped": list(skipped),
        "notices": dict(list(found["notices"].items())[:_MOST_NOTICES]),
        "records": None if records.path is None else str(records.path),
    }
    return cast("ClassificationResult", result)
