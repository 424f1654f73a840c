"""A tiny data set of video-text retrieval, and what plain arithmetic says of its videos, texts and pairs."""

import functools
import json
import shutil

import numpy as np

from tests.cli.umt_sets import PLAIN_WORDS, WORDS, make_umt, make_videos
from tests.reference import bert_oracle, retrieval_oracle
from vidtldr_jax.data import read_clip
from vidtldr_jax.inference import load_model
from vidtldr_jax.search.features import read_features

SCHEDULE = "20,8"
MAX_TOKENS = 16
EQUAL_SHAPES = ("--batch-size", 4, "--max-text-tokens", MAX_TOKENS)
_FUSION = {"num_heads": 4, "first_layer": 2, "depth": 4}
# What differs from start to start.
_TIMES = ("seconds_of_this_start", "device")


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
        self.encode_video = functools.cache(self._encode_video)
        self.encode_text = functools.cache(self._encode_text)

    def _encode_video(self, name):
        """Embedding and tokens of one video, run alone."""
        out = self.model.encode_video(read_clip(self.folder / name, self.model.preprocessing)[None])
        return np.asarray(out.embedding)[0], np.asarray(out.tokens)[0]

    def _encode_text(self, text):
        """Embedding and tokens of one text, not padded."""
        known = [WORDS.index(word) if word in WORDS else 1 for word in text.split()]
        ids = [2, *known[: MAX_TOKENS - 2], 3]
        tokens = bert_oracle.encode_text(self.params["text"], ids, [1] * len(ids), num_heads=4, num_layers=2)
        return bert_oracle.embed_text(self.params, tokens), tokens

    def match(self, name, text):
        tokens = self.encode_text(text)[1]
        return bert_oracle.match(self.params, self.encode_video(name)[1], tokens, [1] * len(tokens), **_FUSION)


def make_place(factory):
    """The place of a session, made once; the factory is pytest's for temporary folders."""
    return _make_place(factory.getbasetemp() / "retrieval-place")


@functools.cache
def _make_place(folder):
    folder.mkdir()
    return Place(folder)


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


def without_times(result):
    return {name: value for name, value in result.items() if name not in _TIMES}
