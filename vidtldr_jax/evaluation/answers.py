"""Questions about videos, answered out of a list: every video encoded once, its questions in blocks of one size.

    ids = encode_answers(model, answers, max_tokens=5)
    with Records(Path("msvd_qa.records.jsonl"), description) as records:
        answer_into(records, model, questions, encoded, paths, ids, k=128, batch_size=8)
    result = summarise_answers(records, questions, answers)

A record is of one question.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict

import numpy as np

from vidtldr_jax.data.annotations import Question
from vidtldr_jax.data.text import EncodedTexts
from vidtldr_jax.evaluation.arguments import ArgumentError
from vidtldr_jax.evaluation.heads import NUM_TOP
from vidtldr_jax.evaluation.metrics import count_right
from vidtldr_jax.inference.finite import find_not_finite
from vidtldr_jax.inference.sharding import round_up_batch
from vidtldr_jax.inference.stream import encode_videos
from vidtldr_jax.inference.text_model import AnsweringModel
from vidtldr_jax.models.question_answering import RankedAnswers
from vidtldr_jax.trust.records import Records

BLOCK_SIZE: Final = 4  # questions in a run: with 128 candidates of 5 tokens, 190 MB of words' logits


def encode_answers(
    model: AnsweringModel, answers: Sequence[str], *, max_tokens: int, end: str = "[SEP]"
) -> EncodedTexts:
    """Turns answers into ids, each with an end token of its own as in the training of the originals.

    Args:
      model: for question answering.
      answers: as they are written; they are not cleaned.
      max_tokens: the most of an answer, at least 3.
      end: what is put behind each before it becomes tokens.

    Returns:
      `EncodedTexts`.

    Raises:
      ArgumentError: max_tokens is too small, or too large for the model.

    Reference:
      ALBEF's answer lists: "[CLS] words [SEP] [SEP]", the first end token being part of the answer.
    """
    most = model.config.text.max_positions
    if not 3 <= max_tokens <= most:
        raise ArgumentError("max_tokens", f"is 3 to {most} in this model; got {max_tokens}; change it.")
    return model.text_tokenizer.encode([f"{answer} {end}".strip() for answer in answers], max_tokens=max_tokens)


def answer_block(
    model: AnsweringModel,
    video_tokens: np.ndarray,
    questions: EncodedTexts,
    answers: EncodedTexts,
    *,
    k: int,
    block_size: int = BLOCK_SIZE,
) -> list[RankedAnswers]:
    """Answers questions about one video.

    Args:
      model: for question answering.
      video_tokens: [M, C], the surviving tokens.
      questions: at least one.
      answers: to choose from, see `encode_answers`.
      k: how many answers to rate in full.
      block_size: questions in a run; the last one is filled up.

    Returns:
      One `RankedAnswers` per question: `[k]` ids and probabilities.
    """
    size = round_up_batch(block_size, model.mesh)
    found: list[RankedAnswers] = []
    count = len(questions.ids)
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        ranked = model.answer_questions(
            video_tokens[None], questions.ids[rows], questions.mask[rows], answers.ids, answers.mask, k=k
        )
        ids, probabilities = np.asarray(ranked.ids), np.asarray(ranked.probabilities)
        found.extend(RankedAnswers(*pair) for pair in zip(ids, probabilities))
    return found[:count]


class QuestionRecord(TypedDict):
    """Record of one question: numbers of answers with the most probable first, or what is wrong with its video."""

    top: NotRequired[list[int]]
    probabilities: NotRequired[list[float]]
    error: NotRequired[str]


def find_record_fault(record: Mapping[str, Any], num_answers: int) -> str | None:
    """Returns what is wrong with a record that is a `QuestionRecord`, or None.

    Args:
      record: of one question.
      num_answers: how many answers there are to choose from.

    Returns:
      A phrase, or None.
    """
    if ("top" in record) == ("error" in record):
        return "a record has either answers or an error"
    top = record.get("top", [0])
    if not top or min(top) < 0 or max(top) >= num_answers:
        return f"its answers {top} are not among {num_answers}"
    return None


def answer_into(
    records: Records,
    model: AnsweringModel,
    questions: Sequence[Question],
    encoded: EncodedTexts,
    paths: Mapping[str, Path],
    answers: EncodedTexts,
    *,
    k: int,
    batch_size: int,
    block_size: int = BLOCK_SIZE,
    num_workers: int = 0,
    progress: Callable[[int], None] = lambda count: None,
    noting: Callable[[str, Sequence[str]], None] = lambda name, notices: None,
) -> None:
    """Answers the questions that have no answer yet; those of a video are kept as soon as they are answered.

    Args:
      records: what is known, and where the new goes: by the question's key `{"top": [...], "probabilities": [...]}`,
        numbers of answers with the most probable first, or `{"error": ...}`.
      model: for question answering.
      questions: all of them.
      encoded: their tokens.
      paths: name of a video -> where it is.
      answers: to choose from.
      k: how many answers to rate in full.
      batch_size: videos per run.
      block_size: questions per run; fewer where no video has so many.
      num_workers: processes that read.
      progress: called with the number of questions after each video.
      noting: called with a video's name and what a user should know about it, where there is something.
    """
    rest: dict[str, list[int]] = {}
    for number, question in enumerate(questions):
        if "top" not in records.found.get(question.key, {}):
            rest.setdefault(question.video, []).append(number)
    videos = encode_videos(
        model,
        [paths[name] for name in rest],
        output="tokens",
        batch_size=batch_size,
        num_workers=num_workers,
        num_videos=len({question.video for question in questions}),
    )
    most = max(collections.Counter(question.video for question in questions).values(), default=1)
    with contextlib.closing(videos):
        for (name, numbers), video in zip(rest.items(), videos, strict=True):
            if video.notices:
                noting(name, video.notices)
            if video.outputs is None:
                error = " ".join(str(video.error).split())
                for number in numbers:
                    records.append(questions[number].key, {"error": error})
            else:
                asked = EncodedTexts(encoded.ids[numbers], encoded.mask[numbers], 0)
                ranked = answer_block(model, video.outputs[0], asked, answers, k=k, block_size=min(block_size, most))
                for number, found in zip(numbers, ranked, strict=True):
                    records.append(questions[number].key, _describe(found))
            progress(len(numbers))


def summarise_answers(records: Records, questions: Sequence[Question], answers: Sequence[str]) -> dict[str, Any]:
    """Counts exact matches.

    Args:
      records: with one of every question.
      questions: those that count; one that has no answer counts as wrong.
      answers: that were chosen from.

    Returns:
      Plain data: `accuracy`, `answerable` (questions whose right answer is in the list) and `errors` by video.
    """
    right, errors = 0, {}
    for question in questions:
        record = records.found[question.key]
        if "top" in record:
            right += answers[record["top"][0]] == question.answer
        else:
            errors[question.video] = record["error"]
    known = set(answers)
    return {
        "accuracy": count_right(right, len(questions)),
        "answerable": sum(question.answer in known for question in questions),
        "errors": errors,
    }


def _describe(ranked: RankedAnswers) -> dict[str, Any]:
    if error := find_not_finite(ranked.probabilities, "probabilities"):
        return {"error": str(error)}
    return {
        "top": np.asarray(ranked.ids)[:NUM_TOP].tolist(),
        "probabilities": [float(f"{value:.6g}") for value in np.asarray(ranked.probabilities)[:NUM_TOP]],
    }
