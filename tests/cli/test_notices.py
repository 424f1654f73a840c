"""What a user should know about a video is told by every command that reads it."""

import json
import types

import pytest
from av.stream import Disposition

from tests.cli.conftest import LABELS, save_model
from tests.cli.umt_sets import make_umt
from tests.data.making import mux_streams, write_video

NOTICE = "there are 2 video streams: number 2 is read (64 x 48, the default)"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Models, and a folder with a video beside a smaller one in the same file."""
    home = tmp_path_factory.mktemp("notices")
    small = write_video(home / "small.mp4", num_frames=8, height=32, width=32)
    large = write_video(home / "large.mp4", num_frames=8, first_number=8)
    (home / "videos").mkdir()
    path = mux_streams(home / "videos" / "a.mp4", small, large, dispositions=[Disposition(0), Disposition.default])
    question = {"video": "a.mp4", "question": "w1 w2", "answer": "w3", "question_id": 1}
    (home / "captions.json").write_text(json.dumps([{"video": "a.mp4", "caption": "w1 w2"}]))
    (home / "questions.json").write_text(json.dumps([question]))
    (home / "answers.json").write_text(json.dumps(["w3", "w4"]))
    models = {task: make_umt(home, task) for task in ("retrieval", "question_answering")}
    return types.SimpleNamespace(home=home, videos=home / "videos", path=path, **models)


def test_an_index_is_made_with_notices(call, call_json, place, tmp_path):
    words = ("embed", place.videos, "--model", place.retrieval, "--out")
    assert call(*words, tmp_path / "a").stderr == f"note: {place.path}: {NOTICE}\n"
    assert call_json(*words, tmp_path / "b")["notices"] == {str(place.path): [NOTICE]}


def test_many_notices_are_counted(call, place, tmp_path):
    for number in range(12):
        write_video(tmp_path / f"{number:02}.mp4", num_frames=2, first_number=number)
    told = call("embed", tmp_path, "--model", place.retrieval, "--out", tmp_path / "index").stderr.splitlines()
    assert len(told) == 11
    assert told[-1] == "note: 2 more videos have notices, such as too few frames"


@pytest.mark.parametrize("command", ["retrieval", "qa"])
def test_evaluations_tell_notices(call, place, command):
    files = {
        "retrieval": ("--annotation", place.home / "captions.json", "--model", place.retrieval, "--k-test", 1),
        "qa": (
            *("--annotation", place.home / "questions.json", "--answers", place.home / "answers.json"),
            *("--model", place.question_answering),
        ),
    }
    result = call("evaluate", command, *files[command], "--videos", place.videos)
    assert result.exit_code == 0, result.output
    assert f"note: a.mp4: {NOTICE}\n" in result.stderr


def test_a_plan_tells_notices(call, place):
    result = call("plan", "--model", place.retrieval, "--keep", 0.8, "--calibrate", place.videos)
    assert result.exit_code == 0, result.output
    assert f"note: {place.path}: {NOTICE}\n" in result.stderr


@pytest.mark.parametrize("options", [(), ("--probe",), ("--set", "random_time=true", "--set", "crop=0.5")])
def test_a_training_tells_notices(call, place, tmp_path, options):
    model = save_model(tmp_path / "model")
    write_video(place.videos.parent / "whole.mp4", num_frames=8)
    lines = [f"{path},{label}" for path, label in zip((place.path, place.home / "whole.mp4"), LABELS)]
    (tmp_path / "train.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    words = ("finetune", "--data", tmp_path / "train.csv", "--model", model, "--steps", 2, "--batch-size", 2)
    result = call(*words, *options, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert [line for line in result.stderr.splitlines() if "streams" in line] == [f"note: {place.path}: {NOTICE}"]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["notices"] == {str(place.path): [NOTICE]}
