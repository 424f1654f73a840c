"""A tiny UMT, and videos to make an index of; an index read with pyarrow alone, what plain arithmetic finds in it."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as arrow
from click.testing import CliRunner

from tests.cli.umt_sets import WORDS, make_umt, make_videos
from tests.models.test_umt import read_params
from tests.reference import bert_oracle, retrieval_oracle
from vidtldr_jax.cli.main import cli

SCHEDULE, NUM_KEPT = "16,8", 64 - 24
SETTINGS = ("--schedule", SCHEDULE, "--batch-size", 4)


class Place(NamedTuple):
    """A checkpoint, a folder of videos, and its index with tokens, which no test may change."""

    model: Path
    videos: Path
    index: Path

    @property
    def paths(self):
        return sorted(self.videos.iterdir())

    @property
    def words(self):
        return ("--model", self.model, *SETTINGS)


class Row(NamedTuple):
    name: str
    embedding: np.ndarray
    tokens: np.ndarray | None


def make_place(folder, *, count=12):
    place = Place(make_umt(folder, "retrieval"), folder / "videos", folder / "index")
    place.videos.mkdir()
    make_videos(place.videos, count)
    result = CliRunner().invoke(
        cli, ["embed", *map(str, (place.videos, *place.words, "--tokens", "--out", place.index)), "--no-cache"]
    )
    assert result.exit_code == 0, result.output
    return place


def hash_bytes(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_files(index):
    """All that counts of an index, to see that nothing changed."""
    return {path.name: path.read_bytes() for path in index.iterdir() if path.name != "lock"}


def read_rows(index, *, dtype=np.float32):
    """Key -> row; of several with one key the last, and in the order of these."""
    rows = {}
    for path in sorted(index.glob("part-*.arrow")):
        with arrow.OSFile(str(path)) as file:
            table = arrow.ipc.open_file(file).read_all()
        for row in table.to_pylist():
            rows.pop(row["key"], None)
            tokens = None
            if "tokens" in row:
                bits = np.array(row["tokens"], np.float32 if dtype == np.float32 else np.uint16)
                tokens = bits.view(dtype).reshape(json.loads(table.schema.metadata[b"tokens_shape"]))
            rows[row["key"]] = Row(row["name"], np.array(row["embedding"], np.float32), tokens)
    return rows


def assert_same_rows(found, expected):
    """Equal to the bit, and in one order."""
    assert list(found) == list(expected)
    for row, other in zip(found.values(), expected.values(), strict=True):
        assert row.name == other.name
        assert row.embedding.tobytes() == other.embedding.tobytes()
        assert row.tokens.tobytes() == other.tokens.tobytes()


class Exact:
    """What plain arithmetic finds in an index; only what the index has of its videos is ours."""

    def __init__(self, rows):
        self.rows, self.params = rows, read_params("umt_retrieval")
        self.texts, self.scores = {}, {}

    def read(self, text):
        """Embedding and tokens of a text."""
        if text not in self.texts:
            ids = [2, *(WORDS.index(word) for word in retrieval_oracle.clean(text).split()), 3]
            tokens = bert_oracle.encode_text(self.params["text"], ids, [1] * len(ids), num_heads=4, num_layers=2)
            self.texts[text] = bert_oracle.embed_text(self.params, tokens), tokens
        return self.texts[text]

    def match(self, key, text):
        if (key, text) not in self.scores:
            video, (_, tokens) = self.rows[key].tokens, self.read(text)
            shape = {"num_heads": 4, "first_layer": 2, "depth": 4}
            self.scores[key, text] = bert_oracle.match(self.params, video, tokens, [1] * len(tokens), **shape)
        return self.scores[key, text]

    def find(self, text, *, rerank):
        """(path, cosine, match or None) of all videos, the best first."""
        keys, embedding = list(self.rows), self.read(text)[0]
        cosines = [retrieval_oracle.cosine(row.embedding, embedding) for row in self.rows.values()]
        nearest = sorted(range(len(keys)), key=lambda v: -cosines[v])[:rerank]
        scores = {v: self.match(keys[v], text) for v in nearest}
        order = retrieval_oracle.rerank_order(cosines, scores, rerank)
        return [(self.rows[keys[v]].name, cosines[v], scores.get(v)) for v in order]
