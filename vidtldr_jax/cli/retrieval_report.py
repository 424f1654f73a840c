"""What a retrieval evaluation found, as plain data and as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vidtldr_jax.cli.output import print_line, print_table
from vidtldr_jax.cli.text_report import describe_clips, describe_run, list_costs, list_data
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.evaluation.metrics import DIRECTIONS, RECALLS, describe_ranks, name_as_originals
from vidtldr_jax.inference.model import VideoModel

_TITLES: Final = {"itc": "ITC only", "reranked": "re-ranked"}


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


def build_result(ranks: Mapping[str, Mapping[str, list[int]]], model: VideoModel, **described: Any) -> dict[str, Any]:
    """Puts a result together.

    Args:
      ranks: "itc" and perhaps "reranked" -> direction -> ranks from 0.
      model: that was evaluated.
      **described: see `describe_run`.

    Returns:
      Plain data for JSON.
    """
    results = {}
    for way, directions in ranks.items():
        # What is ranked in one direction asks in the other one.
        found = {
            direction: describe_ranks(directions[direction], len(directions[other]))
            for direction, other in zip(DIRECTIONS, reversed(DIRECTIONS))
        }
        mean = sum(found[direction]["r1"]["value"] for direction in DIRECTIONS) / len(DIRECTIONS)
        results[way] = {**found, "mean_r1": mean, "originals": name_as_originals(found)}
    return {"task": "retrieval", "results": results, **describe_run(model, **described)}


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
    print_line()
    for name, value in _list_facts(result):
        print_line(f"{name:<10}  {value}")


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
