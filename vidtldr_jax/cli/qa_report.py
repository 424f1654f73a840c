"""What an evaluation of answers found, as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidtldr_jax.cli.output import print_line, print_table
from vidtldr_jax.cli.text_report import list_costs, list_data


def print_result(result: Mapping[str, Any]) -> None:
    """Prints a result for people."""
    share, counts, published = result["accuracy"], result["counts"], result["published"]
    low, high = share["interval_95"]
    row = (f"{share['value']:.2%}", str(share["right"]), str(share["of"]), f"{low:.2%} to {high:.2%}")
    print_table(("", "accuracy", "right", "of", "95 % interval"), [("questions", *row)])
    videos = str(counts["videos"])
    if counts["skipped_missing_videos"]:
        videos += f"; {counts['skipped_missing_videos']} that don't exist left out, with their questions"
    if counts["videos_without_answer"]:
        videos += f"; {counts['videos_without_answer']} give no answer, their questions count as wrong"
    rows = [("protocol", result["protocol"]), *list_data(result), ("videos", videos)]
    if counts["answerable"] < counts["questions"]:
        missing = counts["questions"] - counts["answerable"]
        rows.append(("answers", f"{counts['answers']}; questions whose right one is not among them: {missing}"))
    if published:
        rows.append(("published", f"plain {published['plain']}, merged {published['merged']}: {published['unit']}"))
    print_line()
    for name, value in [*rows, *list_costs(result)]:
        print_line(f"{name:<10}  {value}")
