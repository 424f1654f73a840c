"""`vidtldr evaluate qa`: how often a model's answer to a question about a video is the right one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from vidtldr_jax import __version__
from vidtldr_jax.cli.choices import FILE
from vidtldr_jax.cli.evaluation_files import (
    check_result_place,
    find_skipped,
    hash_text,
    report_errors,
    report_notices,
    tell_what_is_safe,
    write_result,
)
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.names import QUESTIONS_PER_RUN
from vidtldr_jax.cli.output import print_json, print_note, watch_progress
from vidtldr_jax.cli.text_models import prepare, umt_options
from vidtldr_jax.cli.words import choose_length, count_unknown
from vidtldr_jax.trust.digests import hash_file
from vidtldr_jax.trust.records import Records

_K_TEST: Final = 128
_TOKENS: Final = {"max_question_tokens": 25, "max_answer_tokens": 5}
_END: Final = "[SEP]"
_EPILOG: Final = """\b
Examples:
  vidtldr evaluate qa --model checkpoints/umt-b16-msvd-qa --annotation msvd_qa_test.json \\
      --answers msvd_qa_answer_list.json --videos MSVD --frames 12 --schedule 600,200 --out results/msvd_qa.json
  vidtldr evaluate qa --config configs/qa.py:msrvtt,l16 --model checkpoints/umt-l16-msrvtt-qa \\
      --annotation msrvtt_qa_test.json --answers msrvtt_qa_answer_list.json --videos MSRVTT --out results/qa.json
"""


@click.command(epilog=_EPILOG)
@umt_options
@click.option("--answers", type=FILE, help="To choose from: a JSON list, or one a line.  [default: the config's]")
@click.option(
    "--k-test", type=click.IntRange(min=1), help=f"Answers to rate in full.  [default: the config's, or {_K_TEST}]"
)
@click.option(
    "--questions-per-run",
    type=click.IntRange(min=1),
    default=QUESTIONS_PER_RUN,
    show_default=True,
    help="About a video.",
)
@click.option(
    "--max-question-tokens",
    type=click.IntRange(min=3),
    help="[default: the config's, or 25, or as many as the model takes]",
)
@click.option("--max-answer-tokens", type=click.IntRange(min=3), help="[default: the config's, or 5]")
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
    import jax

    from vidtldr_jax.cli.qa_report import build_result, print_result
    from vidtldr_jax.data.annotations import read_answers, read_questions
    from vidtldr_jax.evaluation.question_answering import (
        QuestionRecord,
        answer_into,
        encode_answers,
        find_record_fault,
        summarise_answers,
    )
    from vidtldr_jax.inference.checkpoint import WEIGHTS_NAME
    from vidtldr_jax.inference.text_model import AnsweringModel
    from vidtldr_jax.models.architectures import describe_config

    setup = prepare(
        config, model, task="question_answering", schedule=schedule, method=method, frames=frames,
        first_seconds=first_seconds, tokenizer=tokenizer, dtype=dtype, devices=devices,
    )  # fmt: skip
    assert isinstance(setup.model, AnsweringModel)
    place, answers_place = annotation or setup.config.get("annotation"), answers or setup.config.get("answers")
    if not place or not answers_place:
        raise click.UsageError("--annotation and --answers are needed: JSON files of questions and of answers.")
    listed, choices = read_questions(place), read_answers(answers_place)
    folder = Path(videos or setup.config.get("videos") or Path(place).parent)
    names = list(dict.fromkeys(question.video for question in listed))[:limit]
    paths = {name: folder / name for name in names}
    skipped = set(find_skipped(paths, skip_missing=skip_missing, option="--videos"))
    asked = [question for question in listed if question.video in paths and question.video not in skipped]
    if k_test is not None and k_test > len(choices):
        raise CommandError(
            f"--k-test is at most the number of answers, {len(choices)}; got {k_test}; take fewer, or leave it out."
        )
    k = min(k_test or setup.config.get("k_test") or _K_TEST, len(choices))
    given = {"max_question_tokens": max_question_tokens, "max_answer_tokens": max_answer_tokens}
    lengths = {
        name: choose_length(
            given[name], setup.config.get(name), default, model=setup.model, what=name.split("_")[1] + "s"
        )
        for name, default in _TOKENS.items()
    }
    end = setup.config.get("end_of_answer") or _END
    texts = [question.question for question in asked]
    try:
        words = setup.model.tokenize(texts, max_tokens=lengths["max_question_tokens"])
        encoded = encode_answers(setup.model, choices, max_tokens=lengths["max_answer_tokens"], end=end)
    except ValueError as error:
        raise CommandError(str(error)) from error
    facts = {
        "checkpoint_sha256": hash_file(setup.folder / WEIGHTS_NAME),
        "tokenizer_sha256": hash_text(setup.model.tokenizer),
        "annotation_sha256": hash_file(Path(place)),
        "answers_sha256": hash_file(Path(answers_place)),
        "k_test": k,
        **lengths,
        "end_of_answer": end,
        "version": __version__,
    }
    description = {
        **facts,
        "schedule": setup.model.schedule.title,
        "preprocessing": setup.model.preprocessing.to_dict(),
        "architecture": describe_config(setup.model.config),
        "dtype": str(setup.model.dtype),
        "platform": jax.default_backend(),
        "videos": str(folder.absolute()),
        "batch_size": batch_size,
        "questions_per_run": questions_per_run,
    }
    file = None if out is None else check_result_place(Path(out), [place, answers_place, setup.folder])
    try:
        records = Records(
            file and file.with_suffix(".records.jsonl"),
            description,
            restart=restart,
            kind=QuestionRecord,
            find_fault=lambda record: find_record_fault(record, len(choices)),
        )
        with tell_what_is_safe(records.path, lambda: f"{len(records.found)} answers"), records:
            known = sum("top" in records.found.get(question.key, {}) for question in asked)
            if known:
                print_note(f"{known} of {len(asked)} questions are answered in {records.path}.")
            notices: dict[str, Sequence[str]] = {}
            start = time.perf_counter()
            with watch_progress("answering", total=len(asked), known=known) as advance:
                answer_into(
                    records, setup.model, asked, words, paths, encoded, k=k, batch_size=batch_size,
                    block_size=questions_per_run, num_workers=workers, progress=advance,
                    noting=notices.__setitem__,
                )  # fmt: skip
            spent = {"seconds": time.perf_counter() - start, "done": len(asked) - known, "known_before": known}
            found = summarise_answers(records, asked, choices)
    except ValueError as error:
        raise CommandError(str(error)) from error
    result = build_result(
        setup.model,
        accuracy=found["accuracy"],
        counts={
            "questions_listed": len(listed), "questions": len(asked), "videos": len(names) - len(skipped),
            "skipped_missing_videos": len(skipped), "videos_without_answer": len(found["errors"]),
            "answers": len(choices), "answerable": found["answerable"], "questions_cut": words.num_cut,
            "answers_cut": encoded.num_cut, **count_unknown(setup.model, texts, what="questions"),
            **count_unknown(setup.model, choices, what="answers"),
        },
        seconds={"questions": spent},
        config=setup.config,
        facts={
            "model": setup.name, "config": config, "checkpoint": str(setup.folder), "annotation": place,
            "answers": answers_place, "videos": str(folder), "batch_size": batch_size, "workers": workers,
            "devices": devices, **facts,
        },
        errors=found["errors"],
        skipped=sorted(skipped),
    )  # fmt: skip
    if file is not None:
        write_result(file, result)
    report_notices(notices)
    report_errors(found["errors"])
    if as_json:
        print_json(result)
    else:
        print_result(result)
    return 1 if found["errors"] else 0
