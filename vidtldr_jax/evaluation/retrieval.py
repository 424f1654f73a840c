"""Recall and ranks of video-text retrieval, by similarity (ITC) and re-ranked (ITM).

result = vt.evaluation.evaluate_retrieval(model, "msrvtt_ret_test1k.json", "MSRVTT/videos", out="results/msrvtt.json")
result["results"]["reranked"]["text_to_video"]["r1"]["value"]
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypedDict, cast

import numpy as np
from jaxtyping import Int64

from vidtldr_jax import __version__
from vidtldr_jax.data.annotations import RetrievalSet, read_retrieval_set, select_videos
from vidtldr_jax.data.text import EncodedTexts
from vidtldr_jax.evaluation.arguments import check_counts, check_model, check_paths, choose_k, find_missing
from vidtldr_jax.evaluation.metrics import DIRECTIONS, describe_ranks, name_as_originals
from vidtldr_jax.evaluation.pairs import (
    PairPlan,
    PairsRecord,
    count_known,
    count_pairs,
    encode_texts_into,
    find_record_fault,
    gather_texts,
    match_pairs_into,
    plan_pairs,
    rank_both_ways,
    read_scores,
)
from vidtldr_jax.evaluation.progress import Advance, Watch, watch_silently
from vidtldr_jax.evaluation.run import (
    PathLike,
    Room,
    Weights,
    describe_clips,
    describe_run,
    find_places,
    find_room,
    hash_text,
    identify_weights,
    write_result,
)
from vidtldr_jax.evaluation.texts import choose_length, count_unknown
from vidtldr_jax.inference.device import describe_device
from vidtldr_jax.inference.text_model import RetrievalModel
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.search.encoding import VideoItem, encode_videos_into
from vidtldr_jax.search.features import FeatureStore
from vidtldr_jax.search.reranking import BLOCK_SIZE, TextFeatures
from vidtldr_jax.search.similarity import compute_similarity
from vidtldr_jax.trust.digests import hash_file
from vidtldr_jax.trust.notes import name_what_is_safe, tell_note, tell_notices
from vidtldr_jax.trust.records import Records

K_TEST: Final = 128
MAX_TEXT_TOKENS: Final = 32


class RetrievalResult(TypedDict):
    """What `evaluate_retrieval` found: plain data, as its JSON file has it.

    `results` is "itc" and perhaps "reranked"; in each, "text_to_video" and "video_to_text" have r1, r5, r10 with
    intervals, and median and mean rank.
    """

    task: str
    results: dict[str, dict[str, Any]]
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
    videos: str
    k_test: int | None
    max_text_tokens: int
    paragraph: bool
    batch_size: int
    workers: int
    version: str
    errors: dict[str, str]
    skipped: list[str]


def evaluate_retrieval(
    model: RetrievalModel,
    annotation: PathLike,
    videos: PathLike | None = None,
    *,
    rerank: bool = True,
    k_test: int | None = None,
    usual_k_test: int = K_TEST,
    max_text_tokens: int | None = None,
    is_paragraph: bool = False,
    limit: int | None = None,
    skip_missing: bool = False,
    out: PathLike | None = None,
    restart: bool = False,
    keep_features: bool = False,
    checkpoint: PathLike | None = None,
    batch_size: int = 4,
    pairs_per_run: int = BLOCK_SIZE,
    num_workers: int = 0,
    watch: Watch = watch_silently,
    about: Mapping[str, Any] | None = None,
) -> RetrievalResult:
    """Measure how well texts find their videos, and videos their texts.

    A video that can't be read is named in `errors`, finds nothing and is not found. With `out`, embeddings, tokens and
    scores are kept beside it while the work goes on, and the same call goes on where it was broken off.

    Args:
      model: for retrieval; its schedule is the one that is measured. Videos are looked at in one view.
      annotation: JSON file of videos and captions, see `data.annotations`.
      videos: folder of the videos; None is the annotation's own.
      rerank: match the most similar videos and texts together (ITM).
      k_test: number of candidates to re-rank; None takes `usual_k_test`.
      usual_k_test: what None stands for, limited to the number of videos and of texts.
      max_text_tokens: number of tokens at which a text is cut; None is 32, limited to what the model has.
      is_paragraph: join the captions of a video to one text.
      limit: number of videos to take; None takes all.
      skip_missing: leave out videos that don't exist, with texts that have no other.
      out: JSON file for the result.
      restart: forget what is beside `out`.
      keep_features: keep what was encoded beside `out` once the result is there.
      checkpoint: folder or name that the model was loaded from, which result and records then name by its SHA-256;
        without it records are of these parameters.
      batch_size: videos per run.
      pairs_per_run: texts that are matched with a video at a time.
      num_workers: number of decoding processes; 0 decodes in a thread.
      watch: how progress is shown; nothing by default.
      about: more facts for the result.

    Returns:
      A `RetrievalResult`.

    Raises:
      ArgumentError: an argument does not fit the model or the data.
      MissingVideosError: videos don't exist, and `skip_missing` is off or no other is left.
      NotFiniteError: what the model makes of a text is not finite.
      RecordsError: what is beside `out` is of another run or damaged, and `restart` is off.
      ValueError: the annotation has faults, or a length does not fit the model.
      OSError: a file can't be read or written.
    """
    check_model(model, RetrievalModel, purpose="retrieval")
    check_paths(annotation=annotation)
    check_paths(videos=videos, out=out, checkpoint=checkpoint, may_be_none=True)
    check_counts(batch_size=batch_size, pairs_per_run=pairs_per_run)
    check_counts(num_workers=num_workers, least=0)
    check_counts(limit=limit, may_be_none=True)
    check_counts(max_text_tokens=max_text_tokens, least=2, may_be_none=True)
    model = model.with_one_view()
    listed = read_retrieval_set(annotation, is_paragraph=is_paragraph)
    folder = Path(videos or Path(annotation).parent)
    wanted = select_videos(listed, range(len(listed.videos))[:limit])
    skipped = find_missing({name: folder / name for name in wanted.videos}, skip_missing=skip_missing)
    data = select_videos(wanted, [n for n, name in enumerate(wanted.videos) if name not in set(skipped)])
    k = choose_k(k_test, usual_k_test, {"videos": len(data.videos), "texts": len(data.texts)})
    length = choose_length(max_text_tokens, MAX_TEXT_TOKENS, model=model, what="texts")
    places = find_places(out, [annotation, checkpoint])
    weights = identify_weights(model, checkpoint, is_kept=out is not None)
    job = _Job(
        model, data, folder, length, k if rerank else None, batch_size, num_workers, pairs_per_run, restart,
        is_paragraph, weights, hash_file(Path(annotation)),
    )  # fmt: skip
    with find_room(places, keep_features=keep_features) as room:
        outcome = _run(job, room, watch)
        result = {
            "task": "retrieval",
            "results": _describe_ranks(outcome.ranks),
            "protocol": describe_protocol(job),
            "counts": {
                "videos_listed": len(listed.videos),
                "skipped_missing": len(skipped),
                "videos": len(data.videos),
                "texts": len(data.texts),
                "unique_texts": len(outcome.plan.by_text),
                "texts_cut": outcome.num_cut,
                "unreadable_counted_as_wrong": len(outcome.errors),
                **count_unknown(model, data.texts, what="texts"),
                "pairs_reranked": 0 if job.k is None else count_pairs(outcome.plan),
            },
            "schedule": model.schedule.to_dict(),
            "gmacs_per_video": count_macs(model.config, model.schedule).gmacs,
            "seconds_of_this_start": outcome.seconds,
            "dtype": str(model.dtype),
            "device": describe_device(),
            "preprocessing": model.preprocessing.to_dict(),
            "checkpoint": weights.checkpoint,
            "checkpoint_sha256": weights.sha256,
            "tokenizer_sha256": hash_text(model.tokenizer),
            "annotation": str(annotation),
            "annotation_sha256": job.annotation_sha256,
            "videos": str(folder),
            "k_test": job.k,
            "max_text_tokens": length,
            "paragraph": is_paragraph,
            "batch_size": batch_size,
            "workers": num_workers,
            "version": __version__,
            **(about or {}),
            "errors": outcome.errors,
            "skipped": skipped,
        }
        write_result(places, result)
    return cast("RetrievalResult", result)


class _Job(NamedTuple):
    """What to do. k is None where nothing is re-ranked."""

    model: RetrievalModel
    data: RetrievalSet
    folder: Path
    max_text_tokens: int
    k: int | None
    batch_size: int
    num_workers: int
    pairs_per_run: int
    restart: bool
    is_paragraph: bool
    weights: Weights
    annotation_sha256: str


class _Outcome(NamedTuple):
    """The results. Seconds are those of this start: of videos, texts and pairs, with how many there were."""

    ranks: Mapping[str, Mapping[str, list[int]]]
    plan: PairPlan
    errors: dict[str, str]
    num_cut: int
    seconds: dict[str, Any]


class _Texts(NamedTuple):
    """The unique texts: themselves, their tokens, and the number of the unique text of every text."""

    keys: list[str]
    words: EncodedTexts
    text_of: Int64[np.ndarray, " S"]


def describe_protocol(job: _Job) -> str:
    """Say in one line how ranks are made; they compare where this line is the same."""
    texts = "paragraphs" if job.is_paragraph else "captions"
    second = "" if job.k is None else f", then ITM of the {job.k} most similar"
    clips = describe_clips(job.model.preprocessing)
    return f"{clips}; {texts} of at most {job.max_text_tokens} tokens; ITC{second}; of equal ones the first"


def _run(job: _Job, room: Room, watch: Watch) -> _Outcome:
    texts = _read_texts(job)
    names = job.data.videos
    seconds: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        video_store, text_store, records = _open_stores(job, room, texts, stack)
        errors = _encode_videos(job, video_store, watch, seconds)
        _encode_texts(job, text_store, texts, watch, seconds)
        similarity = np.full((len(names), len(texts.keys)), -np.inf, np.float32)
        there = [row for row, name in enumerate(names) if name not in errors]
        if there:
            embeddings = video_store.read_embeddings([names[row] for row in there])
            similarity[there] = compute_similarity(embeddings, text_store.read_embeddings(texts.keys))
        plan = plan_pairs(similarity, texts.text_of, k=job.k or 1)
        scores = None
        if job.k is not None:
            features = gather_texts(text_store, texts.words, texts.keys)
            unmatched = _match_pairs(
                job, records, plan, lambda number: video_store.read_tokens(names[number]), features, watch, seconds
            )
            scores = read_scores(records, names, plan)
            similarity[[name in unmatched for name in names]] = -np.inf  # as one that can't be read
            errors = {**errors, **unmatched}
        ranks = rank_both_ways(similarity, plan, scores, job.data.pairs)
    return _Outcome(ranks, plan, errors, texts.words.num_cut, seconds)


def _read_texts(job: _Job) -> _Texts:
    keys = list(dict.fromkeys(job.data.texts))
    number = {key: row for row, key in enumerate(keys)}
    text_of = np.array([number[text] for text in job.data.texts], np.int64)
    return _Texts(keys, job.model.tokenize(keys, max_tokens=job.max_text_tokens), text_of)


def _open_stores(
    job: _Job, room: Room, texts: _Texts, stack: contextlib.ExitStack
) -> tuple[FeatureStore, FeatureStore, Records]:
    """Open what keeps videos, texts and pairs, each for the run that it is of."""
    model, restart = job.model, job.restart
    run = describe_run(model, job.weights)
    of_videos = {
        **run, "schedule": model.schedule.title, "preprocessing": model.preprocessing.to_dict(),
        "videos": str(job.folder.absolute()), "batch_size": job.batch_size,
    }  # fmt: skip
    of_words = {"tokenizer_sha256": hash_text(model.tokenizer), "max_text_tokens": job.max_text_tokens}
    of_texts = {**run, **of_words, "length": texts.words.ids.shape[1]}
    of_pairs = {
        **of_videos, **of_words, "annotation_sha256": job.annotation_sha256, "paragraph": job.is_paragraph, "k": job.k,
        "counts": [len(job.data.videos), len(job.data.texts)], "pairs_per_run": job.pairs_per_run,
    }  # fmt: skip
    video_store = FeatureStore(room.features / "videos", {**of_videos, "tokens": job.k is not None}, restart=restart)
    stack.enter_context(video_store)
    place = room.features / "videos" if room.is_kept else None
    stack.enter_context(name_what_is_safe(place, lambda: f"{len(video_store)} videos"))
    text_store = stack.enter_context(FeatureStore(room.features / "texts", of_texts, restart=restart))
    records = Records(room.records, of_pairs, restart=restart, kind=PairsRecord, find_fault=find_record_fault)
    return video_store, text_store, stack.enter_context(records)


def _encode_videos(job: _Job, store: FeatureStore, watch: Watch, seconds: dict[str, Any]) -> dict[str, str]:
    items = [VideoItem(name, name, job.folder / name) for name in job.data.videos]
    known = _count_known(job.data.videos, store)
    if known:
        tell_note(f"{known} of {len(items)} videos are encoded in {store.folder}.")
    notices: dict[str, Sequence[str]] = {}
    with _time(watch, "encoding videos", len(items), known, seconds) as advance:
        errors = encode_videos_into(
            store,
            job.model,
            items,
            batch_size=job.batch_size,
            num_workers=job.num_workers,
            with_tokens=job.k is not None,
            progress=lambda item: advance(1),
            noting=notices.__setitem__,
        )
    tell_notices(notices)
    return errors


def _encode_texts(job: _Job, store: FeatureStore, texts: _Texts, watch: Watch, seconds: dict[str, Any]) -> None:
    known = _count_known(texts.keys, store)
    with _time(watch, "encoding texts", len(texts.keys), known, seconds) as advance:
        encode_texts_into(store, job.model, texts.words, texts.keys, progress=advance)


def _match_pairs(
    job: _Job,
    records: Records,
    plan: PairPlan,
    read_tokens: Callable[[int], Any],
    features: TextFeatures,
    watch: Watch,
    seconds: dict[str, Any],
) -> dict[str, str]:
    names = job.data.videos
    known, total = count_known(records, names, plan), count_pairs(plan)
    if known:
        tell_note(f"{known} of {total} pairs are known from {records.path}.")
    with _time(watch, "matching pairs", total, known, seconds) as advance:
        return match_pairs_into(
            records, job.model, names, plan, read_tokens, features, block_size=job.pairs_per_run, progress=advance
        )


def _count_known(keys: Sequence[str], store: FeatureStore) -> int:
    return sum(key in store for key in keys)


@contextlib.contextmanager
def _time(watch: Watch, text: str, total: int, known: int, seconds: dict[str, Any]) -> Iterator[Advance]:
    """Watch a part of the work, named by the last word of the text, and note how long it took for how many."""
    start = time.perf_counter()
    with watch(text, total=total, known=known) as advance:
        yield advance
    name = text.split()[-1]
    seconds[name] = {"seconds": time.perf_counter() - start, "done": total - known, "known_before": known}


def _describe_ranks(ranks: Mapping[str, Mapping[str, list[int]]]) -> dict[str, Any]:
    results = {}
    for way, directions in ranks.items():
        # What is ranked in one direction asks in the other one.
        found = {
            direction: describe_ranks(directions[direction], len(directions[other]))
            for direction, other in zip(DIRECTIONS, reversed(DIRECTIONS))
        }
        mean = sum(found[direction]["r1"]["value"] for direction in DIRECTIONS) / len(DIRECTIONS)
        results[way] = {**found, "mean_r1": mean, "originals": name_as_originals(found)}
    return results
