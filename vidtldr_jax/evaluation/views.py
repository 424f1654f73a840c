"""A data set through a classifier: every video's views, averaged, against its right classes; can be broken off.

    heads = (Head("label", 400),)
    with Records(Path("k400.records.jsonl"), description) as records:
        evaluate_videos(models, entries, heads=heads, average="logits", records=records, batch_size=8)
        accuracy = summarise(records, entries, tuple(models), heads)

`models` has one model, or two that share parameters and see the same batches, so that videos are read once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from vidtldr_jax.data.manifest import ManifestEntry
from vidtldr_jax.evaluation.class_embeddings import ClassEmbeddings, compare_with_classes
from vidtldr_jax.evaluation.heads import Answer, Average, Head, answer, count_accuracies
from vidtldr_jax.inference.finite import find_not_finite
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.stream import Output, choose_batch_size, map_videos
from vidtldr_jax.trust.records import Records


class Paces(NamedTuple):
    """Where the time of an evaluation went, over all of its starts.

    Attributes:
      total: seconds from the first video's reading to the last one's answer; compiling is left out.
      computing: seconds on the device by way; empty where only one model ran, whose time is hidden behind reading.
    """

    total: float
    computing: dict[str, float]


class _AnswerFields(TypedDict):
    """An `Answer` in JSON."""

    rank: int
    top: list[int]
    scores: list[float]


class _Seconds(TypedDict):
    """How long a video took: in all, and of several ways the computing of each."""

    total: float
    computing: dict[str, float]


class VideoRecord(TypedDict):
    """Record of one video: answers by way and head, or what is wrong with it."""

    ways: NotRequired[dict[str, list[_AnswerFields]]]
    notices: NotRequired[list[str]]
    error: NotRequired[str]
    seconds: _Seconds


def find_record_fault(record: Mapping[str, Any], ways: Collection[str], heads: Sequence[Head]) -> str | None:
    """Returns what is wrong with a record that is a `VideoRecord`, or None.

    Args:
      record: of one video.
      ways: names of the models.
      heads: groups of classes.

    Returns:
      A phrase, or None.
    """
    if ("ways" in record) == ("error" in record):
        return "a record has either ways or an error"
    if "ways" not in record:
        return None
    if record["ways"].keys() != set(ways):
        return f"its ways are {', '.join(record['ways'])}, not {', '.join(ways)}"
    for answers in record["ways"].values():
        is_right = len(answers) == len(heads) and all(
            one["top"]
            and len(one["top"]) == len(one["scores"])
            and min(one["top"]) >= 0
            and max(one["top"]) < head.num_classes
            and 0 <= one["rank"] < head.num_classes
            for one, head in zip(answers, heads)
        )
        if not is_right:
            return (
                f"its answers are not those of {len(heads)} heads with {[head.num_classes for head in heads]} classes"
            )
    return None


def evaluate_videos(
    models: Mapping[str, VideoModel],
    entries: Sequence[ManifestEntry],
    *,
    heads: Sequence[Head],
    average: Average,
    records: Records,
    classes: ClassEmbeddings | None = None,
    batch_size: int,
    num_workers: int = 0,
    progress: Callable[[ManifestEntry], None] = lambda entry: None,
) -> float:
    """Runs the videos that have no record yet, or one of an error, and records each as soon as it is answered.

    Args:
      models: way -> model; one, or several that differ in their schedule alone.
      entries: videos and their right classes.
      heads: groups of classes; the model's logits are theirs one after the other.
      average: how the views of a video become one, see `answer`.
      records: what is known, and where the new goes. A record is `{"ways": {way: [answer of each head]}, "notices",
        "seconds"}` or has `error` instead of `ways`.
      classes: embeddings of the classes, for a model without a classifier.
      batch_size: views per run.
      num_workers: processes that read videos, 0 for a thread.
      progress: called after each video.

    Returns:
      Seconds that compiling took; 0 where nothing was left to do.

    Raises:
      ValueError: the models don't give as many scores as the heads have classes, or what `encode_videos` refuses.
      WorkerError: see `read_videos`.
    """
    first = next(iter(models.values()))
    check_heads(first, heads, classes)
    rest = [entry for entry in entries if "ways" not in records.found.get(entry.name, {})]
    if not rest:
        return 0.0
    output: Output = "logits" if classes is None else "embedding"
    ways = _Ways(models, output)
    size = choose_batch_size(first, len(entries), batch_size)
    paths = [entry.path for entry in rest]
    videos = map_videos(
        ways,
        paths,
        preprocessing=first.preprocessing,
        place=first.place_video,
        names=(output,),
        batch_size=size,
        num_workers=num_workers,
    )
    with contextlib.closing(videos):
        compile_seconds = ways.warm_up(size)
        before = time.perf_counter()
        for entry, video in zip(rest, videos, strict=True):
            answers: dict[str, tuple[Answer, ...] | None] = {}
            fault: Exception | None = video.error
            if video.outputs is not None:  # ([V, W, classes] or [V, W, E],)
                for place, way in enumerate(models):
                    scores = video.outputs[0][:, place]
                    logits = scores if classes is None else compare_with_classes(scores, classes)
                    fault = fault or find_not_finite(logits, "scores")
                    answers[way] = answer(logits, heads, entry.labels, average=average)
            now = time.perf_counter()
            seconds = {"total": now - before, "computing": ways.take_seconds()}
            before = now
            if fault is None:
                told = {way: [one._asdict() for one in given or ()] for way, given in answers.items()}
                records.append(entry.name, {"ways": told, "notices": list(video.notices), "seconds": seconds})
            else:
                records.append(entry.name, {"error": " ".join(str(fault).split()), "seconds": seconds})
            progress(entry)
    return compile_seconds


def check_heads(model: VideoModel, heads: Sequence[Head], classes: ClassEmbeddings | None = None) -> None:
    """Refuse heads that don't have the classes of a model, or of its class embeddings.

    Raises:
      ValueError: they have more or fewer.
    """
    wanted = sum(head.num_classes for head in heads)
    there = model.config.num_classes if classes is None else len(classes.vectors)
    if wanted != there:
        sizes = " + ".join(f"{head.num_classes} ({head.name})" for head in heads)
        raise ValueError(
            f"heads have as many classes as the model, {there}; got {sizes}; fix the heads or take another model."
        )


class _Ways:
    """Several models on the same batches: one array `[B, W, ...]`, a row for each way."""

    def __init__(self, models: Mapping[str, VideoModel], output: Output) -> None:
        self._models, self._output = dict(models), output
        self._seconds: dict[str, float] = {}

    def __call__(self, batch: jax.Array) -> tuple[jax.Array]:
        """Encode a batch with each model. Where there are several, each is waited for and timed, in turn."""
        if len(self._models) == 1:
            (model,) = self._models.values()
            return (getattr(model.encode_video(batch), self._output)[:, None],)
        rows = []
        jax.block_until_ready(batch)
        for way, model in self._models.items():
            start = time.perf_counter()
            found = jax.block_until_ready(model.encode_video(batch))
            self._seconds[way] = self._seconds.get(way, 0.0) + time.perf_counter() - start
            rows.append(getattr(found, self._output))
        return (jnp.stack(rows, axis=1),)

    def warm_up(self, size: int) -> float:
        """Compile for a batch of so many views; return the seconds that it took."""
        model = next(iter(self._models.values()))
        config = model.config
        shape = (size, model.preprocessing.num_frames, config.image_size, config.image_size, config.num_channels)
        start = time.perf_counter()
        jax.block_until_ready(self(model.place_video(np.zeros(shape, np.uint8))))
        self._seconds = {}
        return time.perf_counter() - start

    def take_seconds(self) -> dict[str, float]:
        """Returns the seconds of each way since the last call."""
        taken, self._seconds = self._seconds, {}
        return taken


def summarise(
    records: Records, entries: Sequence[ManifestEntry], ways: Sequence[str], heads: Sequence[Head]
) -> dict[str, Any]:
    """Counts what the records say.

    Args:
      records: with one of every entry.
      entries: the videos that count; one that could not be read counts as wrong.
      ways: names of the models.
      heads: groups of classes.

    Returns:
      Plain data: `accuracy` by way, head and `top_1` or `top_5`, `errors` by video, `notices` by video, and of two ways
      `agreement`: on how many videos both name the same classes, and how many only one has right.
    """
    found = {entry.name: records.found[entry.name] for entry in entries}
    answers = {
        way: [_read_answers(record["ways"][way]) if "ways" in record else None for record in found.values()]
        for way in ways
    }
    return {
        "accuracy": {way: count_accuracies(answers[way], heads) for way in ways},
        "errors": {name: record["error"] for name, record in found.items() if "error" in record},
        "notices": {name: record["notices"] for name, record in found.items() if record.get("notices")},
        "agreement": _compare(*(answers[way] for way in ways), names=ways) if len(ways) == 2 else None,
    }


def sum_seconds(records: Records, entries: Sequence[ManifestEntry]) -> Paces:
    """Adds up the time that the records of some videos took."""
    parts = [records.found[entry.name]["seconds"] for entry in entries]
    ways = {way: sum(part["computing"].get(way, 0.0) for part in parts) for part in parts for way in part["computing"]}
    return Paces(sum(part["total"] for part in parts), ways)


def _read_answers(heads: Sequence[Mapping[str, Any]]) -> tuple[Answer, ...]:
    return tuple(Answer(head["rank"], tuple(head["top"]), tuple(head["scores"])) for head in heads)


def _compare(
    first: Sequence[tuple[Answer, ...] | None], second: Sequence[tuple[Answer, ...] | None], *, names: Sequence[str]
) -> dict[str, Any]:
    both = [(one, other) for one, other in zip(first, second, strict=True) if one is not None and other is not None]
    same = sum(all(a.top[0] == b.top[0] for a, b in zip(one, other, strict=True)) for one, other in both)
    right = [tuple(all(head.rank == 0 for head in given) for given in pair) for pair in both]
    return {
        "same": same,
        "of": len(both),
        "value": same / len(both) if both else None,
        f"right_only_{names[0]}": sum(pair == (True, False) for pair in right),
        f"right_only_{names[1]}": sum(pair == (False, True) for pair in right),
    }
