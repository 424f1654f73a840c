"""evaluate retrieval: a process that is killed while it encodes and matches goes on and finds the same to the bit."""

import json
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.cli.retrieval_place import evaluate, make_captions, make_place, without_times, write_annotation
from tests.cli.test_main import ROOT
from vidtldr_jax.inference import retrieval
from vidtldr_jax.inference.features import read_features
from vidtldr_jax.inference.text_model import RetrievalModel

# Parts of the work, and between which counts they are under way.
MIDDLES = ((0, 0, 10), (1, 0, 4), (2, 1, 41))


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


def test_a_process_killed_at_random_moments_loses_nothing(tmp_path_factory, tmp_path):
    place = make_place(tmp_path_factory)
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
        time.sleep(max(0, moments.uniform(-0.002, 0.004)))  # often at once
        process.kill()
        assert process.wait() == -9
        reached.append(measure(broken))
        assert all(now >= before for before, now in zip(*reached[-2:]))
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


@pytest.mark.xdist_group("retrieval")
def test_what_is_known_is_not_computed_again(call_json, tmp_path_factory, tmp_path, monkeypatch):
    place, out = make_place(tmp_path_factory), tmp_path / "r.json"
    words = ("plain", "--k-test", 4, "--keep-features", "--out", out)
    whole = evaluate(call_json, place, *words)
    read, matched = [], []
    encode, score = retrieval.encode_videos, retrieval.score_pairs

    def spy_on_encode(model, paths, **options):
        read.extend(path.name for path in paths)
        return encode(model, paths, **options)

    def spy_on_score(model, read_tokens, texts, pairs, **options):
        matched.extend(pairs)
        return score(model, read_tokens, texts, pairs, **options)

    monkeypatch.setattr(retrieval, "encode_videos", spy_on_encode)
    monkeypatch.setattr(retrieval, "score_pairs", spy_on_score)
    records = out.with_suffix(".records.jsonl")
    lines = records.read_bytes().splitlines(keepends=True)
    assert len(lines) == 13
    records.write_bytes(b"".join(lines[:10]))
    (out.with_suffix(".features") / "videos" / "part-000002.arrow").unlink()
    again = evaluate(call_json, place, *words)
    assert (read, matched) == (["8.mp4", "9.mp4", "10.mp4", "11.mp4"], [9, 10, 11])
    assert without_times(again) == without_times(whole)
    assert records.read_bytes() == b"".join(lines)
    monkeypatch.setattr(RetrievalModel, "encode_text", None)  # texts are all there
    evaluate(call_json, place, *words)
    assert (len(read), len(matched)) == (4, 3)
