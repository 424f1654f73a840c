"""Videos and texts of a data set, compared both ways: encoded once, kept, looked at together, ranked.

    errors = encode_videos_into(videos, model, items, batch_size=8)          # videos, texts: a FeatureStore each
    encode_texts_into(texts, model, encoded, words, batch_size=64)
    similarity = compute_similarity(videos.read_embeddings(...), texts.read_embeddings(...))
    plan = plan_pairs(similarity, text_of, k=128)
    match_pairs_into(records, model, names, plan, videos.read_tokens, features)
    ranks = rank_both_ways(similarity, plan, read_scores(records, names, plan), pairs)

Equal texts are one unique text: U unique texts, S texts, V videos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypedDict

import jax
import numpy as np
from jaxtyping import Float32, Int64, Shaped

from vidtldr_jax.data.text import EncodedTexts
from vidtldr_jax.evaluation.metrics import rank_right, rank_right_reranked
from vidtldr_jax.inference.finite import check_finite, find_not_finite
from vidtldr_jax.inference.sharding import round_up_batch
from vidtldr_jax.inference.text_model import RetrievalModel
from vidtldr_jax.search.arrow_parts import Feature
from vidtldr_jax.search.features import FeatureStore
from vidtldr_jax.search.reranking import BLOCK_SIZE, TextFeatures, score_pairs
from vidtldr_jax.search.similarity import choose_candidates
from vidtldr_jax.trust.records import Records

_MOST_DEVICE_BYTES: Final = 2**30  # of text tokens; more stay in their files and are gathered block by block


class PairPlan(NamedTuple):
    """Which pairs are looked at.

    Attributes:
      text_of: [S], number of the unique text of every text.
      by_video: [V, k], for each video its most similar texts, numbers of texts.
      by_text: [U, k], for each unique text its most similar videos.
      pairs: number of a video -> ascending numbers of the unique texts that are asked about it from either side.
    """

    text_of: Int64[np.ndarray, " S"]
    by_video: Int64[np.ndarray, "V k"]
    by_text: Int64[np.ndarray, "U k"]
    pairs: dict[int, list[int]]


def encode_texts_into(
    store: FeatureStore,
    model: RetrievalModel,
    encoded: EncodedTexts,
    keys: Sequence[str],
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Encodes the texts that a store has not yet; each batch is kept as soon as it is there.

    Args:
      store: where features are and go.
      model: for retrieval.
      encoded: the texts' tokens.
      keys: what their features are found by.
      batch_size: texts per run, fewer where there are fewer; the last one is filled up.
      progress: called with the number of texts after each batch.

    Raises:
      NotFiniteError: what the model makes of a text is not finite; nothing of its batch is kept.
    """
    rest = np.array([number for number, key in enumerate(keys) if key not in store], np.int64)
    batch_size = round_up_batch(max(1, min(batch_size, len(keys))), model.mesh)
    for start in range(0, len(rest), batch_size):
        block = rest[start : start + batch_size]
        filled = np.concatenate([block, np.repeat(block[-1:], batch_size - len(block))])
        found = model.encode_text(encoded.ids[filled], encoded.mask[filled])
        embeddings, tokens = np.asarray(found.embedding), np.asarray(found.tokens)
        for row, number in enumerate(block):
            check_finite(embeddings[row], "embedding", of=f"text {keys[number]!r}")
            check_finite(tokens[row], "tokens", of=f"text {keys[number]!r}")
        store.append([Feature(keys[n], keys[n], embeddings[row], tokens[row]) for row, n in enumerate(block)])
        progress(len(block))


def gather_texts(store: FeatureStore, encoded: EncodedTexts, keys: Sequence[str]) -> TextFeatures:
    """Brings the tokens of texts to the device where they fit; else they stay in their files.

    Args:
      store: with the features of all keys.
      encoded: the texts' tokens.
      keys: of the texts.

    Returns:
      `TextFeatures`.
    """
    kept = _StoredTokens(store, keys)
    if not keys or len(keys) * store.read_tokens(keys[0]).nbytes > _MOST_DEVICE_BYTES:
        return TextFeatures(kept, encoded.mask)
    tokens = kept[np.arange(len(keys))]
    on_device: Any = tokens if jax.default_backend() == "cpu" else jax.device_put(tokens)
    return TextFeatures(on_device, encoded.mask)


class _StoredTokens:
    """Tokens of texts that are read when they are asked for."""

    def __init__(self, store: FeatureStore, keys: Sequence[str]) -> None:
        self._store, self._keys = store, keys

    def __getitem__(self, numbers: np.ndarray) -> Shaped[np.ndarray, "P N D"]:
        return np.stack([self._store.read_tokens(self._keys[number]) for number in numbers])


def plan_pairs(similarity: Float32[np.ndarray, "V U"], text_of: Int64[np.ndarray, " S"], *, k: int) -> PairPlan:
    """Chooses which videos and texts are looked at together.

    Args:
      similarity: of videos and unique texts; -inf for a video that can't be read.
      text_of: number of the unique text of every text.
      k: how many candidates each video and each text has, at most as many as there are.

    Returns:
      A `PairPlan`. A video that can't be read is in no pair.
    """
    num_videos, num_unique = similarity.shape
    by_video = np.stack([choose_candidates(row[text_of], k) for row in similarity])
    by_text = np.stack([choose_candidates(column, k) for column in similarity.T])
    wanted = np.zeros((num_videos, num_unique), bool)
    np.put_along_axis(wanted, text_of[by_video], True, axis=1)
    wanted.T[np.arange(num_unique)[:, None], by_text] = True
    wanted &= similarity > -np.inf
    pairs = {video: np.flatnonzero(row).tolist() for video, row in enumerate(wanted) if row.any()}
    return PairPlan(text_of, by_video, by_text, pairs)


class PairsRecord(TypedDict):
    """Record of one video: the texts that were looked at together with it, and the logit of "they match" of each."""

    texts: list[int]
    scores: list[float]


def find_record_fault(record: Mapping[str, Any]) -> str | None:
    """Returns what is wrong with a record that is a `PairsRecord`, or None."""
    if len(record["texts"]) != len(record["scores"]):
        return f"it has {len(record['texts'])} texts and {len(record['scores'])} scores"
    return None


def match_pairs_into(
    records: Records,
    model: RetrievalModel,
    names: Sequence[str],
    plan: PairPlan,
    read_tokens: Callable[[int], Shaped[np.ndarray, "M C"]],
    texts: TextFeatures,
    *,
    block_size: int = BLOCK_SIZE,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[str, str]:
    """Looks at the pairs that have no record yet; those of a video are kept as soon as they are there.

    Args:
      records: what is known, and where the new goes: by the video's name `{"texts": [...], "scores": [...]}`.
      model: for retrieval.
      names: of the videos.
      plan: which pairs.
      read_tokens: from the number of a video to its surviving tokens.
      texts: the unique texts.
      block_size: texts in a run; fewer where no video has so many.
      progress: called with the number of pairs after each video.

    Returns:
      Name -> what is wrong with a video whose scores are not finite; it has no record.
    """
    rest = {video: texts_ for video, texts_ in plan.pairs.items() if not _is_known(records, names[video], texts_)}
    errors: dict[str, str] = {}
    most = max((len(wanted) for wanted in plan.pairs.values()), default=1)
    for video, scores in score_pairs(model, read_tokens, texts, rest, block_size=max(1, min(block_size, most))):
        if error := find_not_finite(scores, "match scores"):
            errors[names[video]] = str(error)
        else:
            records.append(names[video], {"texts": rest[video], "scores": [float(score) for score in scores]})
        progress(len(scores))
    return errors


def count_known(records: Records, names: Sequence[str], plan: PairPlan) -> int:
    """Returns how many pairs of a plan have a record."""
    return sum(len(texts) for video, texts in plan.pairs.items() if _is_known(records, names[video], texts))


def _is_known(records: Records, name: str, texts: Sequence[int]) -> bool:
    return records.found.get(name, {}).get("texts") == list(texts)


def read_scores(records: Records, names: Sequence[str], plan: PairPlan) -> Float32[np.ndarray, "V U"]:
    """Returns the scores of all pairs of a plan; NaN where there is no pair, or no record of its video."""
    scores = np.full((len(plan.by_video), len(plan.by_text)), np.nan, np.float32)
    for video, texts in plan.pairs.items():
        if _is_known(records, names[video], texts):
            scores[video, texts] = records.found[names[video]]["scores"]
    return scores


def rank_both_ways(
    similarity: Float32[np.ndarray, "V U"],
    plan: PairPlan,
    scores: Float32[np.ndarray, "V U"] | None,
    pairs: Sequence[tuple[int, int]],
) -> dict[str, dict[str, list[int]]]:
    """Ranks what belongs together, by similarity alone and re-ranked.

    Args:
      similarity: of videos and unique texts; -inf for a video that can't be read.
      plan: candidates of each side.
      scores: of the plan's pairs; None where nothing was re-ranked.
      pairs: (number of the video, number of the text) that belong together.

    Returns:
      "itc" and, with scores, "reranked": "text_to_video", a rank for every text, and "video_to_text", one for every
      video. A video that can't be read finds nothing and is not found.
    """
    text_of = plan.text_of
    right_texts: list[list[int]] = [[] for _ in similarity]
    right_videos: list[list[int]] = [[] for _ in text_of]
    for video, text in pairs:
        right_texts[video].append(text)
        right_videos[text].append(video)
    itc = {
        "text_to_video": [rank_right(similarity[:, text_of[n]], right) for n, right in enumerate(right_videos)],
        "video_to_text": [rank_right(row[text_of], right) for row, right in zip(similarity, right_texts)],
    }
    if scores is None:
        return {"itc": itc}
    return {
        "itc": itc,
        "reranked": {
            "text_to_video": [
                _rank(similarity[:, text_of[n]], plan.by_text[text_of[n]], scores[:, text_of[n]], right)
                for n, right in enumerate(right_videos)
            ],
            "video_to_text": [
                _rank(row[text_of], plan.by_video[video], scores[video][text_of], right)
                for video, (row, right) in enumerate(zip(similarity, right_texts))
            ],
        },
    }


def _rank(similarity: np.ndarray, candidates: np.ndarray, scores: np.ndarray, right: Sequence[int]) -> int:
    there = candidates[similarity[candidates] > -np.inf]  # k may reach to videos that can't be read
    return rank_right_reranked(similarity, there, scores[there], right)


def count_pairs(plan: PairPlan) -> int:
    """Returns how many pairs are looked at; each counts once, from whichever side it is asked for."""
    return sum(map(len, plan.pairs.values()))
