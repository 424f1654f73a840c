"""finetune: from a list of videos to a model that classify takes, and every wrong use in one line."""

import json
import sys

import pytest

from tests.cli.test_main import assert_one_error
from tests.train.squares import LABELS, make_videos, save_tiny

QUICK = ("--steps", 3, "--batch-size", 4)
CONFIG = """
import ml_collections

def get_config(arg=""):
    recipe = {"steps": 2, "batch_size": 4, "probe": True, "random_time": False, "few": 1}
    return ml_collections.ConfigDict({"task": %r, "recipe": recipe, "data": %r, "checkpoint": %r})
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    save_tiny(folder / "model")
    make_videos(folder, 2)
    make_videos(folder, 1, name="val", seed=1)
    return folder


@pytest.fixture
def words(place):
    return ("--data", place / "train.csv", "--model", place / "model", "--out", "run")


def test_a_list_of_videos_gives_a_model_that_classify_takes(call, call_json, place, words, tmp_path):
    words = (*words, "--val", place / "val.csv", "--probe", *QUICK, "--set", "ema=0.5")
    other, words = (*words, "--seed", 8), (*words, "--seed", 7)
    result = call_json("finetune", *words)
    assert result["model"] == "run/model"
    assert result["started_from"] == str(place / "model")
    assert (result["steps"], result["videos"], result["classes"]) == (3, 8, 4)
    assert result["val"]["of"] == 4
    recipe = json.loads((tmp_path / "run" / "run.json").read_text())["run"]["recipe"]
    wanted = {"probe": True, "random_time": False, "learning_rate": 0.001, "ema": 0.5, "seed": 7, "steps": 3}
    assert wanted.items() <= recipe.items()
    video = call_json("classify", place / "val_up_0.mp4", "--model", "run/model")
    assert {one["label"] for one in video["predictions"]} == set(LABELS)
    # The same command says the same, and its table has the accuracy.
    again = call("finetune", *words)
    assert again.exit_code == 0
    assert "goes on from step 3 of 3" in again.stderr
    assert f"({result['val']['right']} of 4)" in again.stdout
    assert_one_error(call("finetune", *other), "recipe.seed was 7, now 8; give another place, or --restart")
    assert_one_error(call("finetune", *words, "--resume", "--restart"), "exclude each other", exit_code=2)


def test_a_config_gives_recipe_and_places_and_options_count_more(call, call_json, place, tmp_path):
    pytest.importorskip("ml_collections")
    (tmp_path / "mine.py").write_text(CONFIG % ("finetune", str(place / "train.csv"), str(place / "model")))
    result = call_json("finetune", "--config", "mine.py", "--out", "run", "--steps", 1)
    assert (result["steps"], result["videos"], result["started_from"]) == (1, 4, str(place / "model"))
    (tmp_path / "other.py").write_text(CONFIG % ("retrieval", "", ""))
    assert_one_error(
        call("finetune", "--config", "other.py", "--out", "x"),
        "a config with task = 'finetune' is needed; other.py has 'retrieval'; take configs/finetune.py",
    )


def test_a_new_classifier_is_trained_where_it_is_asked_for_alone(call, call_json, place, tmp_path):
    lines = (place / "train.csv").read_text().replace(",up", ",skiing").splitlines()[1:]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *(f"{place}/{line}" for line in lines)]))
    words = ("finetune", "--data", "list.csv", "--model", place / "model", "--out", "run", "--probe", *QUICK)
    assert_one_error(call(*words), "label is 'skiing', no class; fix these labels, or give --new-head")
    assert not (tmp_path / "run").exists()
    result = call_json(*words, "--new-head")
    assert (result["has_new_classifier"], result["classes"]) == (True, 4)


def test_an_unreadable_video_is_named_and_what_is_left_is_done_if_asked(call, place, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    lines = (place / "train.csv").read_text().splitlines()[1:]
    rows = [f"{place / line.split(',')[0]},{line.split(',')[1]}" for line in lines]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows, "bad.mp4,up"]))
    words = ("finetune", "--data", "list.csv", "--model", place / "model", "--out", "run", "--probe", *QUICK)
    assert_one_error(call(*words), "every video must be readable; bad.mp4: ")
    assert not (tmp_path / "run" / "model").exists()
    result = call(*words, "--skip-unreadable")
    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if line.startswith("error: bad.mp4: ")]
    assert (tmp_path / "run" / "model" / "config.json").exists()


@pytest.mark.parametrize(
    ("more", "message", "exit_code"),
    [
        (("--few", 3), "3 videos of each class are wanted; these classes have fewer: right (2), left (2)", 1),
        (("--set", "lerning_rate=1"), "error: --set: unknown field 'lerning_rate' (did you mean 'learning_rate'?)", 1),
        (("--set", "accumulation=3"), "batch_size = 4 is not a multiple of accumulation = 3; change these fields", 1),
        (("--set", "ema"), "a setting is name=value", 2),
        (("--schedule", "1,1,1"), "at most 2 entries for 2 layers; got 3", 1),
        (("--schedule", "abc"), "abc", 2),
        (("--method", "tom"), "did you mean 'tome'?", 2),
        (("--val", "none.csv"), "none.csv", 1),
        (("--model", "moving-object"), "did you mean 'moving-objects'?", 1),
        (("--config", "none.py:few"), "there is no 'none.py'", 1),
        (("--resume",), "there must be a run to go on with; run has none; leave --resume out", 1),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(call, words, more, message, exit_code):
    assert_one_error(call("finetune", *words, *QUICK, *more), message, exit_code=exit_code)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("lerning_rate=1", "unknown field 'lerning_rate'"),
        ("schedule='x'", "schedule = 'x' is no schedule"),
        ("schedule='1x9'", "the schedule must fit the model: at most 2 entries for 2 layers; got 9"),
    ],
)
def test_a_config_that_says_nonsense_is_named(call, words, tmp_path, recipe, message):
    text = f"return ml_collections.ConfigDict(dict(task='finetune', recipe=dict({recipe})))"
    (tmp_path / "mine.py").write_text(f"import ml_collections\n\n\ndef get_config():\n    {text}\n")
    assert_one_error(call("finetune", *words, "--config", "mine.py"), f"error: mine.py: {message}")


def test_what_is_needed_is_asked_for(call, tmp_path, place):
    assert_one_error(call("finetune", "--out", "run"), "--data is needed: a list of videos", exit_code=2)
    assert_one_error(call("finetune", "--data", "x.csv"), "--out", exit_code=2)
    (tmp_path / "empty.csv").write_text("path,label\n")
    words = ("--data", "empty.csv", "--model", place / "model", "--out", "run")
    assert_one_error(call("finetune", *words), "it lists no video; fix these lines")
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_said_with_how_to_get_it(call, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    result = call("finetune", *words, "--probe", *QUICK, "--tensorboard")
    assert_one_error(result, "pip install 'vidtldr-jax[train]', or leave --tensorboard out")
