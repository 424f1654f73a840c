"""An index as functions: what adding reports, what searching finds, in full and in half precision."""

import contextlib
import dataclasses
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tests.cli.indexes import Exact, hash_bytes, read_rows
from tests.cli.umt_sets import make_umt, make_videos
from vidtldr_jax.data import WorkerError, read_clip
from vidtldr_jax.data.text import TextError
from vidtldr_jax.data.video_paths import find_videos
from vidtldr_jax.inference import load_model
from vidtldr_jax.search import encoding
from vidtldr_jax.search.arrow_parts import Feature, FeaturesError
from vidtldr_jax.search.features import FeatureStore, read_features
from vidtldr_jax.search.index import AddReport, add_videos, describe_index, list_videos, search_index

TEXT = "W3, w4 w5."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint and eight videos."""
    folder = tmp_path_factory.mktemp("index")
    (folder / "videos").mkdir()
    make_videos(folder / "videos", 8)
    make_umt(folder, "retrieval")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder / "umt-retrieval", schedule="16,8")


@pytest.fixture(scope="module")
def half(folder):
    return load_model(folder / "umt-retrieval", schedule="16,8", dtype="bfloat16")


def open_index(path, model, *, with_tokens=True):
    return FeatureStore(path, describe_index(model, "abc", with_tokens=with_tokens))


def add(path, model, videos, *, with_tokens=True, **options):
    with open_index(path, model, with_tokens=with_tokens) as store:
        return add_videos(store, model, videos, batch_size=4, **options)


def test_what_describes_an_index_is_what_its_videos_share(model):
    description = describe_index(model, "abc", with_tokens=False)
    assert description["architecture"].pop("text")["vocab_size"] == 80
    del description["architecture"]
    assert description == {
        "is_index": True, "checkpoint_sha256": "abc", "schedule": "16,8", "dtype": "float32", "tokens": False,
        "preprocessing": model.preprocessing.to_dict(),
    }  # fmt: skip


def test_adding_reports_what_became_of_every_path(folder, model, tmp_path):
    first = find_videos([folder / "videos"])[:3]
    twin, bad, gone = tmp_path / "twin.mp4", tmp_path / "bad.mp4", tmp_path / "gone.mp4"
    shutil.copy(first[0], twin)
    bad.write_text("not a video\n" * 50)
    shutil.copy(first[2], gone)
    assert add(tmp_path / "index", model, [gone]) == AddReport(1, 0, 0, {}, {}, {})
    gone.unlink()
    hashed, steps = [], []
    paths = [first[0], twin, gone, bad, first[1], first[2]]
    tell = {"hashing": hashed.append, "encoding": lambda *step: steps.append(step)}
    report = add(tmp_path / "index", model, paths, **tell)
    assert (report.added, report.known, report.moved) == (2, 1, 1)
    assert report.same == {str(twin): str(first[0])}
    assert list(report.errors) == [str(gone), str(bad)]
    assert report.errors[str(gone)] == "No such file or directory"
    assert "FFmpeg can't read" in report.errors[str(bad)]
    assert hashed == paths
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]  # the one that can't be read too
    rows = read_rows(tmp_path / "index")
    assert [row.name for row in rows.values()] == [str(first[2]), str(first[0]), str(first[1])]
    assert add(tmp_path / "index", model, paths, **tell).errors == report.errors


def test_what_was_computed_before_work_failed_as_a_whole_is_kept(folder, model, tmp_path, monkeypatch):
    paths = find_videos([folder / "videos"])[:3]
    encode = encoding.encode_videos

    def fail_late(*arguments, **options):
        with contextlib.closing(encode(*arguments, **options)) as videos:
            yield next(videos)
            yield next(videos)
        raise WorkerError("a worker ended")

    monkeypatch.setattr(encoding, "encode_videos", fail_late)
    with pytest.raises(WorkerError, match="a worker ended"):
        add(tmp_path / "index", model, paths)
    store = read_features(tmp_path / "index")
    assert [store.get_name(key) for key in store.keys] == [str(path) for path in paths[:2]]


def test_paths_are_kept_absolute(folder, model, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    add(tmp_path / "index", model, [Path("videos") / "0.mp4", Path("videos") / ".." / "videos" / "1.mp4"])
    names = [row.name for row in read_rows(tmp_path / "index").values()]
    assert names == [str(folder / "videos" / name) for name in ("0.mp4", "1.mp4")]


@pytest.mark.parametrize("rerank", [0, 3, 8, 100])
def test_a_search_is_that_of_plain_arithmetic(folder, model, tmp_path, rerank):
    add(tmp_path / "index", model, find_videos([folder / "videos"]))
    hits = search_index(read_features(tmp_path / "index"), model, TEXT, top_k=6, rerank=rerank)
    exact = Exact(read_rows(tmp_path / "index")).find(TEXT, rerank=rerank)[:6]
    assert [hit.path for hit in hits] == [path for path, _, _ in exact]
    for hit, (_, cosine, match) in zip(hits, exact, strict=True):
        assert hit.similarity == pytest.approx(cosine, abs=1e-5)
        assert hit.match == (None if match is None else pytest.approx(match, abs=1e-4))
    plain = search_index(read_features(tmp_path / "index"), model.with_schedule(None), TEXT, top_k=6, rerank=rerank)
    assert plain == hits  # the schedule is of videos alone


def test_of_equal_videos_the_one_that_was_added_first_comes_first(model, tmp_path):
    rng = np.random.default_rng(0)
    embedding, tokens = rng.standard_normal(16, np.float32), rng.standard_normal((40, 24), np.float32)
    with open_index(tmp_path, model) as store:
        for key in "dbca":
            store.append([Feature(key, f"{key}.mp4", embedding, tokens)])
        for rerank in (0, 2, 4):
            hits = search_index(store, model, TEXT, top_k=4, rerank=rerank)
            assert [hit.path for hit in hits] == ["d.mp4", "b.mp4", "c.mp4", "a.mp4"]


def test_a_place_is_that_of_the_last_video_found_there(model, tmp_path):
    embedding = np.ones(16, np.float32)
    with open_index(tmp_path, model, with_tokens=False) as store:
        store.append([Feature(key, name, embedding) for key, name in ("ax", "by", "cx", "dz")])
        assert list_videos(store) == ["b", "c", "d"]
        assert [hit.path for hit in search_index(store, model, TEXT, top_k=9, rerank=0)] == ["y", "x", "z"]
        store.append([Feature("a", "x", embedding), Feature("b", "z", embedding)])
        assert list_videos(store) == ["a", "b"]


def test_half_precision_is_kept_to_the_bit_and_searched(folder, half, tmp_path):
    paths = find_videos([folder / "videos"])[:4]
    add(tmp_path / "index", half, paths)
    rows = read_rows(tmp_path / "index", dtype=ml_dtypes.bfloat16)
    out = half.encode_video(np.stack([read_clip(path, half.preprocessing) for path in paths]))
    assert list(rows) == [hash_bytes(path) for path in paths]
    store = read_features(tmp_path / "index")
    assert store.description["dtype"] == "bfloat16"
    for number, (key, row) in enumerate(rows.items()):
        np.testing.assert_array_equal(row.embedding, np.asarray(out.embedding, np.float32)[number])
        assert row.tokens.tobytes() == np.asarray(out.tokens)[number].tobytes()
        assert store.read_tokens(key).dtype == ml_dtypes.bfloat16
    hits = search_index(store, half, TEXT, top_k=4, rerank=2)
    exact = Exact({key: row._replace(tokens=row.tokens.astype(np.float32)) for key, row in rows.items()})
    scores = {hit.path: hit for hit in hits}
    assert sorted(scores) == sorted(map(str, paths))
    # bfloat16 has eight bits, and the text goes through four layers.
    for path, cosine, match in exact.find(TEXT, rerank=4):
        assert scores[path].similarity == pytest.approx(cosine, abs=0.02)
        assert scores[path].match is None or scores[path].match == pytest.approx(match, abs=0.05)
    assert [hit.match is None for hit in hits] == [False, False, True, True]


def test_tokens_of_half_precision_move_with_their_video(folder, half, tmp_path):
    shutil.copy(folder / "videos" / "0.mp4", tmp_path / "old.mp4")
    add(tmp_path / "index", half, [tmp_path / "old.mp4"])
    (before,) = read_rows(tmp_path / "index", dtype=ml_dtypes.bfloat16).values()
    (tmp_path / "old.mp4").rename(tmp_path / "new.mp4")
    assert add(tmp_path / "index", half, [tmp_path / "new.mp4"]) == AddReport(0, 1, 1, {}, {}, {})
    (after,) = read_rows(tmp_path / "index", dtype=ml_dtypes.bfloat16).values()
    assert after.name == str(tmp_path / "new.mp4")
    assert after.tokens.tobytes() == before.tokens.tobytes()
    assert after.embedding.tobytes() == before.embedding.tobytes()


def test_what_can_not_be_searched_is_refused(folder, model, tmp_path):
    with open_index(tmp_path / "empty", model) as store:
        assert search_index(store, model, TEXT, top_k=5, rerank=5) == []
    add(tmp_path / "bare", model, [folder / "videos" / "0.mp4"], with_tokens=False)
    store = read_features(tmp_path / "bare")
    with pytest.raises(FeaturesError, match="to look again at the best needs their tokens"):
        search_index(store, model, TEXT, top_k=5, rerank=1)
    with pytest.raises(TextError, match="a text has words"):
        search_index(store, model, "?", top_k=5, rerank=0)
    assert len(search_index(store, model, TEXT, top_k=5, rerank=0)) == 1


def test_several_views_of_a_video_are_refused(folder, model, tmp_path):
    several = model.with_preprocessing(dataclasses.replace(model.preprocessing, num_clips=2))
    with pytest.raises(ValueError, match="a video is one clip and one crop; got 2 views"):
        add(tmp_path / "index", several, [folder / "videos" / "0.mp4"])
