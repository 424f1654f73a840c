"""Where what a model says of one video is not finite, that video is named, the others are done, nothing is kept."""

import json
import shutil

import numpy as np
import pytest
from jax import numpy as jnp

from tests.cli.indexes import make_place, read_rows
from tests.cli.test_main import assert_one_error
from tests.cli.umt_sets import PLAIN_WORDS, make_umt
from tests.data.making import write_video
from vidtldr_jax.data import read_clip, read_frames
from vidtldr_jax.inference import load_model, save_checkpoint
from vidtldr_jax.inference.checkpoint import read_checkpoint
from vidtldr_jax.inference.finite import NotFiniteError, check_finite
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.text_model import RetrievalModel
from vidtldr_jax.search.arrow_parts import Feature
from vidtldr_jax.search.features import FeatureStore, read_features
from vidtldr_jax.search.index import search_index

MESSAGE = "must be finite"


@pytest.fixture(scope="module")
def retrieval(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("retrieval"), count=4)


@pytest.fixture
def spoil(monkeypatch):
    """Makes all models give NaN for one video, wherever it is in a batch; `fields` are those that are spoiled."""
    encode = VideoModel.encode_video

    def start(path, preprocessing, fields=("pooled", "embedding", "logits", "tokens")):
        (pixels,) = read_frames(path, preprocessing).frames  # as commands send them

        def encode_and_spoil(model, video, **options):
            out = encode(model, video, **options)
            rows = np.array([np.array_equal(row, pixels) for row in np.asarray(video)])
            values = {name: getattr(out, name) for name in fields if getattr(out, name) is not None}
            factor = np.where(rows, np.nan, 1)
            return out._replace(
                **{n: v * jnp.asarray(factor.reshape(-1, *[1] * (v.ndim - 1)), v.dtype) for n, v in values.items()}
            )

        monkeypatch.setattr(VideoModel, "encode_video", encode_and_spoil)

    return start


@pytest.fixture
def videos(tmp_path):
    return [write_video(tmp_path / f"{number}.mp4", num_frames=8, first_number=30 * number) for number in range(3)]


@pytest.fixture
def broken(model, tmp_path):
    """The tiny model with finite weights whose products for one class are too large for float32."""
    stored = read_checkpoint(model)
    kernel = np.array(stored.params["head/kernel"])
    kernel[:, 1] = 3e38
    params = {**stored.params, "head/kernel": kernel}
    return save_checkpoint(
        tmp_path / "broken", params=params, config=stored.config, preprocessing=stored.preprocessing,
        labels=stored.labels, family=stored.family, source=stored.source,
    )  # fmt: skip


def test_classify_names_the_video_and_does_the_others(call, model, videos, spoil):
    spoil(videos[1], load_model(model).preprocessing)
    result = call("classify", *videos, "--model", model, "--batch-size", 2)
    assert_one_error(result, f"{videos[1]}: a model's logits {MESSAGE}; 3 of 3 values are not; ")
    assert "nan" not in result.stdout
    assert [str(path) in result.stdout for path in videos] == [True, False, True]


def test_calibration_leaves_the_video_out_and_names_it(call, model, videos, spoil):
    spoil(videos[1], load_model(model).preprocessing)
    result = call("plan", "--model", model, "--keep", 0.5, "--calibrate", *videos)
    assert_one_error(result, f"{videos[1]}: a model's pooled {MESSAGE}")


def test_an_evaluation_of_classes_counts_the_video_as_wrong(call, call_json, model, videos, spoil, tmp_path):
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"{path.name},left\n" for path in videos))
    spoil(videos[1], load_model(model).preprocessing)
    words = ("evaluate", "classification", "--model", model, "--manifest", tmp_path / "list.csv")
    assert_one_error(call(*words), f"{videos[1].name}: a model's logits {MESSAGE}")
    found = call_json(*words, exit_code=1)
    assert list(found["errors"]) == [videos[1].name]


@pytest.mark.parametrize("fields", [("embedding",), ("tokens",)])
def test_nothing_that_is_not_finite_is_stored(call, retrieval, spoil, tmp_path, fields):
    bad = retrieval.paths[1]
    spoil(bad, load_model(retrieval.model).preprocessing, fields)
    result = call("embed", retrieval.videos, *retrieval.words, "--tokens", "--out", tmp_path / "index")
    assert_one_error(result, f"{bad}: a model's {fields[0]} {MESSAGE}")
    rows = read_rows(tmp_path / "index")
    assert [row.name for row in rows.values()] == [str(path) for path in retrieval.paths if path != bad]


def test_an_evaluation_of_retrieval_names_the_video(call_json, retrieval, spoil, tmp_path):
    bad = retrieval.paths[1]
    entries = [{"video": path.name, "caption": f"w{n + 3} w9"} for n, path in enumerate(retrieval.paths)]
    (tmp_path / "set.json").write_text(json.dumps(entries))
    spoil(bad, load_model(retrieval.model).preprocessing)
    words = ("--model", retrieval.model, "--videos", retrieval.videos, "--max-text-tokens", 16)
    found = call_json("evaluate", "retrieval", "--annotation", tmp_path / "set.json", *words, exit_code=1)
    assert list(found["errors"]) == [bad.name]
    assert MESSAGE in found["errors"][bad.name]
    # Behind all of four is within five, and nothing is found there.
    assert [found["results"]["itc"][way]["r5"]["right"] for way in ("text_to_video", "video_to_text")] == [3, 3]


def test_scores_of_pairs_that_are_not_finite_are_an_error_of_their_video(call_json, retrieval, monkeypatch, tmp_path):
    entries = [{"video": path.name, "caption": f"w{n + 3} w9"} for n, path in enumerate(retrieval.paths)]
    (tmp_path / "set.json").write_text(json.dumps(entries))
    bad = np.asarray(
        load_model(retrieval.model)
        .encode_video(read_clip(retrieval.paths[2], load_model(retrieval.model).preprocessing)[None])
        .tokens
    )
    project, match = RetrievalModel.project_video, RetrievalModel.match_projected
    seen = []

    def remember(model, tokens):
        seen.append(bool(np.allclose(np.asarray(tokens), bad, atol=1e-3)))
        return project(model, tokens)

    def fail(model, *arguments):
        return match(model, *arguments) * (np.nan if seen[-1] else 1)

    monkeypatch.setattr(RetrievalModel, "project_video", remember)
    monkeypatch.setattr(RetrievalModel, "match_projected", fail)
    words = ("--model", retrieval.model, "--videos", retrieval.videos, "--max-text-tokens", 16)
    found = call_json("evaluate", "retrieval", "--annotation", tmp_path / "set.json", *words, exit_code=1)
    assert seen.count(True) == 1
    assert list(found["errors"]) == [retrieval.paths[2].name]
    assert f"match scores {MESSAGE}" in found["errors"][retrieval.paths[2].name]


def test_an_evaluation_of_answers_and_a_single_question_name_the_video(call, call_json, spoil, tmp_path, monkeypatch):
    qa = make_umt(tmp_path, "question_answering")
    videos = [write_video(tmp_path / f"{n}.mp4", num_frames=8, first_number=30 * n, height=32) for n in range(2)]
    (tmp_path / "answers.json").write_text(json.dumps(list(PLAIN_WORDS[:6])))
    entries = [{"video": path.name, "question": "w3 w4", "answer": "w1", "question_id": path.stem} for path in videos]
    (tmp_path / "set.json").write_text(json.dumps(entries))
    spoil(videos[0], load_model(qa).preprocessing)
    options = ("--model", qa, "--answers", tmp_path / "answers.json")
    assert_one_error(call("ask", videos[0], "w3 w4", *options), f"{videos[0]}: a model's tokens {MESSAGE}")
    monkeypatch.chdir(tmp_path)
    shutil.copy(videos[0], "read_clip: x.mp4")
    result = call("ask", "read_clip: x.mp4", "w3 w4", *options)
    assert_one_error(result, f"error: read_clip: x.mp4: a model's tokens {MESSAGE}")
    assert call("ask", videos[1], "w3 w4", *options).exit_code == 0
    limits = ("--max-question-tokens", 16)
    found = call_json("evaluate", "qa", "--annotation", tmp_path / "set.json", *options, *limits, exit_code=1)
    assert list(found["errors"]) == [videos[0].name]
    assert MESSAGE in found["errors"][videos[0].name]


@pytest.mark.parametrize("command", ["visualize", "demo", "benchmark"])
def test_pictures_and_comparisons_of_such_a_model_are_refused(call, broken, clip, command):
    video = {"visualize": (clip,), "demo": ("--video", clip), "benchmark": ()}[command]
    result = call(command, *video, "--model", broken, "--schedule", "4")
    assert_one_error(result, f"a model's logits {MESSAGE}; 1 of 3 values are not; ")
    assert ("clip.mp4" in result.stderr) == (command != "benchmark")  # which has no video


def test_a_search_names_videos_whose_numbers_are_not_finite(call_json, call, retrieval, tmp_path):
    model, row = load_model(retrieval.model), next(iter(read_rows(retrieval.index).values()))
    stored = read_features(retrieval.index)
    index = tmp_path / "index"
    huge = row.tokens * np.float32(1e38)  # finite, and its products are not
    with FeatureStore(index, stored.description, about=stored.about) as store:
        store.append(
            [Feature(name, f"/{name}.mp4", row.embedding, huge if name == "b" else row.tokens) for name in "abc"]
        )
    result = call_json("search", index, "w3 w4", exit_code=1)
    assert [hit["path"] for hit in result["results"]] == ["/a.mp4", "/c.mp4"]
    assert [hit["rank"] for hit in result["results"]] == [1, 2]
    assert list(result["errors"]) == ["/b.mp4"]
    assert result["errors"]["/b.mp4"].startswith(f"a model's match {MESSAGE}; ")
    assert_one_error(call("search", index, "w3 w4"), f"/b.mp4: a model's match {MESSAGE}")
    assert call("search", index, "w3 w4", "--rerank", 0).exit_code == 0
    with pytest.raises(NotFiniteError, match=r"^/b\.mp4: a model's match must be finite"):
        search_index(read_features(index), model, "w3", top_k=3, rerank=3)


def test_a_text_that_becomes_no_numbers_is_an_error_too(call, retrieval, monkeypatch):
    encode = RetrievalModel.encode_text

    def spoil(model, *arguments):
        found = encode(model, *arguments)
        return found._replace(embedding=found.embedding * np.nan)

    monkeypatch.setattr(RetrievalModel, "encode_text", spoil)
    assert_one_error(call("search", retrieval.index, "w3 w4"), f"text 'w3 w4': a model's embedding {MESSAGE}")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_one_value_among_many_is_found_in_every_dtype(dtype):
    values = np.asarray(jnp.ones((4, 5), "float32").astype(dtype) if dtype != "float64" else np.ones((4, 5)))
    check_finite(values, "tokens")
    values = values.copy()
    values[2, 3] = np.inf
    with pytest.raises(NotFiniteError, match=r"^a\.mp4: a model's tokens must be finite; 1 of 20 values are not; "):
        check_finite(values, "tokens", of="a.mp4")
