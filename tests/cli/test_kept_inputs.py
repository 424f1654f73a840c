"""What is read is never written over: every command that writes a file that a user names, by whatever name."""

import json
import os
import shutil

import pytest

from tests.cli.test_main import assert_one_error

RULE = "what is read is not written over"


@pytest.fixture
def place(tmp_path, model, clip):
    """A folder with everything that is read."""
    shutil.copytree(model, tmp_path / "model")
    shutil.copy(clip, tmp_path / "a.mp4")
    (tmp_path / "list.json").write_text(json.dumps({"path": "a.mp4", "label": "left"}) + "\n")
    shutil.copy(clip, tmp_path / "a.png")  # a video under another name: the suffix tells nothing
    return tmp_path


def read_all(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(call, place, *words, option):
    before = read_all(place)
    result = call(*words)
    assert_one_error(result, RULE, exit_code=2)
    assert option in result.stderr
    assert read_all(place) == before


@pytest.mark.parametrize("how", ["path", "way round", "link", "hard link", "folder"])
def test_visualize_keeps_its_video(call, place, how):
    if how == "link":
        (place / "b.mp4").symlink_to(place / "a.mp4")
    if how == "hard link":
        os.link(place / "a.mp4", place / "b.mp4")
    named = {"path": place / "a.mp4", "way round": place / ".." / place.name / "a.mp4"}.get(how, place / "b.mp4")
    words = ("--out", place) if how == "folder" else ("--mp4", named)
    refuse(call, place, "visualize", place / "a.mp4", "--model", place / "model", *words, option=words[0])


def test_visualize_keeps_the_files_of_its_model(call, place):
    words = ("--model", place / "model", "--html", place / "model" / "config.json")
    refuse(call, place, "visualize", place / "a.mp4", *words, option="--html")


def test_an_evaluation_keeps_its_list(call, place):
    words = ("--manifest", place / "list.json", "--model", place / "model", "--out", place / "list.json")
    refuse(call, place, "evaluate", "classification", *words, option="--out")


def test_an_evaluation_keeps_its_model(call, place):
    words = ("--manifest", place / "list.json", "--model", place / "model", "--out", place / "model" / "config.json")
    refuse(call, place, "evaluate", "classification", *words, option="--out")


@pytest.mark.parametrize("out", ["model.safetensors", "model"])
def test_an_export_keeps_the_weights_it_is_made_of(call, place, out):
    # The weights beside a program named "model" are named as the checkpoint's own.
    words = ("--model", place / "model", "--out", place / "model" / out, "--weights", "beside", "--overwrite")
    refuse(call, place, "export", *words, option="--out")


def test_a_conversion_to_torch_keeps_its_source(call, place):
    words = (place / "model", place / "model" / "model.safetensors", "--to", "torch", "--overwrite")
    refuse(call, place, "convert", *words, option="DESTINATION")


def test_a_plan_keeps_the_videos_it_is_calibrated_on(call, place):
    words = ("--keep", 0.5, "--model", place / "model", "--calibrate", place / "a.mp4", "--plot", place / "a.png")
    (place / "a.png").unlink()
    os.link(place / "a.mp4", place / "a.png")
    refuse(call, place, "plan", *words, option="--plot")


def test_a_result_that_is_there_is_replaced(call, place):
    words = ("visualize", place / "a.mp4", "--model", place / "model", "--html", place / "a.html")
    for _ in range(2):
        assert call(*words).exit_code == 0
    assert (place / "a.html").read_text().startswith("<!doctype html>")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_an_output_that_can_be_no_file_is_refused_before_the_work(call, place, monkeypatch):
    """So is a link to one, as /dev/stdout is."""
    monkeypatch.setattr("vidtldr_jax.visualize.record_history", pytest.fail)
    monkeypatch.setattr("vidtldr_jax.evaluation.classification.evaluate_videos", pytest.fail)
    os.mkfifo(place / "fifo")
    for name in ("a.html", "b.json"):
        (place / name).symlink_to(place / "fifo")
    for words in (
        ("visualize", place / "a.mp4", "--model", place / "model", "--html", place / "a.html"),
        ("evaluate", "classification", "--manifest", place / "list.json", "--model", place / "model", "--out",
         place / "b.json"),
    ):  # fmt: skip
        result = call(*words)
        assert_one_error(result, "a regular file is needed; ")
        assert result.stderr.endswith(f"; {str(words[-1])!r} is a FIFO; give a file\n")
        assert words[-1].is_symlink()


def test_two_outputs_are_two_files(call, place):
    words = ("--html", place / "a.out", "--png", place / ".." / place.name / "a.out")
    result = call("visualize", place / "a.mp4", "--model", place / "model", *words)
    assert_one_error(result, "each output is a file of its own; --html and --png name ", exit_code=2)
    assert not (place / "a.out").exists()
