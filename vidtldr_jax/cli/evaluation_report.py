"""What an evaluation found, as plain data and as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vidtldr_jax.cli.comparison import describe_schedule, name_schedule
from vidtldr_jax.cli.output import format_macs, format_seconds, print_line, print_table
from vidtldr_jax.cli.runtime import describe_device
from vidtldr_jax.data.manifest import ManifestEntry
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.evaluation.classification import sum_seconds, summarise
from vidtldr_jax.evaluation.heads import Head
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.trust.records import Records

_MOST_NOTICES: Final = 10  # in the result; the records have all


def describe_protocol(recipe: Preprocessing, average: str, *, is_zero_shot: bool) -> str:
    """Says in one line how a video becomes an answer; accuracies compare where this line is the same."""
    apart = f", {recipe.stride} apart" if recipe.sampling in ("dense", "windows") else ""
    edge = recipe.shortest_edge or recipe.image_size
    shape = f"shortest edge {edge}, " if recipe.resize == "shortest_edge" else "squashed to "
    way = "zero-shot by cosine with class embeddings, " if is_zero_shot else ""
    one_view = recipe.num_views == 1
    return (
        f"{recipe.num_clips} x {recipe.num_crops} views (clips x crops) of {recipe.num_frames} frames "
        f"({recipe.sampling}{apart}), {shape}{recipe.image_size} x {recipe.image_size}, {recipe.kernel}; "
        f"{way}{average if not one_view else 'one view'}{'' if one_view else ' averaged over views'}"
    )


def build_result(
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
    records_file: str | None,
) -> dict[str, Any]:
    """Puts a result together.

    Args:
      ways: the models by name.
      entries: the videos that count.
      heads: groups of classes.
      records: with one of every entry.
      protocol: from `describe_protocol`.
      average: what of the views was averaged.
      compile_seconds: of this start.
      facts: more to be written down, of no meaning here.
      num_listed: videos of the manifest.
      skipped: videos that don't exist and were left out.
      records_file: where the records are, or None.

    Returns:
      Plain data for JSON.
    """
    found = summarise(records, entries, tuple(ways), heads)
    paces = sum_seconds(records, entries)
    first = next(iter(ways.values()))
    views = first.preprocessing.num_views
    described = {}
    for way, model in ways.items():
        gmacs = count_macs(model.config, model.schedule).gmacs
        described[way] = {
            "schedule": describe_schedule(model.schedule),
            "gmacs_per_view": gmacs,
            "gmacs_per_video": gmacs * views,
            "gmacs_total": gmacs * views * (len(entries) - len(found["errors"])),
            "accuracy": found["accuracy"][way],
            "computing_seconds_per_video": (
                paces.computing[way] / len(entries) if way in paces.computing and entries else None
            ),
        }
    return {
        "protocol": protocol,
        **facts,
        "dtype": str(first.dtype),
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
            "clips": first.preprocessing.num_clips,
            "crops": first.preprocessing.num_crops,
            "per_video": views,
            "average": average,
        },
        "preprocessing": first.preprocessing.to_dict(),
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
        "records": records_file,
    }


def print_result(result: Mapping[str, Any]) -> None:
    """Prints a result for people."""
    rows = [
        (f"{way} {head} {top.replace('_', '-')}", *_format_share(share))
        for way, found in result["ways"].items()
        for head, tops in found["accuracy"].items()
        for top, share in tops.items()
    ]
    print_table(("", "accuracy", "right", "of", "95 % interval"), rows)
    agreement = result["agreement"]
    if agreement is not None:
        lost, gained = agreement["right_only_plain"], agreement["right_only_merged"]
        print_line(
            f"both name the same on {agreement['same']} of {agreement['of']} videos; right only plain: {lost}, only "
            f"merged: {gained}"
        )
    print_line()
    for name, value in _list_facts(result):
        print_line(f"{name:<10}  {value}")


def _list_facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts, seconds = result["counts"], result["seconds"]
    videos = f"{counts['evaluated']} of {counts['listed']} listed"
    if counts["skipped_missing"]:
        videos += f"; {counts['skipped_missing']} that don't exist left out"
    if counts["unreadable_counted_as_wrong"]:
        videos += f"; {counts['unreadable_counted_as_wrong']} can't be read and count as wrong"
    if counts["with_notices"]:
        videos += f"; {counts['with_notices']} with notices, such as too few frames"
    rows = [("protocol", result["protocol"]), ("videos", videos)]
    for way, found in result["ways"].items():
        schedule = found["schedule"]
        clamped = f" ({'; '.join(schedule['clamps'])})" if schedule["clamps"] else ""
        cost = f"{format_macs(found['gmacs_per_view'] * 1e9)} GMACs per view, "
        cost += f"{format_macs(found['gmacs_per_video'] * 1e9)} per video"
        pace = found["computing_seconds_per_video"]
        cost += "" if pace is None else f", {format_seconds(pace)} of computing per video"
        rows.append((way, f"schedule {name_schedule(schedule)}{clamped}; {cost}"))
    rows.append(
        (
            "time",
            f"{format_seconds(seconds['total'])}, {format_seconds(seconds['per_video'] or 0)} per video with reading; "
            f"compiling {format_seconds(seconds['compiling_at_this_start'])}",
        )
    )
    rows.append(("device", f"{result['device']}, {result['dtype']}"))
    rows.append(("checkpoint", f"{result['checkpoint']}, SHA-256 {result['checkpoint_sha256']}"))
    return rows


def _format_share(share: Mapping[str, Any]) -> tuple[str, str, str, str]:
    if share["value"] is None:
        return "-", "0", "0", "-"
    low, high = share["interval_95"]
    return f"{share['value']:.2%}", str(share["right"]), str(share["of"]), f"{low:.2%} to {high:.2%}"
