"""What a retrieval evaluation found, as plain data and as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from vidtldr_jax.cli.comparison import describe_schedule
from vidtldr_jax.cli.output import format_macs, format_seconds, print_table
from vidtldr_jax.cli.runtime import describe_device
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.ranking import DIRECTIONS, RECALLS, describe_ranks, name_as_originals
from vidtldr_jax.reduction.cost import count_macs

_TITLES: Final = {"itc": "ITC only", "reranked": "re-ranked"}


def describe_clips(recipe: Preprocessing) -> str:
    """Says in a few words what of a video is looked at."""
    within = "" if recipe.first_seconds is None else f" of the first {recipe.first_seconds:g} s"
    shape = "squashed to" if recipe.resize == "squash" else f"shortest edge {recipe.shortest_edge}, centre"
    size = f"{recipe.image_size} x {recipe.image_size}"
    return f"{recipe.num_frames} frames ({recipe.sampling}){within}, {shape} {size}, {recipe.kernel}"


def describe_protocol(recipe: Preprocessing, max_text_tokens: int, k: int | None, *, is_paragraph: bool) -> str:
    """Says in one line how ranks are made; they compare where this line is the same.

    Args:
      recipe: how clips are made.
      max_text_tokens: of a text.
      k: candidates to re-rank, or None.
      is_paragraph: whether a video's captions are one text.

    Returns:
      The line.
    """
    texts = "paragraphs" if is_paragraph else "captions"
    second = "" if k is None else f", then ITM of the {k} most similar"
    return (
        f"{describe_clips(recipe)}; {texts} of at most {max_text_tokens} tokens; ITC{second}; of equal ones the first"
    )


def build_result(
    ranks: Mapping[str, Mapping[str, list[int]]],
    model: VideoModel,
    *,
    protocol: str,
    counts: Mapping[str, int],
    seconds: Mapping[str, Any],
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
    errors: Mapping[str, str],
    skipped: Sequence[str],
) -> dict[str, Any]:
    """Puts a result together.

    Args:
      ranks: "itc" and perhaps "reranked" -> direction -> ranks from 0.
      model: that was evaluated.
      protocol: from `describe_protocol`.
      counts: of videos, texts and pairs.
      seconds: by part of the work.
      config: fields of the config file; empty without one.
      facts: more to be written down, of no meaning here.
      errors: videos that can't be read.
      skipped: videos that don't exist and were left out.

    Returns:
      Plain data for JSON.
    """
    results = {}
    for way, directions in ranks.items():
        described = {direction: describe_ranks(directions[direction]) for direction in DIRECTIONS}
        mean = sum(described[direction]["r1"]["value"] for direction in DIRECTIONS) / len(DIRECTIONS)
        results[way] = {**described, "mean_r1": mean, "originals": name_as_originals(described)}
    return {
        "task": "retrieval",
        "protocol": protocol,
        "dataset": config.get("dataset"),
        "split": config.get("split"),
        "results": results,
        "counts": dict(counts),
        "schedule": describe_schedule(model.schedule),
        "gmacs_per_video": count_macs(model.config, model.schedule).gmacs,
        "published": config.get("published"),
        "seconds_of_this_start": dict(seconds),
        "dtype": str(model.dtype),
        "device": describe_device(),
        "preprocessing": model.preprocessing.to_dict(),
        **facts,
        "errors": dict(errors),
        "skipped": list(skipped),
    }


def print_result(result: Mapping[str, Any]) -> None:
    """Prints a result for people."""
    header = ("", *(f"R@{k}" for k in RECALLS), "median rank", "mean rank")
    rows = [
        (
            f"{_TITLES[way]} {direction.replace('_', ' ')}",
            *(f"{found[direction][f'r{k}']['value']:.2%}" for k in RECALLS),
            f"{found[direction]['median_rank']:g}",
            f"{found[direction]['mean_rank']:.2f}",
        )
        for way, found in result["results"].items()
        for direction in DIRECTIONS
    ]
    print_table(header, rows)
    click.echo()
    for name, value in _list_facts(result):
        click.echo(f"{name:<10}  {value}")


def _list_facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts = result["counts"]
    videos = f"{counts['videos']} of {counts['videos_listed']} listed"
    if counts["skipped_missing"]:
        videos += f"; {counts['skipped_missing']} that don't exist left out, with their texts"
    if counts["unreadable_counted_as_wrong"]:
        videos += f"; {counts['unreadable_counted_as_wrong']} can't be read and count as wrong"
    texts = f"{counts['texts']}, {counts['unique_texts']} of them different"
    if counts["texts_cut"]:
        texts += f"; {counts['texts_cut']} cut to {result['max_text_tokens']} tokens"
    last = list(result["results"].values())[-1]
    rows = [
        ("protocol", result["protocol"]),
        ("mean R@1", f"{last['mean_r1']:.2%} of both directions, {_TITLES[list(result['results'])[-1]]}"),
        *list_data(result),
        ("videos", videos),
        ("texts", texts),
        *list_costs(result),
    ]
    if result["published"]:
        published = result["published"]
        shown = ", ".join(f"{way} {published[way]}" for way in ("plain", "merged") if published[way] is not None)
        if shown:
            rows.insert(2, ("published", f"{shown}: {published['unit']}"))
    return rows


def list_data(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lists what was evaluated on: data set and split where a config names them, and the annotation."""
    named = [("data set", f"{result['dataset']}, split {result['split']}")] if result["dataset"] else []
    return [*named, ("annotation", f"{result['annotation']}, SHA-256 {result['annotation_sha256']}")]


def list_costs(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lists what every evaluation of a UMT says of its costs: schedule, time, device, checkpoint."""
    schedule = result["schedule"]
    clamped = f" ({'; '.join(schedule['clamps'])})" if schedule["clamps"] else ""
    cost = f"{format_macs(result['gmacs_per_video'] * 1e9)} GMACs of the video encoder per video"
    times = [
        f"{part['done']} {name} in {format_seconds(part['seconds'])}"
        for name, part in result["seconds_of_this_start"].items()
        if part["done"]
    ]
    return [
        ("schedule", f"{schedule['text']}{clamped}; {cost}"),
        ("time", f"{', '.join(times) or 'nothing was left to do'}; reading and compiling are in it"),
        ("device", f"{result['device']}, {result['dtype']}"),
        ("checkpoint", f"{result['checkpoint']}, SHA-256 {result['checkpoint_sha256']}"),
    ]
