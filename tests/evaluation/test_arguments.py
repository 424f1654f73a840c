"""Wrong arguments of the evaluators are refused by name, in one line, before anything is read."""

import pytest

import vidtldr_jax as vt
from vidtldr_jax.evaluation.arguments import choose_k
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.text_model import AnsweringModel, RetrievalModel

EVALUATORS = {  # with models that were never made: they are not reached
    "classification": (vt.evaluation.evaluate_classification, VideoModel, ("nowhere.csv",)),
    "retrieval": (vt.evaluation.evaluate_retrieval, RetrievalModel, ("nowhere.json",)),
    "question answering": (vt.evaluation.evaluate_question_answering, AnsweringModel, ("nowhere.json", "nowhere.txt")),
}
COUNTS = {
    "classification": ("limit", "batch_size"),
    "retrieval": ("limit", "batch_size", "pairs_per_run", "max_text_tokens"),
    "question answering": (
        "limit", "batch_size", "questions_per_run", "max_question_tokens", "max_answer_tokens",
    ),
}  # fmt: skip


def refuse(task, model=None, **options):
    evaluate, kind, files = EVALUATORS[task]
    with pytest.raises(vt.evaluation.ArgumentError) as caught:
        evaluate(object.__new__(kind) if model is None else model, *files, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", [0, -1, "2", 1.5, True])
@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in COUNTS.items() for name in names])
def test_counts_are_whole_numbers(task, name, value):
    assert refuse(task, **{name: value}).startswith(f"{name} is a whole number, at least ")


@pytest.mark.parametrize("task", EVALUATORS)
def test_fewer_than_no_processes_are_refused(task):
    message = "num_workers is a whole number, at least 0; got -1; pass another."
    assert refuse(task, num_workers=-1) == message


@pytest.mark.parametrize("task", EVALUATORS)
def test_a_model_of_another_kind_is_refused(task):
    kind = EVALUATORS[task][1].__name__
    assert refuse(task, "moving-objects") == (
        f"model is a {kind}, as load_model makes it of a checkpoint for {task}; got str; load one."
    )


@pytest.mark.parametrize(("task", "kind"), [("retrieval", AnsweringModel), ("question answering", RetrievalModel)])
def test_a_model_for_another_task_is_refused(task, kind):
    assert f"got {kind.__name__}" in refuse(task, object.__new__(kind))


@pytest.mark.parametrize("name", ["videos", "out", "checkpoint"])
@pytest.mark.parametrize("task", EVALUATORS)
def test_what_is_no_path_is_refused(task, name):
    assert refuse(task, **{name: 3}) == f"{name} is a path; got 3; write a file and pass its path."


@pytest.mark.parametrize("task", EVALUATORS)
def test_the_number_per_run_is_needed(task):
    assert refuse(task, batch_size=None) == "batch_size is a whole number, at least 1; got None; pass another."


@pytest.mark.parametrize("listed", [None, ["0.mp4"]])
@pytest.mark.parametrize(("task", "name"), [("classification", "manifest"), ("retrieval", "annotation")])
def test_what_lists_videos_is_a_file(task, name, listed):
    evaluate, kind, _ = EVALUATORS[task]
    with pytest.raises(vt.evaluation.ArgumentError, match=f"^{name} is a path; got "):
        evaluate(object.__new__(kind), listed)


def test_an_unknown_average_is_refused():
    expected = "average is one of probabilities, logits; got 'max'; take one of these."
    assert refuse("classification", average="max") == expected


@pytest.mark.parametrize("asked", [0, -1, "2", 1.5, True])
def test_candidates_are_a_count(asked):
    with pytest.raises(vt.evaluation.ArgumentError, match=r"^k_test is a whole number, at least 1; got "):
        choose_k(asked, 128, {"answers": 7})


def test_candidates_are_at_most_what_there_is():
    assert choose_k(None, 128, {"videos": 7, "texts": 5}) == 5
    assert choose_k(None, 2, {"videos": 7, "texts": 5}) == 2
    assert choose_k(5, 128, {"videos": 7, "texts": 5}) == 5
    with pytest.raises(vt.evaluation.ArgumentError) as caught:
        choose_k(6, 128, {"videos": 7, "texts": 5})
    assert str(caught.value) == (
        "k_test is at most the number of videos, 7, and of texts, 5; got 6; take fewer, or leave it out."
    )


@pytest.fixture(scope="module")
def classifier():
    return vt.load_model("moving-objects", schedule="100,40")


@pytest.mark.parametrize("heads", [["label"], {"label": 12}, [("label", 12)], vt.evaluation.Head("label", 12)])
def test_heads_are_a_list_of_heads(classifier, heads):
    assert refuse("classification", classifier, heads=heads).startswith("heads is a list of Head(name, num_classes); ")


def test_classes_of_heads_are_those_of_the_model(classifier):
    message = refuse("classification", classifier, heads=[vt.evaluation.Head("noun", "12")])
    assert message == "num_classes is a whole number, at least 1; got '12'; pass another."
    with pytest.raises(
        ValueError, match=r"^heads have as many classes as the model, 12; got 5 \(noun\); fix the heads"
    ):
        vt.evaluation.evaluate_classification(classifier, "nowhere.csv", heads=[vt.evaluation.Head("noun", 5)])
