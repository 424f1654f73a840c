"""No command computes a batch that is larger than its list of videos, texts or questions."""

import json

import numpy as np
import pytest

from tests.cli.conftest import LABELS, save_model
from tests.cli.umt_sets import make_umt, make_videos
from vidtldr_jax.inference import stream
from vidtldr_jax.inference.text_model import AnsweringModel, RetrievalModel
from vidtldr_jax.train import evaluation

NUM_VIDEOS = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    names = make_videos(folder, NUM_VIDEOS)
    lines = [f"{name},{label}" for name, label in zip(names, LABELS)]
    (folder / "list.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    entries = [{"video": name, "caption": f"w{number} w{number + 1}"} for number, name in enumerate(names)]
    (folder / "captions.json").write_text(json.dumps(entries))
    questions = [
        {"video": name, "question": f"w{number}", "answer": "w7", "question_id": number}
        for number, name in enumerate(names)
    ]
    (folder / "questions.json").write_text(json.dumps(questions))
    (folder / "answers.json").write_text(json.dumps(["w7", "w8", "w9"]))
    save_model(folder / "classifier")
    return folder


@pytest.fixture
def sizes(monkeypatch):
    """Sizes of the batches of videos that are dispatched."""
    found, stack = [], stream._stack_views

    def count(views, batch_size):
        batch = stack(views, batch_size)
        found.append(len(batch))
        return batch

    monkeypatch.setattr(stream, "_stack_views", count)
    return found


def spy(monkeypatch, owner, name, place, found):
    """Counts the rows of an argument of a method."""
    method = getattr(owner, name)

    def count(self, *arguments, **options):
        found.append(len(np.asarray(arguments[place])))
        return method(self, *arguments, **options)

    monkeypatch.setattr(owner, name, count)


def test_classifiers_take_no_larger_batches_than_there_are_videos(call, call_json, place, sizes):
    model, videos = ("--model", place / "classifier"), sorted(place.glob("*.mp4"))
    assert call("classify", *videos, *model, "--batch-size", 16).exit_code == 0
    assert sizes == [NUM_VIDEOS]
    call_json("evaluate", "classification", *model, "--manifest", place / "list.csv", "--batch-size", 16)
    assert sizes == [NUM_VIDEOS] * 2


def test_a_probe_takes_no_larger_batches_than_there_are_videos_nor_than_memory_has_room_for(
    call_json, place, sizes, monkeypatch
):
    words = ("finetune", "--probe", "--model", place / "classifier", "--data", place / "list.csv", "--steps", 1)
    call_json(*words, "--out", "run")
    assert sizes == [NUM_VIDEOS]
    monkeypatch.setattr(evaluation, "MOST_CLIPS", 2)
    call_json(*words, "--out", "other")
    assert sizes[1:] == [2, 2]


def test_an_index_and_retrieval_take_no_larger_batches_than_there_are(call_json, place, sizes, monkeypatch, tmp_path):
    model = ("--model", make_umt(tmp_path, "retrieval"))
    call_json("embed", *sorted(place.glob("*.mp4")), *model, "--out", "index")
    assert sizes == [NUM_VIDEOS]
    texts, pairs = [], []
    spy(monkeypatch, RetrievalModel, "encode_text", 0, texts)
    spy(monkeypatch, RetrievalModel, "match_projected", 1, pairs)
    words = ("--annotation", place / "captions.json", "--videos", place, "--max-text-tokens", 8)
    call_json("evaluate", "retrieval", *model, *words)
    assert sizes == [NUM_VIDEOS] * 2
    assert set(texts) == set(pairs) == {NUM_VIDEOS}


def test_questions_take_no_larger_batches_than_there_are(call_json, place, sizes, monkeypatch, tmp_path):
    asked = []
    spy(monkeypatch, AnsweringModel, "answer_questions", 1, asked)
    words = ("--annotation", place / "questions.json", "--answers", place / "answers.json", "--videos", place)
    call_json("evaluate", "qa", "--model", make_umt(tmp_path, "question_answering"), *words)
    assert sizes == [NUM_VIDEOS]
    assert set(asked) == {1}
