"""The restatements of BERT and of the retrieval protocol give the original's numbers and those worked out by hand."""

import numpy as np
import pytest

from tests.models.test_umt import read_params
from tests.reference import bert_oracle, retrieval_oracle
from tests.reference.files import load_golden

FUSION = {"num_heads": 4, "first_layer": 2, "depth": 4}
ANSWERING = {"num_heads": 4, "depth": 2}  # of the decoder


def test_texts_and_their_embeddings_equal_the_original():
    golden, params = load_golden("umt_plain.npz"), read_params("umt_retrieval")
    for s, (ids, mask) in enumerate(zip(golden["input_ids"], golden["attention_mask"])):
        tokens = bert_oracle.encode_text(params["text"], ids, mask, num_heads=4, num_layers=2)
        np.testing.assert_allclose(tokens, golden["text_tokens"][s], atol=2e-5, rtol=0)
        np.testing.assert_allclose(bert_oracle.embed_text(params, tokens), golden["text_proj"][s], atol=2e-5, rtol=0)


def test_cosines_equal_the_original():
    golden = load_golden("umt_plain.npz")
    cosines = [[retrieval_oracle.cosine(v, s) for s in golden["text_proj"]] for v in golden["vision_proj"]]
    np.testing.assert_allclose(cosines, golden["itc_v2t"], atol=1e-6, rtol=0)
    assert retrieval_oracle.cosine([0, 0], [3, 4]) == 0


def test_pairs_match_as_the_original_says():
    golden, params = load_golden("umt_plain.npz"), read_params("umt_retrieval")
    for s, mask in enumerate(golden["attention_mask"]):
        text = bert_oracle.encode_text(params["text"], golden["input_ids"][s], mask, num_heads=4, num_layers=2)
        for v, video in enumerate(golden["tokens"]):
            logit = bert_oracle.match(params, video, text, mask, **FUSION)
            assert logit == pytest.approx(golden["itm_v2t"][v, s], abs=1e-4)


def test_questions_over_videos_equal_the_original():
    golden, params = load_golden("umtqa_plain.npz"), read_params("umt_qa")
    for n, (ids, mask) in enumerate(zip(golden["question_ids"], golden["question_mask"])):
        states = bert_oracle.read_question(params, golden["tokens"][n], ids, mask, **FUSION)
        np.testing.assert_allclose(states, golden["question_states"][n], atol=1e-4, rtol=0)


def test_answers_equal_the_original():
    golden, params = load_golden("umtqa_plain.npz"), read_params("umt_qa")
    answers, k = (golden["answer_ids"], golden["answer_mask"]), golden["k"].item()
    for n, question in enumerate(zip(golden["question_states"], golden["question_mask"])):
        ids, probabilities = bert_oracle.rate_answers(params, *question, *answers, k=k, **ANSWERING)
        assert ids == list(golden["topk_ids"][n])
        np.testing.assert_allclose(probabilities, golden["topk_probs"][n], atol=1e-4, rtol=0)


def test_of_answers_that_begin_alike_the_first_are_rated():
    golden, params = load_golden("umtqa_plain.npz"), read_params("umt_qa")
    question = golden["question_states"][0], golden["question_mask"][0]
    ids, mask = np.array([[2, 31, 3, 0], [2, 56, 40, 3], [2, 56, 3, 0], [2, 56, 41, 3]]), np.ones((4, 4), int)
    chosen, probabilities = bert_oracle.rate_answers(params, *question, ids, mask, k=2, **ANSWERING)
    assert sorted(chosen) == [1, 2]
    assert sum(probabilities) == pytest.approx(1)
    assert probabilities[0] > probabilities[1]


def test_what_pads_a_text_changes_nothing_and_what_masks_a_token_does():
    golden, params = load_golden("umt_plain.npz"), read_params("umt_retrieval")
    ids, mask = golden["input_ids"][1], golden["attention_mask"][1]
    found, other, masked = (
        bert_oracle.encode_text(params["text"], i, m, num_heads=4, num_layers=2)[:6]
        for i, m in ((ids, mask), (np.where(mask, ids, 9), mask), (ids, mask * (np.arange(12) < 6)))
    )
    np.testing.assert_array_equal(found, other)
    assert np.abs(found - masked).max() > 1e-3


def test_an_answer_s_token_sees_no_later_one():
    golden, params = load_golden("umtqa_plain.npz"), read_params("umt_qa")
    question = golden["question_states"][1], golden["question_mask"][1]
    short = bert_oracle.predict_words(params, [2, 54], [1, 1], *question, **ANSWERING)
    long = bert_oracle.predict_words(params, [2, 54, 70, 3], [1, 1, 1, 1], *question, **ANSWERING)
    np.testing.assert_allclose(short, long[:2], atol=1e-12)


@pytest.mark.parametrize(
    ("scores", "right", "rank"),
    [
        ([0.1, 0.9, 0.5], [0], 2),
        ([0.1, 0.9, 0.5], [1], 0),
        ([0.5, 0.5, 0.5], [0], 0),  # among equals the earlier one first
        ([0.5, 0.5, 0.5], [2], 2),
        ([0.2, 0.7, 0.7, 0.9], [2], 2),
        ([0.2, 0.7, 0.7, 0.9], [2, 1], 1),  # the best of several
        ([0.2, 0.7, 0.7, 0.9], [0, 2], 2),
    ],
)
def test_the_rank_is_that_of_the_best_right_item(scores, right, rank):
    assert retrieval_oracle.rank_of_right(scores, right) == rank


def test_items_without_a_score_come_last_by_their_fallback():
    scores, fallback = [None, -3.0, None, -2.0, None], [0.2, 0.8, 0.2, 0.9, 0.7]
    ranks = [retrieval_oracle.rank_of_right(scores, [i], fallback) for i in range(5)]
    assert ranks == [3, 1, 4, 0, 2]
    assert [retrieval_oracle.rank_of_right(scores, [i]) for i in range(5)] == [2, 1, 3, 0, 4]


@pytest.mark.parametrize(
    ("scores", "k", "order"),
    [
        ({1: 0.0, 3: 1.0}, 2, [3, 1, 4, 0, 2]),
        ({1: 0.0, 3: 0.0}, 2, [1, 3, 4, 0, 2]),  # equal match scores: by number, not by similarity
        ({1: -9.0, 3: -8.0, 4: 2.0}, 3, [4, 3, 1, 0, 2]),  # a match score is not compared with a similarity
        ({0: 5.0, 1: 1.0, 3: 2.0, 4: 3.0}, 4, [0, 4, 3, 1, 2]),  # 0 and 2 are equally similar, 0 is matched
        ({0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0, 4: 5.0}, 9, [4, 3, 2, 1, 0]),  # k beyond the gallery is all of it
    ],
)
def test_only_the_k_most_similar_are_ordered_anew(scores, k, order):
    similarities = [0.2, 0.8, 0.2, 0.9, 0.7]
    assert retrieval_oracle.rerank_order(similarities, scores, k) == order
    partial = [scores.get(i) for i in range(5)]
    assert [retrieval_oracle.rank_of_right(partial, [i], similarities) for i in order] == [0, 1, 2, 3, 4]


def test_an_evaluation_worked_by_hand():
    # Text 0 is right for videos 0 and 2, texts 1 and 2 for video 1, text 3 for video 2.
    similarity = [[0.9, 0.1, 0.5, 0.4], [0.2, 0.3, 0.6, 0.4], [0.1, 0.8, 0.5, 0.3]]
    scores = [[1, 9, 3, 2], [2, 1, 5, 2], [9, 0, 3, 9]]
    asked = []

    def match(v, s):
        asked.append((v, s))
        return scores[v][s]

    found = retrieval_oracle.evaluate(similarity, match, [[0], [1, 2], [0, 3]], 2)
    itc, reranked = found["itc"], found["reranked"]
    # By similarity the videos stand 0 1 2, 2 1 0, 1 0 2, 0 1 2 for the texts; the texts 0 2 3 1, 2 3 1 0, 1 2 3 0.
    assert itc["text_to_video"]["ranks"] == [0, 1, 0, 2]
    assert itc["video_to_text"]["ranks"] == [0, 0, 2]
    # The first two by score, then the rest: videos 1 0 2, 1 2 0, 1 0 2, 0 1 2; texts 2 0 3 1, 2 3 1 0, 2 1 3 0.
    assert reranked["text_to_video"]["ranks"] == [1, 0, 0, 2]
    assert reranked["video_to_text"]["ranks"] == [1, 0, 2]
    # Each pair that one of the two directions needs, once; the others, which match best, are never asked for.
    needed = {(0, 0), (1, 0), (1, 1), (2, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 2)}
    assert set(asked) == needed
    assert len(asked) == len(needed)
    assert (itc["text_to_video"]["r1"], itc["text_to_video"]["r5"], itc["text_to_video"]["r10"]) == (0.5, 1.0, 1.0)
    assert (itc["text_to_video"]["median_rank"], itc["text_to_video"]["mean_rank"]) == (1.5, 1.75)
    assert (itc["video_to_text"]["median_rank"], itc["video_to_text"]["mean_rank"]) == (1, 5 / 3)
    assert {name: itc[name] for name in itc if not name.endswith(("_video", "_text"))} == {
        "txt_r1": 66.67, "txt_r5": 100.0, "txt_r10": 100.0, "txt_r_mean": 88.89,
        "img_r1": 50.0, "img_r5": 100.0, "img_r10": 100.0, "img_r_mean": 83.33, "r_mean": 86.11,
    }  # fmt: skip
    assert (reranked["txt_r1"], reranked["img_r1"], reranked["r_mean"]) == (33.33, 50.0, 80.56)


def test_recall_counts_ranks_below_1_5_and_10():
    found = retrieval_oracle.summarise([0, 4, 5, 9, 10, 1, 0, 99])
    assert (found["r1"], found["r5"], found["r10"]) == (2 / 8, 4 / 8, 6 / 8)
    assert (found["median_rank"], found["mean_rank"]) == (5.5, 17.0)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("A man's DOG, running!", "a mans dog running"),
        ("  semi-pro/amateur -- well...", "semi pro amateur well"),
        ('<person> says: "yes?" (twice)', "person says yes twice"),
        ("<Per.son> & <people>", "person & <people>"),
        ("a*b#c;d~e_f", "abcde_f"),
        ("!?.-/", ""),
    ],
)
def test_a_text_is_cleaned_as_worked_out_by_hand(text, cleaned):
    assert retrieval_oracle.clean(text) == cleaned


@pytest.mark.parametrize(
    ("n", "k", "frames"),
    [
        (12, 4, [1, 4, 7, 10]),
        (10, 4, [0, 3, 5, 8]),  # edges 0 2 5 7 10
        (3, 5, [0, 1, 2, 2, 2]),
        (1, 3, [0, 0, 0]),
    ],
)
def test_middle_frames_as_worked_out_by_hand(n, k, frames):
    assert retrieval_oracle.middle_frames(n, k) == frames


def test_edges_round_down_where_linspace_does():
    edges = np.linspace(0, 30, 23).astype(int)
    assert edges[11] == 14  # exactly it is 15
    assert retrieval_oracle.middle_frames(30, 22) == list((edges[:-1] + edges[1:] - 1) // 2)
