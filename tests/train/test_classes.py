"""Whose classes a run is about: the model's, or the list's where a new classifier is asked for."""

import json

import pytest

from vidtldr_jax.data.manifest import read_manifest
from vidtldr_jax.train.classes import Classes, find_classes
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.trust.limits import LimitError

MODEL = {"model_names": ["left", "right", "up"], "model_count": 3}
NUMBERED = {"model_names": None, "model_count": 3}


def write(folder, *labels, as_json=False):
    path = folder / "list"
    lines = ["path, label", *(f"{n}.mp4, {label}" for n, label in enumerate(labels))]
    if as_json:
        lines = [json.dumps({"path": f"{n}.mp4", "label": label}) for n, label in enumerate(labels)]
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("as_json", [False, True])
def test_names_that_are_the_models_keep_its_classifier(tmp_path, as_json):
    found = find_classes(write(tmp_path, "up", "left", as_json=as_json), **MODEL)
    assert found == Classes(3, ("left", "right", "up"), False, ())


@pytest.mark.parametrize("as_json", [False, True])
def test_a_number_among_names_is_the_models_class_as_in_evaluations(tmp_path, as_json):
    path = write(tmp_path, "up", "1", "left", as_json=as_json)
    found = find_classes(path, **MODEL)
    assert found == Classes(3, ("left", "right", "up"), False, ())
    entries = read_manifest(path, class_names=[found.names], num_classes=[found.num_classes])
    assert [entry.labels for entry in entries] == [(2,), (1,), (0,)]


def test_other_labels_are_refused_and_never_replace_the_classifier(tmp_path):
    with pytest.raises(TrainError) as caught:
        find_classes(write(tmp_path, "ski", "left", "lefft", "ski", 3), **MODEL)
    text = str(caught.value)
    assert (
        "line 2: label is 'ski', no class; line 4: label is 'lefft', no class (nearest: 'left'); line 6: label" in text
    )
    assert text.endswith("give --new-head (Recipe(new_head=True)) to train a classifier of the list's own 4")
    with pytest.raises(TrainError, match=r"line 3: label is 4, and classes are 0 to 2"):
        find_classes(write(tmp_path, 0, 4), **NUMBERED)
    with pytest.raises(TrainError, match=r"line 2: label is 'up', and classes are numbers here"):
        find_classes(write(tmp_path, "up", 0), **NUMBERED)


def test_a_name_of_two_classes_is_refused_and_numbers_are_asked_for(tmp_path):
    model = {"model_names": ["crane", "dog", "crane"], "model_count": 3}
    with pytest.raises(TrainError, match=r"label is 'crane', the name of classes 0, 2; give the number of the one"):
        find_classes(write(tmp_path, "dog", "crane"), **model)
    found = find_classes(write(tmp_path, "dog", "2", "0"), **model)
    assert (found.is_new, found.names) == (False, ("crane", "dog", "crane"))
    assert found.notes[0] == "names of several classes, which a list of videos gives by number: 'crane' (0, 2)"


def test_a_list_with_thousands_of_other_labels_is_answered_in_one_short_line(tmp_path):
    with pytest.raises(TrainError, match=r"\.\.\. and 19,980 more") as caught:
        find_classes(write(tmp_path, *(f"name {n}" for n in range(20_000))), **MODEL)
    assert len(str(caught.value)) < 4000


def test_numbers_are_the_models(tmp_path):
    assert find_classes(write(tmp_path, 0, 2), **MODEL)[:3] == (3, ("left", "right", "up"), False)
    assert find_classes(write(tmp_path, 0, 2), **NUMBERED) == Classes(3, None, False, ())


def test_a_new_classifier_has_the_lists_classes_names_in_alphabetical_order_or_numbers(tmp_path):
    forgotten = find_classes(write(tmp_path, "up", "left"), **MODEL, new_head=True)
    assert forgotten == Classes(2, ("left", "up"), True, ("a new classifier of 2 classes is trained",))
    assert find_classes(write(tmp_path, 0, 4), **MODEL, new_head=True)[:3] == (5, None, True)
    none = find_classes(write(tmp_path, "b", "a"), model_names=None, model_count=None)
    assert none == Classes(2, ("a", "b"), True, ("the model has no classifier: a new one of 2 classes is trained",))


def test_names_of_a_new_classifier_that_can_be_mistaken_are_told(tmp_path):
    found = find_classes(write(tmp_path, "Ski", "7", "ski"), **MODEL, new_head=True)
    assert found.names == ("7", "Ski", "ski")
    assert found.notes[1:] == (
        "labels are names here, those in digits too (['7'])",
        "names of classes that differ in capitals, spaces or the form of their Unicode alone: 'Ski' (1) and 'ski' (2)",
    )


def test_one_class_is_refused_and_a_number_asks_for_no_memory(tmp_path):
    with pytest.raises(TrainError, match=r"two classes or more; all videos of .* are 'ski'; label videos of another"):
        find_classes(write(tmp_path, "ski", "ski"), **MODEL, new_head=True)
    with pytest.raises(LimitError, match=r"at most 1,048,576 .*; got 1,000,000,001; set VIDTLDR_MAX_CLASSES"):
        find_classes(write(tmp_path, 0, 1_000_000_000), **MODEL, new_head=True)
