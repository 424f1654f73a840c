"""Annotations of video-text retrieval and of questions about videos, in the JSON of UMT's and vid-TLDR's data sets.

    [{"video": "video7020.mp4", "caption": "a woman is dancing"}, ...]            # caption: text or list of texts
    [{"video": ["1.webm", "7.webm"], "caption": "holding something"}, ...]        # a caption of several videos
    [{"video": "video7010.mp4", "question": "what is a man doing", "answer": "sing", "question_id": 158581}, ...]

Files are lists, paths are relative to a folder of videos. "image" may stand for "video", as it does in older files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from vidtldr_jax.data.text import TextError, clean_text
from vidtldr_jax.trust.faults import Faults, show
from vidtldr_jax.trust.limits import check_limit
from vidtldr_jax.trust.lines import read_exact, split_lines
from vidtldr_jax.trust.regular import check_regular

_VIDEO_NAMES: Final = ("video", "image")


class RetrievalSet(NamedTuple):
    """Videos, texts, and which belong together.

    Attributes:
      videos: names as written, each once.
      texts: cleaned captions; the same words may come several times.
      pairs: (number of the video, number of the text) that belong together, in the order of the file.
    """

    videos: tuple[str, ...]
    texts: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]


class Question(NamedTuple):
    """One question about a video.

    Attributes:
      key: its question_id as text.
      video: name as written.
      question: cleaned.
      answer: the right one, as written.
    """

    key: str
    video: str
    question: str
    answer: str


def read_retrieval_set(path: str | os.PathLike[str], *, is_paragraph: bool = False) -> RetrievalSet:
    """Reads videos and their captions.

    A video with several captions has several right texts, a caption with several videos several right videos. A video
    that comes in several entries is one video, a caption that does is a text for each.

    Args:
      path: of the JSON file.
      is_paragraph: the captions of a video are sentences of one text.

    Returns:
      A `RetrievalSet`.

    Raises:
      TextError: the file is not JSON, or no list of entries with videos and captions; the first faults together, and
        how many more there are.
      LimitError: there are more pairs than the limit "pairs".
      OSError: the file can't be read.
    """
    videos: dict[str, int] = {}
    texts: list[str] = []
    pairs: list[tuple[int, int]] = []
    faults = Faults()
    for number, entry in _read_entries(path, ("video", "caption"), faults):
        names, captions = _read_texts(entry["video"]), _read_texts(entry["caption"])
        if names is None or captions is None:
            what = "video" if names is None else "caption"
            faults.add(f"entry {number}: {what} is neither a text nor a list of texts")
            continue
        cleaned = [clean_text(caption) for caption in ([" ".join(captions)] if is_paragraph else captions)]
        if not all(cleaned):
            faults.add(f"entry {number}: the caption {show(captions[cleaned.index('')])} has no words")
            continue
        check_limit("pairs", len(pairs) + len(set(names)) * len(cleaned), f"annotation {str(path)!r}")
        rows = [videos.setdefault(name, len(videos)) for name in names]
        for text in cleaned:
            pairs.extend((row, len(texts)) for row in dict.fromkeys(rows))
            texts.append(text)
    _refuse(path, faults, "video, caption", is_empty=not videos)
    return RetrievalSet(tuple(videos), tuple(texts), tuple(pairs))


def select_videos(data: RetrievalSet, numbers: Sequence[int]) -> RetrievalSet:
    """Return some videos of a set, and the texts that belong to one of them.

    Args:
      data: the set.
      numbers: of the videos, in the order of the result.

    Returns:
      Another set.
    """
    place = {number: row for row, number in enumerate(numbers)}
    pairs = [(place[video], text) for video, text in data.pairs if video in place]
    texts = sorted({text for _, text in pairs})
    row = {text: number for number, text in enumerate(texts)}
    return RetrievalSet(
        tuple(data.videos[number] for number in numbers),
        tuple(data.texts[text] for text in texts),
        tuple((video, row[text]) for video, text in pairs),
    )


def read_questions(path: str | os.PathLike[str]) -> list[Question]:
    """Reads questions about videos.

    Args:
      path: of the JSON file.

    Returns:
      The questions in the order of the file.

    Raises:
      TextError: the file is not JSON, no list of entries with video, question, answer and question_id, or an id comes
        twice; the first faults together, and how many more there are.
      OSError: the file can't be read.
    """
    questions: dict[str, Question] = {}
    faults = Faults()
    for number, entry in _read_entries(path, ("video", "question", "answer", "question_id"), faults):
        key = str(entry["question_id"])
        strange = [name for name in ("video", "question", "answer") if not _is_text(entry[name])]
        if strange:
            faults.add(f"entry {number}: {', '.join(strange)} is no text")
        elif not clean_text(entry["question"]):
            faults.add(f"entry {number}: the question {show(entry['question'])} has no words")
        elif key in questions:
            faults.add(f"entry {number}: question_id {show(entry['question_id'])} is there twice")
        else:
            questions[key] = Question(key, entry["video"], clean_text(entry["question"]), entry["answer"])
    _refuse(path, faults, "video, question, answer, question_id", is_empty=not questions)
    return list(questions.values())


def read_answers(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Reads the answers to choose from.

    Args:
      path: of a JSON file with a list of texts, or of a text file with one answer a line.

    Returns:
      The answers, each once, as they are written.

    Raises:
      TextError: it is no such file, an answer is empty, or there is none.
      OSError: the file can't be read.
    """
    text = _read_text(path)
    if Path(path).suffix.lower() == ".json" or text.lstrip().startswith("["):
        found = _parse(path, text)
    else:
        found = [line.strip() for line in split_lines(text) if line.strip()]
    if not isinstance(found, list) or not found or not all(_is_text(answer) for answer in found):
        raise TextError(f"answers are a JSON list of texts, or one a line; {Path(path)} has something else; fix it")
    return tuple(dict.fromkeys(found))


def _read_entries(
    path: str | os.PathLike[str], names: tuple[str, ...], faults: Faults
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yields (number, entry) of those that have all names; what is wrong with the others goes to the faults."""
    found = _parse(path, _read_text(path))
    if not isinstance(found, list):
        faults.add(f"it is {type(found).__name__}, not a list")
        return
    for number, entry in enumerate(found):
        if not isinstance(entry, dict):
            faults.add(f"entry {number}: no object")
            continue
        video = next((entry[name] for name in _VIDEO_NAMES if name in entry), None)
        entry = entry if video is None else {**entry, "video": video}
        missing = [name for name in names if entry.get(name) is None]
        if missing:
            faults.add(f"entry {number}: no {', '.join(missing)}")
        else:
            yield number, entry


def _parse(path: str | os.PathLike[str], text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TextError(f"an annotation is JSON; {Path(path)} is not ({error}); fix it") from error


def _read_text(path: str | os.PathLike[str]) -> str:
    check_regular(path)
    try:
        return read_exact(path)
    except UnicodeDecodeError as error:
        raise TextError(
            f"an annotation is UTF-8 text; {Path(path)} is not ({error.reason} at byte {error.start}); fix it"
        ) from error


def _read_texts(value: Any) -> list[str] | None:
    values = value if isinstance(value, list) else [value]
    return values if values and all(isinstance(one, str) for one in values) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _refuse(path: str | os.PathLike[str], faults: Faults, names: str, *, is_empty: bool) -> None:
    if is_empty and not faults:
        faults.add("it lists no video")
    if faults:
        raise TextError(f"every entry has {names}; in {Path(path)}: {faults}; fix these entries")
