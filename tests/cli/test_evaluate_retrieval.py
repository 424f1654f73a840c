"""evaluate retrieval: scores, ranks and summaries of a plain restatement, and what the result says of the run."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest

from tests.cli.retrieval_place import (
    MAX_TOKENS,
    SCHEDULE,
    evaluate,
    list_plainly,
    make_place,
    read_kept,
    read_records,
    without_times,
    write_annotation,
)
from tests.cli.test_main import assert_one_error
from tests.cli.umt_sets import WORDS, make_vocab
from tests.reference import retrieval_oracle
from vidtldr_jax.data import read_clip
from vidtldr_jax.evaluation import retrieval
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.search.features import read_features

DIRECTIONS = ("text_to_video", "video_to_text")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory)


def hash_bytes(content):
    return hashlib.sha256(content).hexdigest()


def compare_all(videos, texts):
    return np.array([[retrieval_oracle.cosine(video, text) for text in texts] for video in videos])


def list_pairs(similarity, text_of, k):
    """(video, unique text) that either side is to ask about."""
    columns = [row[:] for row in zip(*similarity)]

    def find_nearest(values):
        return sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]

    asked = {(v, text_of[s]) for v, row in enumerate(similarity) for s in find_nearest(row)}
    return asked | {(v, text_of[s]) for s, column in enumerate(columns) for v in find_nearest(column)}


@pytest.fixture
def found_ranks(monkeypatch):
    """The ranks that the command's results are summaries of, the last ones last."""
    found, rank = [], retrieval.rank_both_ways

    def spy(*arguments):
        found.append(rank(*arguments))
        return found[-1]

    monkeypatch.setattr(retrieval, "rank_both_ways", spy)
    return found


@pytest.mark.parametrize(
    ("name", "k", "words"), [("many", 8, ()), ("plain", 12, ()), ("paragraphs", 5, ("--paragraph",))]
)
def test_scores_and_ranks_are_those_of_a_plain_restatement(call_json, place, tmp_path, found_ranks, name, k, words):
    out = ("--out", tmp_path / "r.json", "--keep-features")
    result = evaluate(call_json, place, name, *words, "--k-test", k, *out)
    videos, texts, right = list_plainly(place.entries[name], is_paragraph="--paragraph" in words)
    unique = list(dict.fromkeys(texts))
    text_of = [unique.index(text) for text in texts]
    kept = {kind: read_kept(tmp_path / "r.features", kind) for kind in ("videos", "texts")}
    assert (list(kept["videos"]), list(kept["texts"])) == (videos, unique)
    cosines = compare_all(kept["videos"].values(), kept["texts"].values())
    exact = compare_all([place.encode_video(v)[0] for v in videos], [place.encode_text(t)[0] for t in unique])
    np.testing.assert_allclose(cosines, exact, atol=1e-5, rtol=0)

    # As float32, for only then are equal ones equal.
    similarity = cosines.astype(np.float32)[:, text_of]
    scores = read_records(tmp_path / "r.records.jsonl")
    pairs = list_pairs(similarity.tolist(), text_of, k)
    assert set(scores) == {(videos[v], u) for v, u in pairs}
    matched = [place.match(video, unique[u]) for video, u in scores]
    np.testing.assert_allclose(list(scores.values()), matched, atol=1e-4, rtol=0)

    expected = retrieval_oracle.evaluate(similarity, lambda v, s: scores[videos[v], text_of[s]], right, k)
    assert (list(result["results"]), result["counts"]["pairs_reranked"]) == (["itc", "reranked"], len(pairs))
    for way, summary in expected.items():
        found = result["results"][way]
        for direction in DIRECTIONS:
            assert found_ranks[-1][way][direction] == summary[direction]["ranks"]
            assert {n: found[direction][n]["value"] for n in ("r1", "r5", "r10")} == {
                n: summary[direction][n] for n in ("r1", "r5", "r10")
            }
            assert found[direction]["median_rank"] == summary[direction]["median_rank"]
            assert found[direction]["mean_rank"] == pytest.approx(summary[direction]["mean_rank"])
        assert found["mean_r1"] == pytest.approx(sum(summary[d]["r1"] for d in DIRECTIONS) / 2)
        assert found["originals"] == {n: value for n, value in summary.items() if n not in DIRECTIONS}
    assert json.loads((tmp_path / "r.json").read_text()) == result


def test_the_result_says_what_was_done(call_json, place):
    result = evaluate(call_json, place, "many", "--k-test", 8)
    videos, texts, _ = list_plainly(place.entries["many"])
    pairs = result["counts"].pop("pairs_reranked")
    assert result["counts"] == {
        "videos_listed": 41, "skipped_missing": 0, "videos": 41, "texts": len(texts), "unique_texts": len(set(texts)),
        "texts_cut": 1, "unreadable_counted_as_wrong": 0, "texts_with_unknown_words": 1,
        "texts_of_unknown_words_alone": 0,
    }  # fmt: skip
    assert (len(videos), len(texts) - len(set(texts))) == (41, 5)
    assert pairs <= 8 * (len(set(texts)) + 41)
    parts = result["seconds_of_this_start"]
    assert {name: (part["done"], part["known_before"]) for name, part in parts.items()} == {
        "videos": (41, 0), "texts": (len(set(texts)), 0), "pairs": (pairs, 0),
    }  # fmt: skip
    assert all(part["seconds"] > 0 for part in parts.values())
    assert result["protocol"] == (
        "4 frames (middle), squashed to 32 x 32, bicubic; captions of at most 16 tokens; ITC, then ITM of the 8 most "
        "similar; of equal ones the first"
    )
    assert result["schedule"] == {
        "text": SCHEDULE, "method": "vidtldr", "requested": [20, 8], "r": [20, 8, 0], "tokens": [64, 44, 36, 36],
        "clamps": [],
    }  # fmt: skip
    plain = place.model.with_schedule(None)
    merged, unmerged = (count_macs(m.config, m.schedule).gmacs for m in (place.model, plain))
    assert 0 < result["gmacs_per_video"] == merged < unmerged
    assert (result["task"], result["dtype"], result["k_test"], result["paragraph"]) == (
        "retrieval", "float32", 8, False,
    )  # fmt: skip
    assert result["checkpoint_sha256"] == hash_bytes((place.checkpoint / "model.safetensors").read_bytes())
    assert result["tokenizer_sha256"] == hash_bytes((place.checkpoint / "tokenizer.json").read_bytes())
    assert result["annotation_sha256"] == hash_bytes((place.folder / "many.json").read_bytes())
    assert (result["errors"], result["skipped"], result["dataset"]) == ({}, [], None)


def test_the_table_is_for_people(call, place):
    annotation = place.folder / "paragraphs.json"
    words = ("evaluate", "retrieval", "--annotation", annotation, *place.words, "--paragraph", "--k-test", 5)
    text = call(*words).stdout
    rows = [line for line in text.splitlines() if "%" in line and " to " in line and "mean R@1" not in line]
    assert [" ".join(row.split()[:-5]) for row in rows] == [
        "ITC only text to video", "ITC only video to text", "re-ranked text to video", "re-ranked video to text",
    ]  # fmt: skip
    assert "paragraphs of at most 16 tokens" in text
    assert "videos      12 of 12 listed" in text
    assert f"annotation  {annotation}, SHA-256 {hash_bytes(annotation.read_bytes())}" in text
    assert "data set" not in text  # no config says which
    _, texts, _ = list_plainly(place.entries["paragraphs"], is_paragraph=True)
    num_cut = sum(len(text.split()) > MAX_TOKENS - 2 for text in texts)
    assert num_cut > 0
    assert f"texts       12, 12 of them different; {num_cut} cut to 16 tokens" in text


def test_without_re_ranking_there_is_similarity_alone(call, call_json, place, tmp_path):
    out = ("--out", tmp_path / "r.json", "--keep-features")
    both = evaluate(call_json, place, "plain", "--k-test", 5)
    alone = evaluate(call_json, place, "plain", "--no-rerank", *out)
    assert list(alone["results"]) == ["itc"]
    assert alone["results"]["itc"] == both["results"]["itc"]
    assert (alone["k_test"], alone["counts"]["pairs_reranked"]) == (None, 0)
    assert "ITC; of equal ones the first" in alone["protocol"]
    assert "ITM" not in alone["protocol"]
    assert not read_features(tmp_path / "r.features" / "videos").has_tokens
    (tmp_path / "r.records.jsonl").unlink()
    command = ("evaluate", "retrieval", "--annotation", place.folder / "plain.json", *place.words, *out)
    assert_one_error(call(*command, "--k-test", 5), "features of another run: tokens was false, now true")


def test_a_limit_keeps_the_first_videos_with_their_texts(call_json, place, tmp_path, found_ranks):
    limited = evaluate(call_json, place, "many", "--limit", 6, "--k-test", 4)
    # Of the captions of three videos one video is left, and the first video has a second entry.
    last = [{"video": "3.mp4", "caption": ["w5 w6 w7", "w8 w9"]}, {"video": "0.mp4", "caption": "w10 w11"}]
    few = write_annotation(tmp_path, [*place.entries["many"][:6], *last])
    other = call_json("evaluate", "retrieval", "--annotation", few, *place.words, "--k-test", 4)
    assert (limited["counts"]["videos_listed"], limited["counts"]["videos"]) == (41, 6)
    assert other["counts"] | {"videos_listed": 41} == limited["counts"]
    assert other["results"] == limited["results"]
    assert found_ranks[0] == found_ranks[1]


def test_missing_videos_are_listed_before_anything_is_run(call, call_json, place, tmp_path):
    entries = [
        *place.entries["plain"][:4],
        {"video": "gone.mp4", "caption": ["w1", "w2"]},
        {"video": ["away.mp4", "2.mp4"], "caption": "w3"},
        {"video": ["away.mp4", "gone.mp4"], "caption": "w4"},
    ]
    annotation = write_annotation(tmp_path, entries)
    words = ("evaluate", "retrieval", "--annotation", annotation, *place.words, "--out", tmp_path / "r.json")
    gone, away = place.folder / "gone.mp4", place.folder / "away.mp4"
    assert_one_error(
        call(*words), f"2 of 6 don't: {gone}, {away}; give --videos, or leave them out with --skip-missing"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["annotation.json"]
    found = call_json(*words, "--skip-missing")
    assert found["skipped"] == ["gone.mp4", "away.mp4"]
    # Of the texts those are gone that have no video left.
    counts = {"videos_listed": 6, "skipped_missing": 2, "videos": 4, "texts": 5, "unique_texts": 5}
    assert found["counts"] | counts == found["counts"]
    text = call(*words[:-2], "--skip-missing").stdout
    assert "4 of 6 listed; 2 that don't exist left out, with their texts" in text
    nothing = write_annotation(tmp_path, entries[-1:])
    assert_one_error(call(*words[:3], nothing, *words[4:], "--skip-missing"), "2 of 2 don't")


def test_an_unreadable_video_is_wrong_in_both_directions(call, call_json, place, tmp_path, found_ranks):
    for name in ("0.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4"):
        shutil.copy(place.folder / name, tmp_path / name)
    (tmp_path / "bad.mp4").write_text("not a video\n" * 50)
    entries = place.entries["plain"][:5]
    entries[2:2] = [{"video": "bad.mp4", "caption": "w1 w2"}, {"video": ["bad.mp4", "4.mp4"], "caption": "w3"}]
    annotation = write_annotation(tmp_path, entries)
    words = ("evaluate", "retrieval", "--annotation", annotation, *place.words, "--k-test", 6, "--videos", tmp_path)
    result = call_json(*words, "--out", tmp_path / "r.json", "--keep-features", exit_code=1)
    assert list(result["errors"]) == ["bad.mp4"]
    assert (result["counts"]["unreadable_counted_as_wrong"], result["counts"]["pairs_reranked"]) == (1, 5 * 7)
    scores = read_records(tmp_path / "r.records.jsonl")
    assert {video for video, _ in scores} == {f"{n}.mp4" for n in range(5)}

    # Where nothing is right the number of all items is the rank; else the video comes behind all others.
    videos, texts, right = list_plainly(entries)
    bad, only = videos.index("bad.mp4"), texts.index("w1 w2")
    kept = {kind: read_kept(tmp_path / "r.features", kind) for kind in ("videos", "texts")}
    kept["videos"]["bad.mp4"] = np.zeros(16)
    similarity = compare_all([kept["videos"][v] for v in videos], [kept["texts"][t] for t in texts])
    similarity = similarity.astype(np.float32)
    similarity[bad] = -np.inf
    expected = retrieval_oracle.evaluate(similarity, lambda v, s: scores.get((videos[v], s), -np.inf), right, 6)
    for way, found in found_ranks[-1].items():
        ranks = {direction: list(expected[way][direction]["ranks"]) for direction in DIRECTIONS}
        ranks["text_to_video"][only], ranks["video_to_text"][bad] = len(videos), len(texts)
        assert found == ranks
        assert result["results"][way]["text_to_video"]["r10"]["of"] == len(texts)
        assert result["results"][way]["video_to_text"]["mean_rank"] == np.mean(ranks["video_to_text"]) + 1
    shown = call(*words)
    assert_one_error(shown, "bad.mp4: ")
    assert "1 can't be read and count as wrong" in shown.stdout


def test_the_first_seconds_alone_are_looked_at(call_json, place, tmp_path):
    out = ("--out", tmp_path / "r.json", "--keep-features")
    result = evaluate(call_json, place, "plain", "--first-seconds", 0.2, "--no-rerank", *out)
    assert result["protocol"].startswith("4 frames (middle) of the first 0.2 s, squashed to 32 x 32")
    recipe = dataclasses.replace(place.model.preprocessing, first_seconds=0.2)
    kept = read_kept(tmp_path / "r.features", "videos")
    for name in ("0.mp4", "4.mp4"):
        out = place.model.encode_video(read_clip(place.folder / name, recipe)[None])
        np.testing.assert_allclose(kept[name], out.embedding[0], atol=1e-5, rtol=0)
        assert np.abs(kept[name] - place.encode_video(name)[0]).max() > 1e-2


def test_fewer_frames_are_fewer_tokens(call_json, place):
    result = evaluate(call_json, place, "plain", "--frames", 2, "--limit", 4, "--no-rerank")
    assert result["protocol"].startswith("2 frames (middle), squashed")
    assert result["schedule"]["tokens"] == [32, 16, 8, 8]
    assert result["schedule"]["clamps"] == ["layer 0: r = 20 clamped to 16, half of 32 tokens"]
    assert result["preprocessing"]["num_frames"] == 2


def test_another_tokenizer_goes_before_the_checkpoint_s(call_json, place, tmp_path):
    words = list(WORDS)
    words[4], words[5] = words[5], words[4]  # w0 and w1
    vocab = make_vocab(tmp_path, words)
    entries = [{"video": "0.mp4", "caption": "w0 w7 w0 w2 w3 w4 w5"}, {"video": "1.mp4", "caption": "w1 w9"}]
    out = ("--out", tmp_path / "r.json", "--keep-features", "--no-rerank", "--tokenizer", vocab)
    annotation = write_annotation(tmp_path, entries)
    result = call_json("evaluate", "retrieval", "--annotation", annotation, *place.words, *out)
    assert result["tokenizer_sha256"] != hash_bytes((place.checkpoint / "tokenizer.json").read_bytes())
    found = read_kept(tmp_path / "r.features", "texts")
    for text, read in (("w0 w7 w0 w2 w3 w4 w5", "w1 w7 w1 w2 w3 w4 w5"), ("w1 w9", "w0 w9")):
        np.testing.assert_allclose(found[text], place.encode_text(read)[0], atol=1e-5, rtol=0)


def test_features_go_once_the_result_is_there_and_records_stay(call_json, place, tmp_path):
    first = evaluate(call_json, place, "plain", "--out", tmp_path / "r.json")
    assert first["k_test"] == 12  # 128 where there are as many
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "r.records.jsonl"]
    again = evaluate(call_json, place, "plain", "--out", tmp_path / "r.json")
    assert again["seconds_of_this_start"]["pairs"]["done"] == 0
    assert without_times(again) == without_times(first)
