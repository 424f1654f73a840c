"""Accuracy of answers to questions about videos, chosen out of a list.

result = vt.evaluation.evaluate_question_answering(model, "msvd_qa_test.json", "answers.json", "MSVD")
result["accuracy"]["value"]
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypedDict, cast

from vidtldr_jax import __version__
from vidtldr_jax.data.annotations import Question, read_answers, read_questions
from vidtldr_jax.data.text import EncodedTexts
from vidtldr_jax.evaluation.answers import (
    BLOCK_SIZE,
    QuestionRecord,
    answer_into,
    encode_answers,
    find_record_fault,
    summarise_answers,
)
from vidtldr_jax.evaluation.arguments import (
    ArgumentError,
    check_counts,
    check_model,
    check_paths,
    choose_k,
    find_missing,
)
from vidtldr_jax.evaluation.progress import Watch, watch_silently
from vidtldr_jax.evaluation.run import (
    PathLike,
    describe_clips,
    describe_run,
    find_places,
    hash_text,
    identify_weights,
    write_result,
)
from vidtldr_jax.evaluation.texts import choose_length, count_unknown
from vidtldr_jax.inference.device import describe_device
from vidtldr_jax.inference.text_model import AnsweringModel
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.trust.digests import hash_file
from vidtldr_jax.trust.notes import name_what_is_safe, tell_note, tell_notices
from vidtldr_jax.trust.records import Records

K_TEST: Final = 128
MAX_QUESTION_TOKENS: Final = 25
MAX_ANSWER_TOKENS: Final = 5
END_OF_ANSWER: Final = "[SEP]"


class QuestionAnsweringResult(TypedDict):
    """What `evaluate_question_answering` found: plain data, as its JSON file has it."""

    task: str
    accuracy: dict[str, Any]
    protocol: str
    counts: dict[str, int]
    schedule: dict[str, Any]
    gmacs_per_video: float
    seconds_of_this_start: dict[str, dict[str, Any]]
    dtype: str
    device: str
    preprocessing: dict[str, Any]
    checkpoint: str | None
    checkpoint_sha256: str | None
    tokenizer_sha256: str | None
    annotation: str
    annotation_sha256: str
    answers: str
    answers_sha256: str
    videos: str
    k_test: int
    max_question_tokens: int
    max_answer_tokens: int
    end_of_answer: str
    batch_size: int
    workers: int
    version: str
    errors: dict[str, str]
    skipped: list[str]


def evaluate_question_answering(
    model: AnsweringModel,
    annotation: PathLike,
    answers: PathLike,
    videos: PathLike | None = None,
    *,
    k_test: int | None = None,
    usual_k_test: int = K_TEST,
    max_question_tokens: int | None = None,
    max_answer_tokens: int | None = None,
    end_of_answer: str = END_OF_ANSWER,
    limit: int | None = None,
    skip_missing: bool = False,
    out: PathLike | None = None,
    restart: bool = False,
    checkpoint: PathLike | None = None,
    batch_size: int = 4,
    questions_per_run: int = BLOCK_SIZE,
    num_workers: int = 0,
    watch: Watch = watch_silently,
    about: Mapping[str, Any] | None = None,
) -> QuestionAnsweringResult:
    """Measure how often the most probable of a list of answers is the right one.

    Questions about a video that can't be read count as wrong; it is named in `errors`. With `out`, every answer is
    recorded beside it, and the same call goes on where it was broken off.

    Args:
      model: for question answering; its schedule is the one that is measured. Videos are looked at in one view.
      annotation: JSON file of questions, see `data.annotations`.
      answers: file of the answers to choose from, a JSON list or one a line.
      videos: folder of the videos; None is the annotation's own.
      k_test: number of answers to rate in full; None takes `usual_k_test`.
      usual_k_test: what None stands for, limited to the number of answers.
      max_question_tokens: number of tokens at which a question is cut; None is 25, limited to what the model has.
      max_answer_tokens: number of tokens at which an answer is cut; None is 5, limited to what the model has.
      end_of_answer: text behind each answer, as in the training of the model.
      limit: number of videos to take; None takes all.
      skip_missing: leave out videos that don't exist, with their questions.
      out: JSON file for the result.
      restart: forget the records beside `out`.
      checkpoint: folder or name that the model was loaded from, which result and records then name by its SHA-256;
        without it records are of these parameters.
      batch_size: videos per run.
      questions_per_run: questions about a video that are answered at a time.
      num_workers: number of decoding processes; 0 decodes in a thread.
      watch: how progress is shown; nothing by default.
      about: more facts for the result.

    Returns:
      A `QuestionAnsweringResult`.

    Raises:
      ArgumentError: an argument does not fit the model or the data.
      MissingVideosError: videos don't exist, and `skip_missing` is off or no other is left.
      RecordsError: the records beside `out` are of another run or damaged, and `restart` is off.
      ValueError: the annotation or the answers have faults, or a length does not fit the model.
      OSError: a file can't be read or written.
    """
    check_model(model, AnsweringModel, purpose="question answering")
    check_paths(annotation=annotation, answers=answers)
    check_paths(videos=videos, out=out, checkpoint=checkpoint, may_be_none=True)
    check_counts(batch_size=batch_size, questions_per_run=questions_per_run)
    check_counts(num_workers=num_workers, least=0)
    check_counts(limit=limit, may_be_none=True)
    longest = {"max_question_tokens": max_question_tokens, "max_answer_tokens": max_answer_tokens}
    check_counts(**longest, least=2, may_be_none=True)
    model = model.with_one_view()
    listed, choices = read_questions(annotation), read_answers(answers)
    folder = Path(videos or Path(annotation).parent)
    names = list(dict.fromkeys(question.video for question in listed))[:limit]
    paths = {name: folder / name for name in names}
    skipped = set(find_missing(paths, skip_missing=skip_missing))
    asked = [question for question in listed if question.video in paths and question.video not in skipped]
    k = choose_k(k_test, usual_k_test, {"answers": len(choices)})
    lengths = {
        "max_question_tokens": choose_length(max_question_tokens, MAX_QUESTION_TOKENS, model=model, what="questions"),
        "max_answer_tokens": choose_length(max_answer_tokens, MAX_ANSWER_TOKENS, model=model, what="answers"),
    }
    texts = [question.question for question in asked]
    words = model.tokenize(texts, max_tokens=lengths["max_question_tokens"])
    try:
        encoded = encode_answers(model, choices, max_tokens=lengths["max_answer_tokens"], end=end_of_answer)
    except ArgumentError as error:
        raise ArgumentError("max_answer_tokens", error.rule) from error
    places = find_places(out, [annotation, answers, checkpoint])
    weights = identify_weights(model, checkpoint, is_kept=out is not None)
    facts = {
        "tokenizer_sha256": hash_text(model.tokenizer),
        "annotation_sha256": hash_file(Path(annotation)),
        "answers_sha256": hash_file(Path(answers)),
        "k_test": k,
        **lengths,
        "end_of_answer": end_of_answer,
    }
    description = {
        **describe_run(model, weights),
        **facts,
        "schedule": model.schedule.title,
        "preprocessing": model.preprocessing.to_dict(),
        "videos": str(folder.absolute()),
        "batch_size": batch_size,
        "questions_per_run": questions_per_run,
    }
    records = Records(
        places.records,
        description,
        restart=restart,
        kind=QuestionRecord,
        find_fault=lambda record: find_record_fault(record, len(choices)),
    )
    job = _Job(model, asked, words, paths, encoded, k, batch_size, questions_per_run, num_workers)
    with name_what_is_safe(records.path, lambda: f"{len(records.found)} answers"), records:
        spent = _run(job, records, watch)
        found = summarise_answers(records, asked, choices)
    result = {
        "task": "question_answering",
        "accuracy": found["accuracy"],
        "protocol": (
            f"{describe_clips(model.preprocessing)}; questions of at most {lengths['max_question_tokens']} tokens, "
            f"answers of at most {lengths['max_answer_tokens']} with {end_of_answer} behind them; of {len(choices)} "
            f"answers {k} are rated in full; exact match"
        ),
        "counts": {
            "questions_listed": len(listed),
            "questions": len(asked),
            "videos": len(names) - len(skipped),
            "skipped_missing_videos": len(skipped),
            "videos_without_answer": len(found["errors"]),
            "answers": len(choices),
            "answerable": found["answerable"],
            "questions_cut": words.num_cut,
            "answers_cut": encoded.num_cut,
            **count_unknown(model, texts, what="questions"),
            **count_unknown(model, choices, what="answers"),
        },
        "schedule": model.schedule.to_dict(),
        "gmacs_per_video": count_macs(model.config, model.schedule).gmacs,
        "seconds_of_this_start": {"questions": spent},
        "dtype": str(model.dtype),
        "device": describe_device(),
        "preprocessing": model.preprocessing.to_dict(),
        "checkpoint": weights.checkpoint,
        "checkpoint_sha256": weights.sha256,
        "annotation": str(annotation),
        "answers": str(answers),
        "videos": str(folder),
        "batch_size": batch_size,
        "workers": num_workers,
        **facts,
        "version": __version__,
        **(about or {}),
        "errors": found["errors"],
        "skipped": sorted(skipped),
    }
    write_result(places, result)
    return cast("QuestionAnsweringResult", result)


class _Job(NamedTuple):
    """What to answer, and how."""

    model: AnsweringModel
    asked: Sequence[Question]
    words: EncodedTexts
    paths: Mapping[str, Path]
    answers: EncodedTexts
    k: int
    batch_size: int
    questions_per_run: int
    num_workers: int


def _run(job: _Job, records: Records, watch: Watch) -> dict[str, Any]:
    """Answer what has no answer yet; return the seconds of this start, and for how many questions."""
    known = sum("top" in records.found.get(question.key, {}) for question in job.asked)
    if known:
        tell_note(f"{known} of {len(job.asked)} questions are answered in {records.path}.")
    notices: dict[str, Sequence[str]] = {}
    start = time.perf_counter()
    with watch("answering", total=len(job.asked), known=known) as advance:
        answer_into(
            records,
            job.model,
            job.asked,
            job.words,
            job.paths,
            job.answers,
            k=job.k,
            batch_size=job.batch_size,
            block_size=job.questions_per_run,
            num_workers=job.num_workers,
            progress=advance,
            noting=notices.__setitem__,
        )
    spent = {"seconds": time.perf_counter() - start, "done": len(job.asked) - known, "known_before": known}
    tell_notices(notices)
    return spent
