"""A command resolves a model's name once: on a hub, each time costs a request and may find another revision."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import LABELS
from tests.cli.umt_sets import PLAIN_WORDS, make_umt, make_videos
from vidtldr_jax.inference import load

NAME = "hf://someone/model"


@pytest.fixture
def resolved(monkeypatch):
    """Names that were looked up on a hub; `stand_for` says which folder is there."""

    class Resolved(list):
        def stand_for(self, folder):
            def download(name):
                self.append(name)
                return Path(folder)

            monkeypatch.setattr(load, "download_checkpoint", download)

    return Resolved()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory, clip):
    path = tmp_path_factory.mktemp("manifest") / "val.csv"
    path.write_text(f"path,label\n{clip},{LABELS[0]}\n")
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Models that read, a video, and annotations of it."""
    home = tmp_path_factory.mktemp("texts")
    (name,) = make_videos(home, 1)
    words = " ".join(PLAIN_WORDS[:4])
    (home / "retrieval.json").write_text(json.dumps([{"video": name, "caption": words}]))
    question = {"video": name, "question": words, "answer": PLAIN_WORDS[0], "question_id": 1}
    (home / "qa.json").write_text(json.dumps([question]))
    (home / "answers.json").write_text(json.dumps(PLAIN_WORDS[:3]))
    tasks = ("retrieval", "question_answering")
    return home, home / name, {task: make_umt(home, task) for task in tasks}


@pytest.mark.parametrize(
    "words",
    [
        ("classify", "CLIP", "--model", NAME),
        ("visualize", "CLIP", "--model", NAME, "--schedule", "2", "--out", "pictures"),
        ("benchmark", "--model", NAME, "--schedule", "2", "--repeats", 1, "--no-search"),
        ("plan", "--model", NAME, "--keep", 0.8),
        ("evaluate", "classification", "--model", NAME, "--manifest", "MANIFEST"),
        ("finetune", "--model", NAME, "--data", "MANIFEST", "--out", "run", "--steps", 1, "--batch-size", 1),
    ],
    ids=lambda words: words[0],
)
def test_a_classifier(call, resolved, model, clip, manifest, words):
    resolved.stand_for(model)
    places = {"CLIP": clip, "MANIFEST": manifest}
    result = call(*(places.get(word, word) for word in words))
    assert result.exit_code == 0, result.output
    assert resolved == [NAME]


@pytest.mark.parametrize(
    "words",
    [
        ("embed", "VIDEO", "--model", NAME, "--out", "index"),
        ("evaluate", "retrieval", "--model", NAME, "--annotation", "HOME/retrieval.json", "--no-rerank"),
        ("evaluate", "qa", "--model", NAME, "--annotation", "HOME/qa.json", "--answers", "HOME/answers.json"),
        ("ask", "VIDEO", PLAIN_WORDS[0], "--model", NAME, "--answers", "HOME/answers.json"),
    ],
    ids=lambda words: words[1] if words[0] == "evaluate" else words[0],
)
def test_a_model_that_reads(call, resolved, texts, words):
    home, video, models = texts
    resolved.stand_for(models["question_answering" if {"qa", "ask"} & set(words) else "retrieval"])
    result = call(*(video if word == "VIDEO" else str(word).replace("HOME", str(home)) for word in words))
    assert result.exit_code == 0, result.output
    assert resolved == [NAME]


def test_a_search(call, resolved, texts):
    _, video, models = texts
    resolved.stand_for(models["retrieval"])
    assert call("embed", video, "--model", NAME, "--out", "index").exit_code == 0
    resolved.clear()
    result = call("search", "index", PLAIN_WORDS[0], "--model", NAME)
    assert result.exit_code == 0, result.output
    assert resolved == [NAME]
