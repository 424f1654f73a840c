"""evaluate retrieval: scores and ranks of a plain restatement, protocols, processes that are killed, every wrong use."""

import dataclasses
import functools
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.cli.test_main import ROOT, assert_one_error
from tests.cli.umt_sets import MOST_TOKENS, PLAIN_WORDS, WORDS, make_umt, make_videos, make_vocab
from tests.reference import bert_oracle, retrieval_oracle
from vidtldr_jax.cli import evaluate_retrieval
from vidtldr_jax.data import read_clip
from vidtldr_jax.inference import load_model
from vidtldr_jax.inference.features import read_features
from vidtldr_jax.reduction.cost import count_macs

# One process runs them all, so that each shape is compiled once.
pytestmark = pytest.mark.xdist_group("retrieval")

SCHEDULE = "20,8"
MAX_TOKENS = 16
FUSION = {"num_heads": 4, "first_layer": 2, "depth": 4}
DIRECTIONS = ("text_to_video", "video_to_text")
# What differs from start to start.
TIMES = ("seconds_of_this_start", "device")
# Parts of the work of the run that is killed, and between which counts it is under way.
MIDDLES = ((0, 0, 10), (1, 0, 4), (2, 1, 41))
CONFIG = """
import ml_collections

def get_config(arg="8"):
    return ml_collections.ConfigDict({{
        "task": "retrieval", "dataset": "tiny", "split": "val", "annotation": {annotation!r}, "videos": {videos!r},
        "max_text_tokens": 16, "paragraph": True, "first_seconds": 0.2, "num_frames": 4, "k_test": int(arg),
        "schedule": "20,8", "checkpoint": {checkpoint!r},
        "architecture": {{"dim": 24, "depth": 3, "text_dim": 24, "fusion_from_layer": 2, "embed_dim": 16}},
        "published": {{"unit": "mean R@1 in percent", "plain": 50.0, "merged": None}},
        {more}
    }}).lock()
"""


class Place:
    """A checkpoint, 41 videos and three annotations, and what plain arithmetic says of them."""

    def __init__(self, folder):
        self.folder, self.checkpoint = folder, make_umt(folder, "retrieval")
        names = make_videos(folder, 40)
        shutil.copy(folder / names[0], folder / "twin.mp4")
        self.entries = {
            "many": make_many(names), "plain": make_plain(names[:12]), "paragraphs": make_paragraphs(names[:12]),
        }  # fmt: skip
        for name, entries in self.entries.items():
            write_annotation(folder, entries, name=f"{name}.json")
        self.words = ("--model", self.checkpoint, "--videos", folder, "--schedule", SCHEDULE, *EQUAL_SHAPES)
        self.model = load_model(self.checkpoint, schedule=SCHEDULE)
        self.params = self.model.params

    @functools.cache
    def encode_video(self, name):
        """Embedding and tokens of one video, run alone."""
        out = self.model.encode_video(read_clip(self.folder / name, self.model.preprocessing)[None])
        return np.asarray(out.embedding)[0], np.asarray(out.tokens)[0]

    @functools.cache
    def encode_text(self, text):
        """Embedding and tokens of one text, not padded."""
        known = [WORDS.index(word) if word in WORDS else 1 for word in text.split()]
        ids = [2, *known[: MAX_TOKENS - 2], 3]
        tokens = bert_oracle.encode_text(self.params["text"], ids, [1] * len(ids), num_heads=4, num_layers=2)
        return bert_oracle.embed_text(self.params, tokens), tokens

    def match(self, name, text):
        tokens = self.encode_text(text)[1]
        return bert_oracle.match(self.params, self.encode_video(name)[1], tokens, [1] * len(tokens), **FUSION)


EQUAL_SHAPES = ("--batch-size", 4, "--max-text-tokens", MAX_TOKENS)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("retrieval"))


def write_annotation(folder, entries, *, name="annotation.json"):
    path = folder / name
    path.write_text(json.dumps(entries))
    return path


def make_captions(rng, count):
    return [" ".join(rng.choice(PLAIN_WORDS, rng.integers(2, 9))) for _ in range(count)]


def make_plain(names):
    rng = np.random.default_rng(1)
    captions = [" ".join(rng.choice(PLAIN_WORDS, 8)) for _ in names]
    return [{"video": name, "caption": caption} for name, caption in zip(names, captions)]


def make_paragraphs(names):
    rng = np.random.default_rng(2)
    return [{"video": name, "caption": make_captions(rng, 1 + n % 3)} for n, name in enumerate(names)]


def make_many(names):
    """Several captions of a video, equal ones, some that are equal when cleaned, some of several videos; two equal
    videos."""
    rng = np.random.default_rng(3)
    entries = [{"video": name, "caption": make_captions(rng, 1 + n % 3)} for n, name in enumerate(names)]
    entries[3]["caption"] = entries[3]["caption"][0]
    entries[9] = {"image": entries[9]["video"], "caption": entries[9]["caption"]}
    repeated = entries[2]["caption"][0]
    entries[7]["caption"] += [repeated, f"{repeated.upper()}!", repeated]
    entries[30]["caption"] = [repeated]
    entries[11]["caption"].append(" ".join(PLAIN_WORDS[:20]))  # is cut
    entries[12]["caption"].append("A w1-w2, unheard of;  w3")
    entries += [
        {"video": [names[3], names[9], names[20]], "caption": ["w5 w6 w7", "w8 w9"]},
        {"video": names[0], "caption": "w10 w11"},  # a video of two entries
        {"video": "twin.mp4", "caption": ["w10 w11", "w12"]},
    ]
    return entries


def list_plainly(entries, *, is_paragraph=False):
    """Videos, cleaned texts, and the right texts of each video."""
    texts, right = [], {}
    for entry in entries:
        names = entry["image"] if "image" in entry else entry["video"]
        captions = entry["caption"] if isinstance(entry["caption"], list) else [entry["caption"]]
        for caption in [" ".join(captions)] if is_paragraph else captions:
            for name in names if isinstance(names, list) else [names]:
                right.setdefault(name, []).append(len(texts))
            texts.append(retrieval_oracle.clean(caption))
    return list(right), texts, list(right.values())


def evaluate(call_json, place, name, *words, **options):
    annotation = place.folder / f"{name}.json"
    return call_json("evaluate", "retrieval", "--annotation", annotation, *place.words, *words, **options)


def read_records(path):
    """(video, number of the unique text) -> score."""
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    return {
        (line["key"], text): np.float32(score)
        for line in lines
        for text, score in zip(line["texts"], line["scores"], strict=True)
    }


def read_kept(folder, kind):
    """Embeddings by name, as they were kept."""
    store = read_features(folder / kind)
    return dict(zip(store.keys, store.read_embeddings()))


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
    found, rank = [], evaluate_retrieval.rank_both_ways

    def spy(*arguments):
        found.append(rank(*arguments))
        return found[-1]

    monkeypatch.setattr(evaluate_retrieval, "rank_both_ways", spy)
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


def hash_bytes(content):
    return hashlib.sha256(content).hexdigest()


def test_the_result_says_what_was_done(call_json, place):
    result = evaluate(call_json, place, "many", "--k-test", 8)
    videos, texts, _ = list_plainly(place.entries["many"])
    pairs = result["counts"].pop("pairs_reranked")
    assert result["counts"] == {
        "videos_listed": 41, "skipped_missing": 0, "videos": 41, "texts": len(texts), "unique_texts": len(set(texts)),
        "texts_cut": 1, "unreadable_counted_as_wrong": 0,
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
        "text": SCHEDULE, "requested": [20, 8], "r": [20, 8, 0], "tokens": [64, 44, 36, 36], "clamps": [],
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


def test_features_go_once_the_result_is_there_and_records_stay(call, call_json, place, tmp_path):
    first = evaluate(call_json, place, "plain", "--k-test", 4, "--out", tmp_path / "r.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "r.records.jsonl"]
    again = evaluate(call_json, place, "plain", "--k-test", 4, "--out", tmp_path / "r.json")
    assert again["seconds_of_this_start"]["pairs"]["done"] == 0
    assert without_times(again) == without_times(first)


def without_times(result):
    return {name: value for name, value in result.items() if name not in TIMES}


def write_config(place, path, more=""):
    names = {name: str(value) for name, value in (("videos", place.folder), ("checkpoint", place.checkpoint))}
    annotation = str(place.folder / "paragraphs.json")
    path.write_text(CONFIG.format(annotation=annotation, more=more, **names))
    return path


def test_a_config_says_it_all_and_options_go_before_it(call, call_json, place, tmp_path):
    path = write_config(place, tmp_path / "config.py")
    found = call_json("evaluate", "retrieval", "--config", path, "--batch-size", 4)
    words = ("--first-seconds", 0.2, "--paragraph", "--k-test", 8)
    asked = evaluate(call_json, place, "paragraphs", *words)
    names = ("results", "protocol", "counts", "schedule", "preprocessing", "k_test", "max_text_tokens", "paragraph")
    assert {name: found[name] for name in names} == {name: asked[name] for name in names}
    assert (found["k_test"], found["paragraph"], found["preprocessing"]["first_seconds"]) == (8, True, 0.2)
    assert (found["dataset"], found["split"], found["config"]) == ("tiny", "val", str(path))
    assert found["published"] == {"unit": "mean R@1 in percent", "plain": 50.0, "merged": None}
    text = call("evaluate", "retrieval", "--config", path, "--batch-size", 4).stdout
    assert "published   plain 50.0: mean R@1 in percent" in text
    write_config(place, path, "'max_text_tokens': 21,")  # more than the model reads
    words = ("--no-paragraph", "--max-text-tokens", MAX_TOKENS, "--annotation", place.folder / "plain.json")
    other = call_json("evaluate", "retrieval", "--config", f"{path}:5", "--batch-size", 4, *words)
    assert "captions of at most 16 tokens; ITC, then ITM of the 5 most similar" in other["protocol"]


def test_a_config_of_another_architecture_is_refused(call, place, tmp_path):
    annotation = ("--annotation", place.folder / "plain.json", "--model", place.checkpoint)
    shipped = f"{ROOT}/configs/retrieval.py:msrvtt,b16"
    result = call("evaluate", "retrieval", "--config", shipped, *annotation)
    assert_one_error(result, ": the checkpoint has depth = 3, not 12; dim = 24, not 768; embed_dim = 16, not 512; ")
    more = "'architecture': {'dimension': 3, 'embed_dim': 17},"
    path = write_config(place, tmp_path / "config.py", more)
    result = call("evaluate", "retrieval", "--config", path)
    assert_one_error(result, "the checkpoint has unknown field dimension; embed_dim = 16, not 17; take another")
    path = write_config(place, tmp_path / "config.py", "'task': 'question_answering',")
    assert_one_error(call("evaluate", "retrieval", "--config", path), "'question_answering'; take evaluate qa")
    path = write_config(place, tmp_path / "config.py", "'task': 'classification',")
    result = call("evaluate", "retrieval", "--config", path)
    assert_one_error(result, "has 'classification'; take configs/retrieval.py or configs/qa.py")
    path = write_config(place, tmp_path / "config.py", "'checkpoint': '',")
    assert_one_error(call("evaluate", "retrieval", "--config", path), "--model is needed", exit_code=2)
    path = write_config(place, tmp_path / "config.py", "'annotation': '',")
    assert_one_error(call("evaluate", "retrieval", "--config", path), "--annotation is needed", exit_code=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"video": "0.mp4", "caption": "w1"}', "an annotation is JSON"),
        ('{"video": "0.mp4"}', "it is dict, not a list"),
        ("[]", "it lists no video"),
        ('[{"video": "0.mp4", "caption": "w1"}, {"video": "1.mp4"}]', "entry 1: no caption; mend"),
        ('[{"caption": "w1"}, 3]', "entry 0: no video; entry 1: no object; mend"),
        ('[{"video": "0.mp4", "caption": ["w1", "... !"]}]', "entry 0: the caption '... !' has no words"),
        ('[{"video": "0.mp4", "caption": []}]', "entry 0: caption is neither a text nor a list of texts"),
    ],
)
def test_an_annotation_that_does_not_do_is_one_error(call, place, tmp_path, content, message):
    path = tmp_path / "annotation.json"
    path.write_text(content)
    result = call("evaluate", "retrieval", "--annotation", path, *place.words, "--out", tmp_path / "r.json")
    assert_one_error(result, message)
    assert [file.name for file in tmp_path.iterdir()] == ["annotation.json"]


def test_checkpoints_that_do_not_do_are_one_error(call, place, model, tmp_path):
    annotation = place.folder / "plain.json"
    command = ("evaluate", "retrieval", "--annotation", annotation, "--videos", place.folder, *EQUAL_SHAPES)
    answering = make_umt(tmp_path, "question_answering")
    result = call(*command, "--model", answering)
    assert_one_error(result, "is a UMT for question_answering; take evaluate qa, or another checkpoint")
    assert_one_error(call(*command, "--model", model), "is a video_vit model; take another checkpoint")
    assert_one_error(call(*command, "--model", "nowhere"), "'nowhere'")
    bare = shutil.copytree(place.checkpoint, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    assert_one_error(call(*command, "--model", bare), "this one has none; give --tokenizer, the model's vocab.txt or")
    short = make_vocab(tmp_path, WORDS[:72])
    result = call(*command, "--model", place.checkpoint, "--tokenizer", short)
    assert_one_error(result, f"a tokenizer has as many words as its model, 80; {short} has 72")
    result = call(*command, "--model", place.checkpoint, "--tokenizer", tmp_path / "no.txt")
    assert_one_error(result, "no.txt can't be read")


def test_wrong_uses_are_one_error(call, place, tmp_path):
    command = ("evaluate", "retrieval", *place.words)
    listed = (*command, "--annotation", place.folder / "many.json")
    assert_one_error(call(*command), "--annotation is needed", exit_code=2)
    assert_one_error(call("evaluate", "retrieval"), "--model is needed", exit_code=2)
    assert_one_error(call(*command, "--annotation", "no.json"), "no.json")
    texts = len(list_plainly(place.entries["many"])[1])
    result = call(*listed, "--k-test", 42)
    assert_one_error(result, f"--k-test is at most the number of videos, 41, and of texts, {texts}; 42 came")
    result = call(*listed, "--max-text-tokens", MOST_TOKENS + 1)
    assert_one_error(result, "a text has at most 20 tokens in this model; 21 came; allow fewer")
    assert_one_error(call(*listed, "--out", "result.txt"), "--out is a file that ends in .json")
    assert_one_error(call(*listed, "--schedule", "1,1,1,1"), "at most 3 entries for 3 layers")
    assert_one_error(call(*listed, "--config", "no.py"), "there is no 'no.py'")
    assert not list(tmp_path.iterdir())


def test_what_another_run_left_is_refused_and_restart_begins_anew(call, call_json, place, tmp_path):
    out = ("--out", tmp_path / "r.json", "--keep-features")
    evaluate(call_json, place, "plain", "--k-test", 4, "--limit", 8, *out)
    command = ("evaluate", "retrieval", "--annotation", place.folder / "plain.json", *place.words, "--k-test", 4, *out)
    refused = call(*command, "--schedule", "20")
    assert_one_error(refused, 'features/videos has features of another run: schedule was "20,8", now "20"; give')
    assert_one_error(call(*command, "--max-text-tokens", 15), "features/texts has features of another run: max_text_")
    refused = call(*command)
    assert_one_error(refused, "r.records.jsonl was begun by another run: counts was [8, 8], now [12, 12]; give another")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    refused = call(*command, "--limit", 8, "--k-test", 3)
    assert_one_error(
        refused, "r.records.jsonl was begun by another run: k was 4, now 3; give another place, or --restart"
    )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before
    anew = call_json(*command, "--restart")
    fresh = evaluate(call_json, place, "plain", "--k-test", 4)
    assert without_times(anew) == without_times(fresh)
    assert anew["seconds_of_this_start"]["videos"]["known_before"] == 0
    assert len(read_features(tmp_path / "r.features" / "videos")) == 12


def start(folder, *words):
    """Starts the command in a process of its own; all starts share their compiled programs."""
    command = [sys.executable, "-m", "vidtldr_jax", "evaluate", "retrieval", *map(str, words)]
    everything = os.environ | {"PYTHONPATH": ROOT, "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.Popen(command, env=everything, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(file):
    """How far a run is: parts of videos, parts of texts, lines of records."""
    features, records = file.with_suffix(".features"), file.with_suffix(".records.jsonl")
    parts = (len(list((features / kind).glob("part-*.arrow"))) for kind in ("videos", "texts"))
    return (*parts, records.read_bytes().count(b"\n") if records.exists() else 0)


def read_bits(folder):
    """Embeddings and tokens of every video or text."""
    store = read_features(folder)
    rows = zip(store.keys, store.read_embeddings())
    return [(key, embedding.tobytes(), store.read_tokens(key).tobytes()) for key, embedding in rows]


@pytest.mark.xdist_group("retrieval that is killed")
def test_a_process_killed_at_random_moments_loses_nothing(place, tmp_path):
    rng, moments = np.random.default_rng(4), random.Random(5)
    entries = [{"video": f"{number}.mp4", "caption": make_captions(rng, 6)} for number in range(40)]
    annotation = write_annotation(tmp_path, entries)
    words = ("--annotation", annotation, *place.words, "--k-test", 8, "--keep-features", "--out")
    whole, broken = tmp_path / "whole.json", tmp_path / "broken.json"
    assert start(tmp_path, *words, whole).wait() == 0
    assert measure(whole) == (10, 4, 41)
    # While videos are encoded, then texts, then pairs matched.
    goals = [(0, parts) for parts in (1, 4, 7)] + [(1, 1), (1, 2)] + [(2, lines) for lines in (2, 7, 15, 23, 31)]
    reached = [(0, 0, 0)]
    for part, goal in goals:
        process = start(tmp_path, *words, broken)
        while measure(broken)[part] < goal and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(moments.uniform(0, 0.004))
        process.kill()
        assert process.wait() == -9
        reached.append(measure(broken))
        assert all(now >= before for now, before in zip(*reached[-2:]))
        assert reached[-1][part] >= goal
    middle = [[found[part] for found in reached if first < found[part] < last] for part, first, last in MIDDLES]
    assert all(middle), reached
    assert not broken.exists()
    with broken.with_suffix(".records.jsonl").open("ab") as file:
        file.write(b'{"key": "39.mp4", "tex')  # as a kill in the middle of a write leaves it
    (broken.with_suffix(".features") / "texts" / ".part-000004.arrow.tmp").write_bytes(b"ARR")
    assert start(tmp_path, *words, broken).wait() == 0
    results = [json.loads(file.read_text()) for file in (whole, broken)]
    assert without_times(results[0]) == without_times(results[1])
    assert results[1]["seconds_of_this_start"]["pairs"]["known_before"] > 0
    records = [file.with_suffix(".records.jsonl").read_bytes() for file in (whole, broken)]
    assert records[0] == records[1]
    for kind in ("videos", "texts"):
        one, other = (read_bits(file.with_suffix(".features") / kind) for file in (whole, broken))
        assert one == other
