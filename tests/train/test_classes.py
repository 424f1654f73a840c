"""Whose classes a run is about: the model's or the list's."""

import json

import pytest

from vidtldr_jax.train.classes import Classes, find_classes
from vidtldr_jax.train.errors import TrainError

MODEL = {"model_names": ["left", "right", "up"], "model_count": 3}


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
    assert found == Classes(3, ("left", "right", "up"), False, "")


def test_other_names_are_classes_of_their_own_in_alphabetical_order(tmp_path):
    found = find_classes(write(tmp_path, "ski", "left", "lefft", "ski"), **MODEL)
    assert found[:3] == (3, ("lefft", "left", "ski"), True)
    assert "'lefft' (nearest: 'left') is none of the model's 3 classes" in found.note


def test_numbers_are_the_models_as_long_as_it_has_so_many(tmp_path):
    named = find_classes(write(tmp_path, 0, 2), **MODEL)
    assert named[:3] == (3, ("left", "right", "up"), False)
    assert "labels are numbers: those of the model's 3 classes" in named.note
    assert find_classes(write(tmp_path, 0, 2), model_names=None, model_count=3) == Classes(3, None, False, "")
    more = find_classes(write(tmp_path, 0, 4), model_names=None, model_count=3)
    assert more[:3] == (5, None, True)
    assert "the model's 3 classes are numbers" in more.note


def test_a_model_without_a_classifier_gets_one_and_its_own_can_be_forgotten(tmp_path):
    found = find_classes(write(tmp_path, "b", "a"), model_names=None, model_count=None)
    assert found == Classes(2, ("a", "b"), True, "the model has no classifier: a new one of 2 classes is trained")
    forgotten = find_classes(write(tmp_path, "up", "left"), **MODEL, forget_model=True)
    assert forgotten == Classes(2, ("left", "up"), True, "a new classifier of 2 classes is trained")


def test_one_class_is_refused(tmp_path):
    with pytest.raises(TrainError, match=r"two classes or more; all videos of .* are 'ski'; label videos of another"):
        find_classes(write(tmp_path, "ski", "ski"), **MODEL)
