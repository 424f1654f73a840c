"""evaluate retrieval: configs, and one line for everything that does not do."""

import pytest

from tests.cli.retrieval_place import (
    EQUAL_SHAPES,
    MAX_TOKENS,
    evaluate,
    list_plainly,
    make_place,
    without_times,
)
from tests.cli.test_main import ROOT, assert_one_error
from tests.cli.umt_sets import MOST_TOKENS, WORDS, make_umt, make_vocab, save_again
from vidtldr_jax.search.features import read_features

CONFIG = """
import ml_collections

def get_config(arg="8"):
    return ml_collections.ConfigDict({{
        "task": "retrieval", "dataset": "tiny", "split": "val", "annotation": {annotation!r}, "videos": {videos!r},
        "max_text_tokens": 16, "paragraph": True, "first_seconds": 0.2, "num_frames": 4, "k_test": int(arg),
        "schedule": "20,8", "checkpoint": {checkpoint!r},
        "architecture": {{"dim": 24, "depth": 3, "text_dim": 24, "fusion_from_layer": 2, "embed_dim": 16}},
        "published": {{"unit": "mean R@1 in percent", "plain": 50.0, "merged": None}},
        {more}
    }}).lock()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory)


def write_config(place, path, more=""):
    names = {name: str(value) for name, value in (("videos", place.folder), ("checkpoint", place.checkpoint))}
    annotation = str(place.folder / "paragraphs.json")
    path.write_text(CONFIG.format(annotation=annotation, more=more, **names))
    return path


def test_a_config_says_it_all_and_options_go_before_it(call, call_json, place, tmp_path):
    path = write_config(place, tmp_path / "config.py")
    found = call_json("evaluate", "retrieval", "--config", path, "--batch-size", 4)
    words = ("--first-seconds", 0.2, "--paragraph", "--k-test", 8)
    asked = evaluate(call_json, place, "paragraphs", *words)
    names = ("results", "protocol", "counts", "schedule", "preprocessing", "k_test", "max_text_tokens", "paragraph")
    assert {name: found[name] for name in names} == {name: asked[name] for name in names}
    assert (found["k_test"], found["paragraph"], found["preprocessing"]["first_seconds"]) == (8, True, 0.2)
    assert (found["dataset"], found["split"], found["config"]) == ("tiny", "val", str(path))
    assert found["published"] == {"unit": "mean R@1 in percent", "plain": 50.0, "merged": None}
    text = call("evaluate", "retrieval", "--config", path, "--batch-size", 4).stdout
    assert "published   plain 50.0: mean R@1 in percent" in text
    assert "data set    tiny, split val" in text
    write_config(place, path, "'max_text_tokens': 21,")  # more than the model reads
    words = ("--no-paragraph", "--max-text-tokens", MAX_TOKENS, "--annotation", place.folder / "plain.json")
    other = call_json("evaluate", "retrieval", "--config", f"{path}:5", "--batch-size", 4, *words)
    assert "captions of at most 16 tokens; ITC, then ITM of the 5 most similar" in other["protocol"]


def test_a_config_of_another_architecture_is_refused(call, place, tmp_path):
    annotation = ("--annotation", place.folder / "plain.json", "--model", place.checkpoint)
    shipped = f"{ROOT}/configs/retrieval.py:msrvtt,b16"
    result = call("evaluate", "retrieval", "--config", shipped, *annotation)
    assert_one_error(result, ": the checkpoint has depth = 3, not 12; dim = 24, not 768; embed_dim = 16, not 512; ")
    more = "'architecture': {'dimension': 3, 'depths': 3, 'embed_dim': 17},"
    path = write_config(place, tmp_path / "config.py", more)
    result = call("evaluate", "retrieval", "--config", path)
    assert_one_error(
        result, "unknown field 'depths' (did you mean 'depth'?); unknown field 'dimension'; embed_dim = 16"
    )
    for schedule, fault in (("1x9", "at most 3 entries for 3 layers; got 9"), ("x", "entries are numbers; got 'x'")):
        path = write_config(place, tmp_path / "config.py", f"'schedule': '{schedule}',")
        assert_one_error(call("evaluate", "retrieval", "--config", path), f"error: {path}: {fault}")
    path = write_config(place, tmp_path / "config.py", "'task': 'question_answering',")
    assert_one_error(call("evaluate", "retrieval", "--config", path), "'question_answering'; take evaluate qa")
    path = write_config(place, tmp_path / "config.py", "'task': 'classification',")
    result = call("evaluate", "retrieval", "--config", path)
    assert_one_error(result, "has 'classification'; take configs/retrieval.py or configs/qa.py")
    path = write_config(place, tmp_path / "config.py", "'checkpoint': '',")
    assert_one_error(call("evaluate", "retrieval", "--config", path), "--model is needed", exit_code=2)
    path = write_config(place, tmp_path / "config.py", "'annotation': '',")
    assert_one_error(call("evaluate", "retrieval", "--config", path), "--annotation is needed", exit_code=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"video": "0.mp4", "caption": "w1"}', "an annotation is JSON"),
        ('{"video": "0.mp4"}', "it is dict, not a list"),
        ("[]", "it lists no video"),
        ('[{"video": "0.mp4", "caption": "w1"}, {"video": "1.mp4"}]', "entry 1: no caption; fix"),
        ('[{"caption": "w1"}, 3]', "entry 0: no video; entry 1: no object; fix"),
        ('[{"video": "0.mp4", "caption": ["w1", "... !"]}]', "entry 0: the caption '... !' has no words"),
        ('[{"video": "0.mp4", "caption": []}]', "entry 0: caption is neither a text nor a list of texts"),
    ],
)
def test_an_annotation_that_does_not_do_is_one_error(call, place, tmp_path, content, message):
    path = tmp_path / "annotation.json"
    path.write_text(content)
    result = call("evaluate", "retrieval", "--annotation", path, *place.words, "--out", tmp_path / "r.json")
    assert_one_error(result, message)
    assert [file.name for file in tmp_path.iterdir()] == ["annotation.json"]


def test_checkpoints_that_do_not_do_are_one_error(call, place, model, tmp_path):
    annotation = place.folder / "plain.json"
    command = ("evaluate", "retrieval", "--annotation", annotation, "--videos", place.folder, *EQUAL_SHAPES)
    answering = make_umt(tmp_path, "question_answering")
    result = call(*command, "--model", answering)
    assert_one_error(result, "is a UMT for question_answering; take vidtldr evaluate qa, or another checkpoint")
    assert_one_error(call(*command, "--model", model), "is a video_vit model; take another checkpoint")
    assert_one_error(call(*command, "--model", "nowhere"), "'nowhere'")
    bare = save_again(place.checkpoint, tmp_path / "bare", with_tokenizer=False)
    assert_one_error(call(*command, "--model", bare), "this one has none; give --tokenizer, the model's vocab.txt or")
    short = make_vocab(tmp_path, WORDS[:72])
    result = call(*command, "--model", place.checkpoint, "--tokenizer", short)
    assert_one_error(result, f"a tokenizer has as many words as its model, 80; {short} has 72")
    result = call(*command, "--model", place.checkpoint, "--tokenizer", tmp_path / "no.txt")
    assert_one_error(result, "no.txt can't be read")


def test_wrong_uses_are_one_error(call, place, tmp_path):
    command = ("evaluate", "retrieval", *place.words)
    listed = (*command, "--annotation", place.folder / "many.json")
    assert_one_error(call(*command), "--annotation is needed", exit_code=2)
    assert_one_error(call("evaluate", "retrieval"), "--model is needed", exit_code=2)
    assert_one_error(call(*command, "--annotation", "no.json"), "no.json")
    texts = len(list_plainly(place.entries["many"])[1])
    result = call(*listed, "--k-test", 42)
    assert_one_error(result, f"--k-test is at most the number of videos, 41, and of texts, {texts}; got 42")
    result = call(*listed, "--max-text-tokens", MOST_TOKENS + 1)
    assert_one_error(result, "a text has at most 20 tokens in this model; got 21; allow fewer")
    assert_one_error(call(*listed, "--out", "result.txt"), "--out is a file that ends in .json")
    assert_one_error(call(*listed, "--schedule", "1,1,1,1"), "error: --schedule: at most 3 entries for 3 layers")
    assert_one_error(call(*listed, "--config", "no.py"), "there is no 'no.py'")
    assert not list(tmp_path.iterdir())


def test_what_another_run_left_is_refused_and_restart_begins_anew(call, call_json, place, tmp_path):
    out = ("--out", tmp_path / "r.json", "--keep-features")
    evaluate(call_json, place, "plain", "--k-test", 4, "--limit", 8, *out)
    command = ("evaluate", "retrieval", "--annotation", place.folder / "plain.json", *place.words, "--k-test", 4, *out)
    refused = call(*command, "--schedule", "20")
    assert_one_error(refused, 'features/videos has features of another run: schedule was "20,8", now "20"; give')
    assert_one_error(call(*command, "--max-text-tokens", 15), "features/texts has features of another run: max_text_")
    refused = call(*command)
    assert_one_error(refused, "r.records.jsonl was begun by another run: counts was [8, 8], now [12, 12]; give another")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    refused = call(*command, "--limit", 8, "--k-test", 3)
    assert_one_error(
        refused, "r.records.jsonl was begun by another run: k was 4, now 3; give another place, or --restart"
    )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before
    anew = call_json(*command, "--restart")
    fresh = evaluate(call_json, place, "plain", "--k-test", 4)
    assert without_times(anew) == without_times(fresh)
    assert anew["seconds_of_this_start"]["videos"]["known_before"] == 0
    assert len(read_features(tmp_path / "r.features" / "videos")) == 12


def test_frames_that_do_not_fit_are_named_with_their_option_or_config(call, place, tmp_path, monkeypatch):
    def refuse(params, config):
        raise ValueError(f"a table is of 4 frames; got {config.num_frames}")

    monkeypatch.setattr("vidtldr_jax.inference.checkpoint.check_params", refuse)
    path = write_config(place, tmp_path / "config.py", "'num_frames': 2,")
    for words, fault in (
        ((), f"{path}: a table is of 4 frames; got 2"),
        (("--frames", 6), "--frames: a table is of 4 "),
    ):
        assert_one_error(call("evaluate", "retrieval", "--config", path, *words), f"error: {fault}")
