"""evaluate retrieval: a process that is killed while it encodes and matches goes on and finds the same to the bit."""

import json
import random
import time

import numpy as np
import pytest

from tests.cli.forked_processes import ForkedProcesses
from tests.cli.retrieval_place import evaluate, make_captions, make_place, without_times, write_annotation
from vidtldr_jax.evaluation import pairs as evaluation_pairs
from vidtldr_jax.inference.text_model import RetrievalModel
from vidtldr_jax.search import encoding
from vidtldr_jax.search.features import read_features

# Parts of the work, and between which counts they are under way.
MIDDLES = ((0, 0, 10), (1, 0, 4), (2, 1, 41))


@pytest.fixture
def processes(tmp_path):
    started = ForkedProcesses(tmp_path)
    yield started
    started.close()


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


@pytest.mark.once
def test_a_process_killed_at_random_moments_loses_nothing(tmp_path_factory, tmp_path, processes):
    place = make_place(tmp_path_factory)
    rng, moments = np.random.default_rng(4), random.Random(5)
    entries = [{"video": f"{number}.mp4", "caption": make_captions(rng, 6)} for number in range(40)]
    annotation = write_annotation(tmp_path, entries)
    words = (
        "evaluate",
        "retrieval",
        "--annotation",
        annotation,
        *place.words,
        "--k-test",
        8,
        "--keep-features",
        "--out",
    )
    whole, broken = tmp_path / "whole.json", tmp_path / "broken.json"
    processes.start(*words, whole)
    assert processes.wait() == 0, processes.log.read_text()
    assert measure(whole) == (10, 4, 41)
    # While videos are encoded, then texts, then pairs matched.
    goals = [(0, parts) for parts in range(1, 8)] + [(1, parts) for parts in (1, 2, 3)]
    goals += [(2, lines) for lines in (2, 5, 9, 12, 16, 19, 23, 27, 31, 34)]
    assert len(goals) == 20
    reached = [(0, 0, 0)]
    for part, goal in goals:
        process, start = processes.start(*words, broken), time.monotonic()
        while measure(broken)[part] < goal and time.monotonic() - start < 60:
            time.sleep(0.0005)
        time.sleep(max(0, moments.uniform(-0.002, 0.004)))  # often at once
        assert processes.kill(process) == -9, processes.log.read_text()
        reached.append(measure(broken))
        assert all(now >= before for before, now in zip(*reached[-2:]))
        assert reached[-1][part] >= goal
    middle = [[found[part] for found in reached if first < found[part] < last] for part, first, last in MIDDLES]
    assert all(middle), reached
    assert not broken.exists()
    with broken.with_suffix(".records.jsonl").open("ab") as file:
        file.write(b'{"key": "39.mp4", "tex')  # as a kill in the middle of a write leaves it
    left = broken.with_suffix(".features") / "texts" / f".part-000004-{'0f' * 32}.arrow-0123456789abcdef.partial"
    left.mkdir()
    (left / "part.arrow").write_bytes(b"ARR")
    processes.start(*words, broken)
    assert processes.wait() == 0, processes.log.read_text()
    results = [json.loads(file.read_text()) for file in (whole, broken)]
    assert without_times(results[0]) == without_times(results[1])
    assert results[1]["seconds_of_this_start"]["pairs"]["known_before"] > 0
    records = [file.with_suffix(".records.jsonl").read_bytes() for file in (whole, broken)]
    assert records[0] == records[1]
    assert not left.exists()
    for kind in ("videos", "texts"):
        one, other = (read_bits(file.with_suffix(".features") / kind) for file in (whole, broken))
        assert one == other


def test_what_is_known_is_not_computed_again(call_json, tmp_path_factory, tmp_path, monkeypatch):
    place, out = make_place(tmp_path_factory), tmp_path / "r.json"
    words = ("plain", "--k-test", 4, "--keep-features", "--out", out)
    whole = evaluate(call_json, place, *words)
    read, matched = [], []
    encode, score = encoding.encode_videos, evaluation_pairs.score_pairs

    def spy_on_encode(model, paths, **options):
        read.extend(path.name for path in paths)
        return encode(model, paths, **options)

    def spy_on_score(model, read_tokens, texts, pairs, **options):
        matched.extend(pairs)
        return score(model, read_tokens, texts, pairs, **options)

    monkeypatch.setattr(encoding, "encode_videos", spy_on_encode)
    monkeypatch.setattr(evaluation_pairs, "score_pairs", spy_on_score)
    records = out.with_suffix(".records.jsonl")
    lines = records.read_bytes().splitlines(keepends=True)
    assert len(lines) == 13
    records.write_bytes(b"".join(lines[:10]))
    (part,) = (out.with_suffix(".features") / "videos").glob("part-000002-*.arrow")
    part.unlink()
    again = evaluate(call_json, place, *words)
    assert (read, matched) == (["8.mp4", "9.mp4", "10.mp4", "11.mp4"], [9, 10, 11])
    assert without_times(again) == without_times(whole)
    assert records.read_bytes() == b"".join(lines)
    monkeypatch.setattr(RetrievalModel, "encode_text", None)  # texts are all there
    evaluate(call_json, place, *words)
    assert (len(read), len(matched)) == (4, 3)
