"""What a retrieval evaluation found, as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vidtldr_jax.cli.output import print_line, print_table
from vidtldr_jax.cli.text_report import list_costs, list_data
from vidtldr_jax.evaluation.metrics import DIRECTIONS, RECALLS

_TITLES: Final = {"itc": "ITC only", "reranked": "re-ranked"}


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
