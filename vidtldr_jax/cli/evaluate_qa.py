"""`vidtldr evaluate qa`: how often a model's answer to a question about a video is the right one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from vidtldr_jax.cli.choices import FILE
from vidtldr_jax.cli.evaluation_files import check_result_place, name_options, report_errors
from vidtldr_jax.cli.names import K_TEST, QUESTIONS_PER_RUN
from vidtldr_jax.cli.output import print_json, watch_progress
from vidtldr_jax.cli.text_models import prepare, umt_options

_EPILOG: Final = """\b
Examples:
  vidtldr evaluate qa --model checkpoints/umt-b16-msvd-qa --annotation msvd_qa_test.json \\
      --answers msvd_qa_answer_list.json --videos MSVD --frames 12 --schedule 600,200 --out results/msvd_qa.json
  vidtldr evaluate qa --config configs/qa.py:msrvtt,l16 --model checkpoints/umt-l16-msrvtt-qa \\
      --annotation msrvtt_qa_test.json --answers msrvtt_qa_answer_list.json --videos MSRVTT --out results/qa.json
"""


@click.command(epilog=_EPILOG)
@umt_options
@click.option(
    "--answers", type=FILE, help="Answers to choose from: a JSON list, or one per line.  [default: the config's]"
)
@click.option(
    "--k-test", type=click.IntRange(min=1), help=f"Answers to rate in full.  [default: the config's, or {K_TEST}]"
)
@click.option(
    "--questions-per-run",
    type=click.IntRange(min=1),
    default=QUESTIONS_PER_RUN,
    show_default=True,
    help="Questions per run, about one video.",
)
@click.option(
    "--max-question-tokens",
    type=click.IntRange(min=3),
    help="Number of tokens at which a question is cut.  [default: the config's, or 25, or as many as the model takes]",
)
@click.option(
    "--max-answer-tokens",
    type=click.IntRange(min=3),
    help="Number of tokens at which an answer is cut.  [default: the config's, or 5]",
)
def qa(
    config: str | None,
    model: str | None,
    annotation: str | None,
    videos: str | None,
    tokenizer: str | None,
    schedule: str | None,
    method: str | None,
    frames: int | None,
    first_seconds: float | None,
    limit: int | None,
    out: str | None,
    restart: bool,
    skip_missing: bool,
    batch_size: int,
    workers: int,
    devices: int,
    dtype: str,
    as_json: bool,
    answers: str | None,
    k_test: int | None,
    questions_per_run: int,
    max_question_tokens: int | None,
    max_answer_tokens: int | None,
) -> int:
    """Measures how often the most probable of a list of answers is the right one.

    The annotation is JSON as UMT's and vid-TLDR's: [{"video": "a.mp4", "question": "what is the man doing", "answer":
    "sing", "question_id": 7}, ...]. With --out every answer is recorded as it comes and the same command goes on where
    it was broken off. Questions about a video that can't be read count as wrong; the exit code is then 1.
    """
    from vidtldr_jax.cli.qa_report import print_result
    from vidtldr_jax.evaluation.question_answering import END_OF_ANSWER, evaluate_question_answering
    from vidtldr_jax.inference.text_model import AnsweringModel

    setup = prepare(
        config, model, task="question_answering", schedule=schedule, method=method, frames=frames,
        first_seconds=first_seconds, tokenizer=tokenizer, dtype=dtype, devices=devices,
    )  # fmt: skip
    assert isinstance(setup.model, AnsweringModel)
    fields = setup.config
    place, answers_place = annotation or fields.get("annotation"), answers or fields.get("answers")
    if not place or not answers_place:
        raise click.UsageError("--annotation and --answers are needed: JSON files of questions and of answers.")
    with name_options(videos="--videos"):
        result = evaluate_question_answering(
            setup.model,
            place,
            answers_place,
            videos or fields.get("videos"),
            k_test=k_test,
            usual_k_test=fields.get("k_test") or K_TEST,
            max_question_tokens=max_question_tokens or fields.get("max_question_tokens"),
            max_answer_tokens=max_answer_tokens or fields.get("max_answer_tokens"),
            end_of_answer=fields.get("end_of_answer") or END_OF_ANSWER,
            limit=limit,
            skip_missing=skip_missing,
            out=None if out is None else check_result_place(Path(out), [place, answers_place, setup.folder]),
            restart=restart,
            checkpoint=setup.folder,
            batch_size=batch_size,
            questions_per_run=questions_per_run,
            num_workers=workers,
            watch=watch_progress,
            about=setup.describe(config, devices),
        )
    report_errors(result["errors"])
    if as_json:
        print_json(result)
    else:
        print_result(result)
    return 1 if result["errors"] else 0
