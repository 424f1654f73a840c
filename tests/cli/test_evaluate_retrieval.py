"""evaluate retrieval: scores and ranks of a plain restatement, protocols, processes that are killed, every wrong use."""

import functools
import json
import shutil

import numpy as np
import pytest

from tests.cli.umt_sets import PLAIN_WORDS, WORDS, make_umt, make_videos
from tests.reference import bert_oracle, retrieval_oracle
from vidtldr_jax.cli import evaluate_retrieval
from vidtldr_jax.data import read_clip
from vidtldr_jax.inference import load_model
from vidtldr_jax.inference.features import read_features

# One process runs them all, so that each shape is compiled once.
pytestmark = pytest.mark.xdist_group("retrieval")

SCHEDULE, NUM_KEPT = "20,8", 64 - 28
MAX_TOKENS = 16
FUSION = {"num_heads": 4, "first_layer": 2, "depth": 4}
DIRECTIONS = ("text_to_video", "video_to_text")
# What differs from start to start.
TIMES = ("seconds_of_this_start", "device")
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
