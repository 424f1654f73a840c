"""Evaluators called from Python give what their commands print as JSON, and fit a notebook and a training loop."""

import json
import typing

import chex
import jax
import numpy as np
import pytest

import vidtldr_jax as vt
from tests.cli.conftest import LABELS
from tests.cli.retrieval_place import MAX_TOKENS, SCHEDULE, make_place
from tests.cli.umt_sets import PLAIN_WORDS, make_umt, make_videos
from tests.data.making import write_video
from vidtldr_jax.evaluation.question_answering import QuestionAnsweringResult
from vidtldr_jax.evaluation.retrieval import RetrievalResult
from vidtldr_jax.models.video_vit import VideoViT
from vidtldr_jax.trust.records import RecordsError

# What a command adds, and what differs from start to start.
OF_COMMANDS = {"model", "config", "devices", "dataset", "split", "published"}
TIMES = {"seconds", "seconds_of_this_start"}


def compare(found, printed, kind):
    """A result of Python against the JSON of a command."""
    assert set(found) == set(typing.get_type_hints(kind))
    assert json.loads(json.dumps(found)) == found
    assert set(printed) - set(found) <= OF_COMMANDS
    one, other = ({name: value for name, value in result.items() if name not in TIMES} for result in (found, printed))
    assert one == {name: other[name] for name in one}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A manifest of three videos, one of which is no video."""
    folder = tmp_path_factory.mktemp("labelled")
    for number in range(2):
        write_video(folder / f"{number}.mp4", num_frames=15, width=66, first_number=50 * number)
    (folder / "bad.mp4").write_text("no video\n" * 50)
    lines = ["path,label", *(f"{name}.mp4,{label}" for name, label in zip(("0", "1", "bad"), LABELS))]
    (folder / "val.csv").write_text("\n".join(lines))
    return folder


def test_classification_is_that_of_the_command(call_json, model, labelled):
    words = ("--model", model, "--manifest", labelled / "val.csv", "--schedule", "2", "--compare-plain")
    printed = call_json("evaluate", "classification", *words, "--clips", 2, exit_code=1)
    loaded = vt.load_model(model, schedule="2")
    recipe = loaded.preprocessing.__class__(**{**loaded.preprocessing.to_dict(), "num_clips": 2})
    found = vt.evaluation.evaluate_classification(
        loaded.with_preprocessing(recipe), labelled / "val.csv", compare_plain=True, checkpoint=model
    )
    for way in (*found["ways"].values(), *printed["ways"].values()):
        assert way.pop("computing_seconds_per_video") > 0
    compare(found, printed, vt.evaluation.ClassificationResult)
    assert list(found["errors"]) == ["bad.mp4"]
    assert found["counts"]["evaluated"] == 3


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (("--k-test", 4, "--limit", 7), {"k_test": 4, "limit": 7}),
        (("--no-rerank", "--paragraph"), {"rerank": False, "is_paragraph": True}),
    ],
)
def test_retrieval_is_that_of_the_command(call_json, place, words, options):
    annotation = place.folder / "paragraphs.json"
    printed = call_json("evaluate", "retrieval", "--annotation", annotation, *place.words, *words)
    found = vt.evaluation.evaluate_retrieval(
        place.model, annotation, place.folder, max_text_tokens=MAX_TOKENS, checkpoint=place.checkpoint, **options
    )
    compare(found, printed, RetrievalResult)
    assert found["schedule"]["text"] == SCHEDULE


def test_question_answering_is_that_of_the_command(call_json, tmp_path):
    checkpoint, names = make_umt(tmp_path, "question_answering"), make_videos(tmp_path, 3)
    rows = [(names[0], 1), (names[1], 2), (names[0], 3), (names[2], 4)]
    entries = [
        {"video": name, "question": " ".join(PLAIN_WORDS[n : n + 5]), "answer": PLAIN_WORDS[n], "question_id": n}
        for name, n in rows
    ]
    annotation, answers = tmp_path / "qa.json", tmp_path / "answers.json"
    annotation.write_text(json.dumps(entries))
    answers.write_text(json.dumps(PLAIN_WORDS[:6]))
    words = ("--model", checkpoint, "--annotation", annotation, "--answers", answers, "--schedule", "20,8")
    printed = call_json("evaluate", "qa", *words, "--k-test", 4, "--max-question-tokens", 16)
    loaded = vt.load_model(checkpoint, schedule="20,8")
    found = vt.evaluation.evaluate_question_answering(
        loaded, annotation, answers, k_test=4, max_question_tokens=16, checkpoint=checkpoint
    )
    compare(found, printed, QuestionAnsweringResult)
    assert found["accuracy"]["of"] == 4


def test_a_result_is_written_and_records_beside_it_are_of_these_parameters(model, labelled, tmp_path):
    out, loaded = tmp_path / "r.json", vt.load_model(model)
    steps = []

    def watch(text, /, *, total, known=0):
        steps.append((text, total, known))
        return vt.evaluation.watch_silently(text, total=total, known=known)

    options = {"out": out, "watch": watch}
    first = vt.evaluation.evaluate_classification(loaded, labelled / "val.csv", **options)
    assert json.loads(out.read_text()) == first
    assert first["checkpoint"] is None
    again = vt.evaluation.evaluate_classification(loaded, labelled / "val.csv", **options)
    assert again["ways"] == first["ways"]
    assert steps == [("evaluating", 3, 0), ("evaluating", 3, 2)]  # what can't be read is tried again
    other = jax.tree.map(lambda leaf: 2 * leaf, loaded)
    with pytest.raises(RecordsError, match="was begun by another run: checkpoint_sha256"):
        vt.evaluation.evaluate_classification(other, labelled / "val.csv", **options)
    changed = vt.evaluation.evaluate_classification(other, labelled / "val.csv", restart=True, **options)
    assert json.loads(out.read_text()) == changed


def test_a_training_loop_evaluates_its_own_parameters_without_compiling_again(model, labelled):
    loaded = vt.load_model(model, schedule="2")
    params, values = loaded.params, []
    traced, apply = [], VideoViT.apply

    def count(*arguments, **options):
        traced.append(1)
        return apply(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoViT, "apply", count)
        for step in range(3):
            params = jax.tree.map(lambda value, step=step: value * (1 + 0.1 * step), params)
            result = vt.evaluation.evaluate_classification(
                loaded.with_params(params), labelled / "val.csv", skip_missing=True, batch_size=3
            )
            values.append(result["ways"]["merged"]["accuracy"]["label"]["top_1"]["value"])
    assert len(traced) <= 1
    assert all(0 <= value <= 1 for value in values)


@pytest.mark.parametrize("scan_layers", [False, True])
def test_other_parameters_give_other_outputs_and_wrong_ones_are_refused(model, scan_layers):
    loaded = vt.load_model(model, schedule="2", scan_layers=scan_layers)
    video = np.random.default_rng(0).normal(size=(1, 4, 16, 16, 3)).astype(np.float32)
    same = loaded.with_params(loaded.params)
    chex.assert_trees_all_equal(same.weights, loaded.weights)
    doubled = loaded.with_params(jax.tree.map(lambda leaf: 2 * leaf, loaded.params))
    expected = jax.tree.map(lambda leaf: 2 * leaf, loaded).classify(video)
    np.testing.assert_array_equal(doubled.classify(video), expected)
    with pytest.raises(ValueError, match="head/kernel"):
        loaded.with_params({name: value for name, value in loaded.params.items() if name != "head"})


def test_a_checkpoint_goes_by_its_name_too(tmp_path):
    clips, loaded = vt.find_sample_clip().parent, vt.load_model("moving-objects")
    (tmp_path / "val.csv").write_text("path,label\nleft.mp4,left\n")
    options = {"checkpoint": "moving-objects", "out": tmp_path / "r.json"}
    found = vt.evaluation.evaluate_classification(loaded, tmp_path / "val.csv", clips, **options)
    assert found["checkpoint"] == "moving-objects"
    assert len(found["checkpoint_sha256"]) == 64


def test_wrong_arguments_are_named_as_python_names_them(model, labelled, place, tmp_path):
    loaded = vt.load_model(model)
    with pytest.raises(vt.evaluation.ArgumentError, match=r"^compare_plain needs a schedule that merges; got none"):
        vt.evaluation.evaluate_classification(loaded, labelled / "val.csv", compare_plain=True)
    with pytest.raises(vt.evaluation.ArgumentError, match=r"^out is a file that ends in .json; 'r.txt' is not"):
        vt.evaluation.evaluate_classification(loaded, labelled / "val.csv", out="r.txt")
    listed = tmp_path / "val.json"
    listed.write_text((labelled / "val.csv").read_text())
    with pytest.raises(ValueError, match="what is read is not written over; out would replace"):
        vt.evaluation.evaluate_classification(loaded, listed, labelled, out=listed)
    with pytest.raises(vt.evaluation.ArgumentError, match=r"^k_test is at most the number of videos"):
        vt.evaluation.evaluate_retrieval(place.model, place.folder / "plain.json", k_test=1000)
    message = "videos must exist; 3 of 3 don't: .*; fix the folder of the videos, or pass skip_missing=True"
    with pytest.raises(vt.evaluation.MissingVideosError, match=message):
        vt.evaluation.evaluate_classification(loaded, labelled / "val.csv", tmp_path)
