"""Ranks and average precision equal those of plain loops, on scores with many ties."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.reference import retrieval_oracle
from vidtldr_jax.evaluation.metrics import (
    compute_mean_average_precision,
    describe_ranks,
    name_as_originals,
    rank_right,
    rank_right_reranked,
)
from vidtldr_jax.search import similarity as similarity_module
from vidtldr_jax.search.similarity import choose_candidates, compute_similarity

# Of few values, so that there are ties; float32 does not tell 1 + 1e-9 from 1.
VALUES = st.sampled_from([-1.5, -0.0, 0.0, 0.25, 1.0, 1 + 1e-9, 1 + 2**-23])
MANY = 10**6  # items: more than there are ranks
RANKS = st.lists(st.integers(0, 14), min_size=1, max_size=12)


@st.composite
def scored_items(draw):
    """(similarities, match scores, right items, k) of 1 to 12 items."""
    count = draw(st.integers(1, 12))
    scores = [np.array(draw(st.lists(VALUES, min_size=count, max_size=count)), np.float32) for _ in range(2)]
    right = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=4))
    return *scores, right, draw(st.integers(1, count))


def list_nearest(scores, k):
    return sorted(range(len(scores)), key=lambda item: (-scores[item], item))[:k]


def rerank(similarity, matched, right, k):
    candidates = choose_candidates(similarity, k)
    return rank_right_reranked(similarity, candidates, matched[candidates], right)


@given(scored_items())
def test_ranks_and_candidates_are_those_of_plain_loops(items):
    similarity, matched, right, k = items
    assert choose_candidates(similarity, k).tolist() == list_nearest(similarity, k)
    assert rank_right(similarity, right) == retrieval_oracle.rank_of_right(similarity, right)
    expected = retrieval_oracle.rank_reranked(similarity, lambda item: matched[item], right, k)
    assert rerank(similarity, matched, right, k) == expected


def test_of_equal_ones_the_first_comes_first():
    scores = np.array([0.5, 0.75, 0.5, 0.75, 0.5], np.float32)
    assert choose_candidates(scores, 4).tolist() == [1, 3, 0, 2]
    assert [rank_right(scores, [item]) for item in range(5)] == [2, 0, 3, 1, 4]
    assert rank_right(scores, [4, 3, 2]) == 1
    # All five match alike, so that the order is that of the items, not of the candidates.
    assert [rerank(scores, np.zeros(5, np.float32), [item], 4) for item in range(5)] == [0, 1, 2, 3, 4]


def test_the_worst_match_comes_before_what_is_no_candidate():
    similarity = np.array([0.1, 0.9, 0.8, 0.7], np.float32)
    matched = np.array([9, -5, -6, 9], np.float32)
    assert [rerank(similarity, matched, [item], 2) for item in range(4)] == [3, 0, 1, 2]


@given(scored_items(), st.data())
def test_what_can_not_be_found_finds_no_rank(items, data):
    similarity, matched, right, k = items
    lost = data.draw(st.sets(st.integers(0, len(similarity) - 1)))
    similarity[list(lost)] = -np.inf
    # Without the lost items ranks are the same, for they come behind all others.
    kept = [item for item in range(len(similarity)) if item not in lost]
    left = [kept.index(item) for item in right if item not in lost]
    few, k = min(k, len(kept)), min(k, len(kept))
    itc, reranked = len(similarity), len(similarity)
    if left:
        itc = retrieval_oracle.rank_of_right(similarity[kept], left)
        matched_kept = matched[kept]
        reranked = retrieval_oracle.rank_reranked(similarity[kept], lambda item: matched_kept[item], left, few)
    assert rank_right(similarity, right) == itc
    assert rerank(similarity, matched, right, k) == reranked


def test_nothing_right_is_behind_everything():
    scores = np.arange(3, dtype=np.float32)
    assert rank_right(scores, []) == 3
    assert rank_right_reranked(scores, choose_candidates(scores, 2), scores[:2], []) == 3
    assert choose_candidates(scores, 9).tolist() == [2, 1, 0]


@example(text_to_video=[0], video_to_text=7 * [0])  # whose interval ended at 1 - 1e-16
@given(RANKS, RANKS)
def test_summaries_are_those_of_plain_loops_and_of_the_originals(text_to_video, video_to_text):
    found = {"text_to_video": describe_ranks(text_to_video, MANY), "video_to_text": describe_ranks(video_to_text, MANY)}
    expected = retrieval_oracle.summarise_both(text_to_video, video_to_text)
    for direction, described in found.items():
        plain = expected.pop(direction)
        assert {n: described[n]["value"] for n in ("r1", "r5", "r10")} == {n: plain[n] for n in ("r1", "r5", "r10")}
        assert described["median_rank"] == plain["median_rank"]
        assert described["mean_rank"] == pytest.approx(plain["mean_rank"], rel=1e-12)
        ranks = plain["ranks"]
        for count in (1, 5, 10):
            part = described[f"r{count}"]
            assert (part["right"], part["of"]) == (sum(rank < count for rank in ranks), len(ranks))
            assert part["interval_95"][0] <= part["value"] <= part["interval_95"][1]
    assert name_as_originals(found) == expected


def test_summaries_worked_out_by_hand():
    one, two = [0, 1, 4, 9, 10], [0, 0, 30, 31]
    found = {"text_to_video": describe_ranks(one, MANY), "video_to_text": describe_ranks(two, MANY)}
    assert [found["text_to_video"][n]["value"] for n in ("r1", "r5", "r10")] == [0.2, 0.6, 0.8]
    assert (found["text_to_video"]["median_rank"], found["text_to_video"]["mean_rank"]) == (5, 5.8)
    assert (found["video_to_text"]["median_rank"], found["video_to_text"]["mean_rank"]) == (16, 16.25)
    assert name_as_originals(found) == {
        "txt_r1": 50.0, "txt_r5": 50.0, "txt_r10": 50.0, "txt_r_mean": 50.0,
        "img_r1": 20.0, "img_r5": 60.0, "img_r10": 80.0, "img_r_mean": 53.33, "r_mean": 51.67,
    }  # fmt: skip
    nothing = describe_ranks([], 0)
    assert (nothing["median_rank"], nothing["mean_rank"], nothing["r1"]["of"]) == (None, None, 0)


def test_what_finds_nothing_among_few_is_in_no_recall():
    found = describe_ranks([0, 2, 3], 3)
    assert [found[name]["right"] for name in ("r1", "r5", "r10")] == [1, 2, 2]


@pytest.mark.parametrize("rows", [1, 3, 1024])
def test_similarities_are_cosines_block_by_block(monkeypatch, rows):
    monkeypatch.setattr(similarity_module, "_ROWS", rows)
    rng = np.random.default_rng(0)
    videos, texts = (rng.normal(size=(count, 6)).astype(np.float32) for count in (8, 5))
    videos[2], texts[1] = 1e-10 * videos[2], 1e15 * texts[1]  # length does not count, but
    videos[4] = texts[3] = 0  # a zero vector is like nothing
    found = compute_similarity(videos, texts)
    expected = [[retrieval_oracle.cosine(video, text) for text in texts] for video in videos]
    assert (found.dtype, found.shape) == (np.float32, (8, 5))
    np.testing.assert_allclose(found, expected, atol=6e-8, rtol=0)  # the rounding to float32
    assert not found[4].any()
    assert not found[:, 3].any()
    assert compute_similarity(videos[:0], texts).shape == (0, 5)


def test_equal_embeddings_have_equal_cosines_to_the_bit():
    # With OpenBLAS equal rows of a product differ, in float32 of the first shape, in float64 of the others.
    for shape in ((5, 7, 512), (37, 41, 512), (503, 499, 512)):
        rng = np.random.default_rng(1)
        num_videos, num_texts, channels = shape
        videos = np.repeat(rng.normal(size=(1, channels)), num_videos, axis=0).astype(np.float32)
        texts = rng.normal(size=(num_texts, channels)).astype(np.float32)
        found = compute_similarity(videos, texts)
        assert (found == found[0]).all()
        assert (compute_similarity(texts, videos) == found.T[:, :1]).all()


def average_precision_by_hand(score, label):
    order = np.argsort(-score)
    right = label[order].astype(bool)
    return np.mean([right[: place + 1].mean() for place in np.flatnonzero(right)])


def test_average_precision_is_the_mean_of_precisions_where_a_class_is_found():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(40, 3)), rng.integers(0, 2, (40, 3))
    expected = np.mean([average_precision_by_hand(s, t) for s, t in zip(scores.T, labels.T)])
    assert compute_mean_average_precision(scores, labels) == pytest.approx(expected, rel=1e-12)


def test_videos_of_one_score_count_together_and_classes_without_videos_not_at_all():
    scores = np.array([[1.0, 3.0], [1.0, 2.0], [0.0, 1.0]])
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    # Of the first two videos one is right, of all three two are.
    assert compute_mean_average_precision(scores, labels) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert np.isnan(compute_mean_average_precision(scores, np.zeros((3, 2))))
