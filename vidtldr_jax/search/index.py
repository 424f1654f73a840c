"""An index of videos: embeddings to search by, and on demand the tokens to look again at the best.

    with FeatureStore("index", describe_index(model, sha256, with_tokens=True)) as store:
        report = add_videos(store, model, find_videos(["videos"]), batch_size=8)
    hits = search_index(read_features("index"), model, "a dog catches a frisbee", top_k=5, rerank=100)

A video is known by its content, wherever it lies. An index is of one model, schedule, preprocessing and dtype.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypedDict

import numpy as np

from vidtldr_jax.data.text import quote_words
from vidtldr_jax.data.video_paths import hash_content
from vidtldr_jax.inference.finite import NotFiniteError, check_finite, find_not_finite
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.text_model import RetrievalModel
from vidtldr_jax.models.architectures import describe_config
from vidtldr_jax.search.arrow_parts import Feature, FeaturesError
from vidtldr_jax.search.encoding import VideoItem, encode_videos_into
from vidtldr_jax.search.features import FeatureStore
from vidtldr_jax.search.features_description import NAME
from vidtldr_jax.search.reranking import score_videos
from vidtldr_jax.search.similarity import choose_candidates, compute_similarity
from vidtldr_jax.trust.json_files import JsonError, check_type

log = logging.getLogger("vidtldr_jax")

MOST_WORDS: Final = 150  # tokens of a sentence to search by, the longest of the published protocols


class IndexRun(TypedDict):
    """What the videos of an index share."""

    is_index: Literal[True]
    checkpoint_sha256: str
    architecture: dict[str, Any]
    schedule: str
    preprocessing: dict[str, Any]
    dtype: str
    tokens: bool


class AddReport(NamedTuple):
    """What adding videos to an index did.

    Attributes:
      added: how many are new.
      known: how many were there already.
      moved: how many of these were found at a new place, their old one being empty or another one's.
      same: path -> path of another video with the same content that was given too.
      errors: path -> why a video can't be had.
      notices: path -> what a user should know about a new video.
    """

    added: int
    known: int
    moved: int
    same: dict[str, str]
    errors: dict[str, str]
    notices: dict[str, Sequence[str]]


class Hit(NamedTuple):
    """A video that was found.

    Attributes:
      path: where it was when it was added or found again.
      similarity: cosine with the text.
      match: logit of "they match", or None where it was not looked at again.
    """

    path: str
    similarity: float
    match: float | None


def describe_index(model: VideoModel, checkpoint_sha256: str, *, with_tokens: bool) -> dict[str, Any]:
    """Returns what must be the same for all videos of an index.

    Args:
      model: that encodes.
      checkpoint_sha256: of its weights.
      with_tokens: whether the surviving tokens are kept.

    Returns:
      Plain data.
    """
    return {
        "is_index": True,  # evaluations keep features that are described by much the same
        "checkpoint_sha256": checkpoint_sha256,
        "architecture": describe_config(model.config),
        "schedule": model.schedule.title,
        "preprocessing": model.preprocessing.to_dict(),
        "dtype": str(model.dtype),
        "tokens": with_tokens,
    }


def read_index_run(store: FeatureStore) -> IndexRun:
    """Returns what the videos of an index share.

    Args:
      store: the index.

    Returns:
      An `IndexRun`.

    Raises:
      FeaturesError: the features are of something else, or their description has a value of another type.
    """
    if not store.description.get("is_index"):
        raise FeaturesError(
            f"an index is made by vidtldr embed; {store.folder} is something else; give another folder."
        )
    try:
        run: IndexRun = check_type(store.description, IndexRun)
        check_type(store.about.get("checkpoint", ""), str)
    except JsonError as error:
        raise FeaturesError(
            f"{store.folder / NAME} does not describe an index ({error}); embed the videos again"
        ) from error
    return run


def add_videos(
    store: FeatureStore,
    model: VideoModel,
    paths: Sequence[Path],
    *,
    batch_size: int,
    num_workers: int = 0,
    hashing: Callable[[Path], None] = lambda path: None,
    encoding: Callable[[int, int], None] = lambda done, total: None,
) -> AddReport:
    """Adds the videos that an index has not yet.

    Args:
      store: the index, see `describe_index`.
      model: with embeddings.
      paths: of videos, see `find_videos`.
      batch_size: videos per run.
      num_workers: processes that read.
      hashing: called after each video whose content was hashed.
      encoding: called with how many new videos are done, and how many there are.

    Returns:
      An `AddReport`.

    Raises:
      ValueError: the model has no embeddings.
    """
    items: dict[str, VideoItem] = {}
    same: dict[str, str] = {}
    errors: dict[str, str] = {}
    notices: dict[str, Sequence[str]] = {}
    known: list[VideoItem] = []
    here: dict[str, str] = {}  # path -> key of what lies there now
    for path in paths:
        name = os.path.abspath(path)
        try:
            key = hash_content(path)
        except OSError as error:
            errors[name] = error.strerror or str(error)
            continue
        finally:
            hashing(path)
        here[name] = key
        item = VideoItem(key, name, Path(name))
        if key in store:
            known.append(item)
        elif key in items:
            same[name] = items[key].name
        else:
            items[key] = item
    moved = _find_moved(store, known, here)
    for item in moved:
        _rename(store, item)
    done = 0
    encoding(done, len(items))

    def tell(item: VideoItem) -> None:
        nonlocal done
        done += 1
        encoding(done, len(items))

    failed = encode_videos_into(
        store,
        model,
        list(items.values()),
        batch_size=batch_size,
        num_workers=num_workers,
        num_videos=len(set(here.values())),
        with_tokens=bool(store.description["tokens"]),
        progress=tell,
        noting=notices.__setitem__,
    )
    errors |= {items[key].name: error for key, error in failed.items()}
    return AddReport(len(items) - len(failed), len(known), len(moved), same, errors, notices)


def list_videos(store: FeatureStore) -> list[str]:
    """Returns the keys of the videos of an index, without those in whose place another one was found later."""
    newest = {store.get_name(key): key for key in store.keys}
    return [key for key in store.keys if newest[store.get_name(key)] == key]


def search_index(
    store: FeatureStore,
    model: RetrievalModel,
    text: str,
    *,
    top_k: int,
    rerank: int,
    fault: Callable[[str, NotFiniteError], None] | None = None,
    unknown: Callable[[tuple[str, ...]], None] | None = None,
) -> list[Hit]:
    """Finds the videos that a sentence describes.

    Args:
      store: the index.
      model: the one that the index was made with; its schedule does not matter.
      text: as people write it.
      top_k: how many videos are wanted.
      rerank: how many of the most similar are looked at again together with the text; 0 for none.
      fault: called with the path of a video whose similarity or match is not finite, and the error; that video is left
        out. None raises the error.
      unknown: called with the words of the text that the model's tokenizer does not know, where there are some; all of
        them are the same to the model. None writes them to the log "vidtldr_jax".

    Returns:
      Videos, the best first; of equal ones the one that was added first.

    Raises:
      NotFiniteError: what the model makes of the text is not finite, or of a video, without `fault`.
      FeaturesError: the index has no tokens to look at again.
      TextError: the text has no words that the tokenizer knows, or the model no tokenizer.
    """
    if rerank and len(store) and not store.has_tokens:
        raise FeaturesError(
            f"to look again at the best needs their tokens; {store.folder} has embeddings alone; embed "
            "the videos again with --tokens into another folder, or leave --rerank out."
        )
    model = model.with_local_mesh()  # the others may search for something else
    words = model.tokenize([text], max_tokens=min(MOST_WORDS, model.config.text.max_positions))
    if missing := model.check_words(text):
        (unknown or _log_unknown)(missing)
    encoded = model.encode_text(words.ids, words.mask)
    check_finite(encoded.embedding, "embedding", of=f"text {text!r}")
    check_finite(encoded.tokens, "tokens", of=f"text {text!r}")
    keys = list_videos(store)
    if not keys:
        return []
    similarity = compute_similarity(store.read_embeddings(keys), np.asarray(encoded.embedding))[:, 0]  # [V]

    def keep_finite(numbers: Sequence[int], values: np.ndarray, what: str) -> np.ndarray:
        """Tells the faults, and which of some videos have none."""
        errors = [find_not_finite(value, what) for value in values]
        for number, error in zip(numbers, errors, strict=True):
            if error is not None:
                if fault is None:
                    raise NotFiniteError(f"{store.get_name(keys[number])}: {error}")
                fault(store.get_name(keys[number]), error)
        return np.array([error is None for error in errors], bool)

    is_sound = keep_finite(range(len(keys)), similarity, "similarity")
    order = np.array([n for n in choose_candidates(similarity, len(keys)) if is_sound[n]], np.int64)
    first, rest = np.split(order, [max(rerank, 0)])
    scores = score_videos(
        model, [store.read_tokens(keys[n]) for n in first], np.asarray(encoded.tokens)[0], words.mask[0]
    )
    is_sound = keep_finite(first.tolist(), scores, "match")
    first, scores = first[is_sound], scores[is_sound]
    best = [*first[np.argsort(-scores, kind="stable")], *rest]
    match = dict(zip(first.tolist(), scores.tolist()))
    return [Hit(store.get_name(keys[n]), float(similarity[n]), match.get(int(n))) for n in best[:top_k]]


def _log_unknown(words: tuple[str, ...]) -> None:
    log.warning("the model's tokenizer does not know %s", quote_words(words))  # quoted, so that they only show


def _find_moved(store: FeatureStore, known: Sequence[VideoItem], here: Mapping[str, str]) -> list[VideoItem]:
    """Lists the known videos that are no longer where the index has them; of equal ones the first."""
    there = set(list_videos(store))
    moved: dict[str, VideoItem] = {}
    for item in known:
        old = store.get_name(item.key)
        is_there = here[old] == item.key if old in here else Path(old).exists()
        if not is_there or item.key not in there:
            moved.setdefault(item.key, item)
    return list(moved.values())


def _rename(store: FeatureStore, item: VideoItem) -> None:
    """Writes a known video down again under its new path; the last row of a key counts."""
    embedding = store.read_embeddings([item.key])[0]
    tokens = np.array(store.read_tokens(item.key)) if store.description["tokens"] else None
    store.append([Feature(item.key, item.name, embedding, tokens)])
