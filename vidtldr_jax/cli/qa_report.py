"""What an evaluation of answers found, as plain data and as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from vidtldr_jax.cli.comparison import describe_schedule
from vidtldr_jax.cli.output import print_table
from vidtldr_jax.cli.retrieval_report import describe_clips, list_costs, list_data
from vidtldr_jax.cli.runtime import describe_device
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.reduction.cost import count_macs


def build_result(
    model: VideoModel,
    *,
    accuracy: Mapping[str, Any],
    counts: Mapping[str, int],
    seconds: Mapping[str, Any],
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
    errors: Mapping[str, str],
    skipped: Sequence[str],
) -> dict[str, Any]:
    """Puts a result together.

    Args:
      model: that was evaluated.
      accuracy: of exact matches, see `count_right`.
      counts: of questions, videos and answers.
      seconds: by part of the work.
      config: fields of the config file; empty without one.
      facts: more to be written down: k_test, token limits and end_of_answer are in the protocol too.
      errors: videos that can't be read.
      skipped: videos that don't exist and were left out.

    Returns:
      Plain data for JSON.
    """
    return {
        "task": "question_answering",
        "protocol": (
            f"{describe_clips(model.preprocessing)}; questions of at most {facts['max_question_tokens']} tokens, "
            f"answers of at most {facts['max_answer_tokens']} with {facts['end_of_answer']} behind them; of "
            f"{counts['answers']} answers {facts['k_test']} are rated in full; exact match"
        ),
        "dataset": config.get("dataset"),
        "split": config.get("split"),
        "accuracy": dict(accuracy),
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
    click.echo()
    for name, value in [*rows, *list_costs(result)]:
        click.echo(f"{name:<10}  {value}")
