"""`vidtldr evaluate retrieval`: how well texts find their videos and videos their texts."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from vidtldr_jax import __version__
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
from vidtldr_jax.cli.names import PAIRS_PER_RUN
from vidtldr_jax.cli.output import print_json, print_note, watch_progress
from vidtldr_jax.cli.text_models import Setup, prepare, umt_options
from vidtldr_jax.cli.words import choose_length, count_unknown
from vidtldr_jax.trust.digests import hash_file
from vidtldr_jax.trust.records import Records

if TYPE_CHECKING:
    from vidtldr_jax.data.annotations import RetrievalSet
    from vidtldr_jax.data.text import EncodedTexts
    from vidtldr_jax.evaluation.retrieval import PairPlan
    from vidtldr_jax.inference.text_model import RetrievalModel
    from vidtldr_jax.search.features import FeatureStore

K_TEST: Final = 128
_MAX_TEXT_TOKENS: Final = 32
_EPILOG: Final = """\b
Examples:
  vidtldr evaluate retrieval --model checkpoints/umt-b16-msrvtt --annotation msrvtt_ret_test1k.json \\
      --videos MSRVTT/videos --frames 12 --schedule 600,200,100 --out results/msrvtt.json
  vidtldr evaluate retrieval --config configs/retrieval.py:didemo,l16 --model checkpoints/umt-l16-didemo \\
      --annotation didemo_ret_test.json --videos didemo --dtype bfloat16 --out results/didemo.json
"""


@click.command(epilog=_EPILOG)
@umt_options
@click.option(
    "--k-test", type=click.IntRange(min=1), help=f"Candidates to re-rank.  [default: the config's, or {K_TEST}]"
)
@click.option("--no-rerank", is_flag=True, help="Rank by similarity (ITC) alone.")
@click.option(
    "--max-text-tokens",
    type=click.IntRange(min=3),
    help=f"What is longer is cut.  [default: the config's, or {_MAX_TEXT_TOKENS}, or as many as the model takes]",
)
@click.option("--paragraph/--no-paragraph", default=None, help="A video's captions are one text.")
@click.option(
    "--pairs-per-run", type=click.IntRange(min=1), default=PAIRS_PER_RUN, show_default=True, help="Texts at a video."
)
@click.option("--keep-features", is_flag=True, help="Keep what was encoded beside --out once the result is there.")
def retrieval(
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
    k_test: int | None,
    no_rerank: bool,
    max_text_tokens: int | None,
    paragraph: bool | None,
    pairs_per_run: int,
    keep_features: bool,
) -> int:
    """Measures recall and ranks of video-text retrieval, by similarity (ITC) and re-ranked (ITM).

    The annotation is JSON as UMT's and vid-TLDR's: [{"video": "a.mp4", "caption": "a dog runs"}, ...], either perhaps a
    list. With --out everything is kept as it comes and the same command goes on where it was broken off. A video that
    can't be read is named, finds nothing and is not found; the exit code is then 1.
    """
    from vidtldr_jax.cli.retrieval_report import build_result, describe_protocol, print_result
    from vidtldr_jax.data.annotations import read_retrieval_set
    from vidtldr_jax.evaluation.retrieval import count_pairs
    from vidtldr_jax.inference.checkpoint import WEIGHTS_NAME
    from vidtldr_jax.inference.text_model import RetrievalModel

    setup = prepare(
        config, model, task="retrieval", schedule=schedule, method=method, frames=frames, first_seconds=first_seconds,
        tokenizer=tokenizer, dtype=dtype, devices=devices,
    )  # fmt: skip
    assert isinstance(setup.model, RetrievalModel)
    place = annotation or setup.config.get("annotation")
    if not place:
        raise click.UsageError("--annotation is needed: a JSON file of videos and captions.")
    is_paragraph = bool(setup.config.get("paragraph")) if paragraph is None else paragraph
    listed = read_retrieval_set(place, is_paragraph=is_paragraph)
    folder = Path(videos or setup.config.get("videos") or Path(place).parent)
    wanted = _select(listed, range(min(limit or len(listed.videos), len(listed.videos))))
    skipped = find_skipped(
        {name: folder / name for name in wanted.videos}, skip_missing=skip_missing, option="--videos"
    )
    data = _select(wanted, [n for n, name in enumerate(wanted.videos) if name not in set(skipped)])
    k = _choose_k(k_test, setup.config.get("k_test"), data)
    length = choose_length(
        max_text_tokens, setup.config.get("max_text_tokens"), _MAX_TEXT_TOKENS, model=setup.model, what="texts"
    )
    file = None if out is None else check_result_place(Path(out), [place, setup.folder])
    job = _Job(setup.model, data, folder, length, None if no_rerank else k, batch_size, workers, pairs_per_run, restart)
    sha256 = {"checkpoint": hash_file(setup.folder / WEIGHTS_NAME), "annotation": hash_file(Path(place))}
    try:
        with _find_room(file, keep_features) as room:
            outcome = _run(job, setup, room, sha256, is_paragraph)
            result = build_result(
                outcome.ranks, setup.model,
                protocol=describe_protocol(setup.model.preprocessing, length, job.k, is_paragraph=is_paragraph),
                counts={
                    "videos_listed": len(listed.videos), "skipped_missing": len(skipped), "videos": len(data.videos),
                    "texts": len(data.texts), "unique_texts": len(outcome.plan.by_text),
                    "texts_cut": outcome.num_cut, "unreadable_counted_as_wrong": len(outcome.errors),
                    **count_unknown(setup.model, data.texts, what="texts"),
                    "pairs_reranked": 0 if job.k is None else count_pairs(outcome.plan),
                },
                seconds=outcome.seconds,
                config=setup.config,
                facts={
                    "model": setup.name, "config": config, "checkpoint": str(setup.folder),
                    "checkpoint_sha256": sha256["checkpoint"], "tokenizer_sha256": hash_text(setup.model.tokenizer),
                    "annotation": place, "annotation_sha256": sha256["annotation"], "videos": str(folder),
                    "k_test": job.k, "max_text_tokens": length, "paragraph": is_paragraph, "batch_size": batch_size,
                    "workers": workers, "devices": devices, "version": __version__,
                },
                errors=outcome.errors, skipped=skipped,
            )  # fmt: skip
            if file is not None:
                write_result(file, result)
    except ValueError as error:
        raise CommandError(str(error)) from error
    report_errors(outcome.errors)
    if as_json:
        print_json(result)
    else:
        print_result(result)
    return 1 if outcome.errors else 0


class _Job(NamedTuple):
    """What is to be done. k is None where nothing is re-ranked."""

    model: RetrievalModel
    data: RetrievalSet
    folder: Path
    max_text_tokens: int
    k: int | None
    batch_size: int
    workers: int
    pairs_per_run: int
    restart: bool


class _Outcome(NamedTuple):
    """The results. Seconds are those of this start: of videos, texts and pairs, with how many there were."""

    ranks: Mapping[str, Mapping[str, list[int]]]
    plan: PairPlan
    errors: dict[str, str]
    num_cut: int
    seconds: dict[str, Any]


class _Room(NamedTuple):
    """Where things are kept while the work goes on."""

    features: Path
    records: Path
    is_kept: bool


@contextlib.contextmanager
def _find_room(file: Path | None, keep_features: bool) -> Iterator[_Room]:
    """Gives a place beside the result, or a temporary one; features are taken away at the end, if all went well."""
    if file is None:
        with tempfile.TemporaryDirectory(prefix="vidtldr-") as folder:
            yield _Room(Path(folder) / "features", Path(folder) / "records.jsonl", is_kept=False)
        return
    room = _Room(file.with_suffix(".features"), file.with_suffix(".records.jsonl"), is_kept=True)
    yield room
    if not keep_features:
        for kind in ("videos", "texts"):
            shutil.rmtree(room.features / kind, ignore_errors=True)
        with contextlib.suppress(OSError):  # somebody put something else there
            room.features.rmdir()


def _select(data: RetrievalSet, numbers: Sequence[int]) -> RetrievalSet:
    """Keeps some videos, and the texts that belong to one of them."""
    from vidtldr_jax.data.annotations import RetrievalSet

    place = {number: row for row, number in enumerate(numbers)}
    pairs = [(place[video], text) for video, text in data.pairs if video in place]
    texts = sorted({text for _, text in pairs})
    row = {text: number for number, text in enumerate(texts)}
    return RetrievalSet(
        tuple(data.videos[number] for number in numbers),
        tuple(data.texts[text] for text in texts),
        tuple((video, row[text]) for video, text in pairs),
    )


def _choose_k(asked: int | None, configured: int | None, data: RetrievalSet) -> int:
    most = min(len(data.videos), len(data.texts))
    if asked is not None and asked > most:
        raise CommandError(
            f"--k-test is at most the number of videos, {len(data.videos)}, and of texts, {len(data.texts)}; got "
            f"{asked}; take fewer, or leave it out."
        )
    return min(asked or configured or K_TEST, most)


def _run(job: _Job, setup: Setup, room: _Room, sha256: Mapping[str, str], is_paragraph: bool) -> _Outcome:
    import jax
    import numpy as np

    from vidtldr_jax.evaluation.retrieval import PairsRecord, find_record_fault, plan_pairs, rank_both_ways, read_scores
    from vidtldr_jax.models.architectures import describe_config
    from vidtldr_jax.search.features import FeatureStore
    from vidtldr_jax.search.similarity import compute_similarity

    model, data = job.model, job.data
    run = {
        "version": __version__,
        "checkpoint_sha256": sha256["checkpoint"],
        "architecture": describe_config(model.config),
        "dtype": str(model.dtype),
        "platform": jax.default_backend(),
    }
    seconds: dict[str, Any] = {}
    keys = list(dict.fromkeys(data.texts))
    number = {key: row for row, key in enumerate(keys)}
    text_of = np.array([number[text] for text in data.texts], np.int64)
    words = model.tokenize(keys, max_tokens=job.max_text_tokens)
    seen = {"schedule": model.schedule.title, "preprocessing": model.preprocessing.to_dict()}
    of_videos = {**run, **seen, "videos": str(job.folder.absolute()), "batch_size": job.batch_size}
    read = {"tokenizer_sha256": hash_text(model.tokenizer), "max_text_tokens": job.max_text_tokens}
    with contextlib.ExitStack() as stack:
        kept = {**of_videos, "tokens": job.k is not None}
        videos = stack.enter_context(FeatureStore(room.features / "videos", kept, restart=job.restart))
        place = room.features / "videos" if room.is_kept else None
        stack.enter_context(tell_what_is_safe(place, lambda: f"{len(videos)} videos"))
        of_texts = {**run, **read, "length": words.ids.shape[1]}
        texts = stack.enter_context(FeatureStore(room.features / "texts", of_texts, restart=job.restart))
        of_pairs = {
            **of_videos, **read, "annotation_sha256": sha256["annotation"], "paragraph": is_paragraph, "k": job.k,
            "counts": [len(data.videos), len(data.texts)], "pairs_per_run": job.pairs_per_run,
        }  # fmt: skip
        records = stack.enter_context(
            Records(room.records, of_pairs, restart=job.restart, kind=PairsRecord, find_fault=find_record_fault)
        )
        errors = _encode_videos(job, videos, seconds)
        _encode_texts(job, texts, words, keys, seconds)
        similarity = np.full((len(data.videos), len(keys)), -np.inf, np.float32)
        there = [row for row, name in enumerate(data.videos) if name not in errors]
        if there:
            embeddings = videos.read_embeddings([data.videos[row] for row in there])
            similarity[there] = compute_similarity(embeddings, texts.read_embeddings(keys))
        plan = plan_pairs(similarity, text_of, k=job.k or 1)
        scores = None
        if job.k is not None:
            unmatched = _match_pairs(job, records, plan, videos, texts, words, keys, seconds)
            scores = read_scores(records, data.videos, plan)
            similarity[[name in unmatched for name in data.videos]] = -np.inf  # as one that can't be read
            errors = {**errors, **unmatched}
        return _Outcome(rank_both_ways(similarity, plan, scores, data.pairs), plan, errors, words.num_cut, seconds)


def _encode_videos(job: _Job, store: FeatureStore, seconds: dict[str, Any]) -> dict[str, str]:
    from vidtldr_jax.search.encoding import VideoItem, encode_videos_into

    items = [VideoItem(name, name, job.folder / name) for name in job.data.videos]
    known = sum(item.key in store for item in items)
    if known:
        print_note(f"{known} of {len(items)} videos are encoded in {store.folder}.")
    notices: dict[str, Sequence[str]] = {}
    with _watch("encoding videos", len(items), known, seconds, "videos") as advance:
        errors = encode_videos_into(
            store,
            job.model,
            items,
            batch_size=job.batch_size,
            num_workers=job.workers,
            with_tokens=job.k is not None,
            progress=lambda item: advance(1),
            noting=notices.__setitem__,
        )
    report_notices(notices)
    return errors


def _encode_texts(
    job: _Job, store: FeatureStore, words: EncodedTexts, keys: Sequence[str], seconds: dict[str, Any]
) -> None:
    from vidtldr_jax.evaluation.retrieval import encode_texts_into

    known = sum(key in store for key in keys)
    with _watch("encoding texts", len(keys), known, seconds, "texts") as advance:
        encode_texts_into(store, job.model, words, keys, progress=advance)


def _match_pairs(
    job: _Job,
    records: Records,
    plan: PairPlan,
    videos: FeatureStore,
    texts: FeatureStore,
    words: EncodedTexts,
    keys: Sequence[str],
    seconds: dict[str, Any],
) -> dict[str, str]:
    from vidtldr_jax.evaluation.retrieval import count_known, count_pairs, gather_texts, match_pairs_into

    names = job.data.videos
    known, total = count_known(records, names, plan), count_pairs(plan)
    if known:
        print_note(f"{known} of {total} pairs are known from {records.path}.")
    with _watch("matching pairs", total, known, seconds, "pairs") as advance:
        return match_pairs_into(
            records,
            job.model,
            names,
            plan,
            lambda number: videos.read_tokens(names[number]),
            gather_texts(texts, words, keys),
            block_size=job.pairs_per_run,
            progress=advance,
        )


@contextlib.contextmanager
def _watch(text: str, total: int, known: int, seconds: dict[str, Any], name: str) -> Iterator[Callable[[int], None]]:
    """Shows how far a part of the work is, and writes down how long it took for how many."""
    start = time.perf_counter()
    with watch_progress(text, total=total, known=known) as advance:
        yield advance
    seconds[name] = {"seconds": time.perf_counter() - start, "done": total - known, "known_before": known}
