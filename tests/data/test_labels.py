"""Labels mean names before numbers, a name of several classes means none, and what looks alike is told."""

import unicodedata

import pytest

from vidtldr_jax.data.labels import Labels, describe_similar

NAMES = ["crane", "dog", "crane", "7", "Ski"]


@pytest.mark.parametrize(
    ("label", "number"),
    [
        ("dog", 1), (" dog ", 1), ("Ski", 4), ("1", 1), (1, 1), ("0", 0), (2, 2), ("7", 3), (7, 3), ("004", 4),
        ("crane", None), ("5", None), (5, None), (-1, None), ("-1", None), ("ski", None), ("", None), (True, None),
        (None, None), (1.0, None), ("1.0", None), ("\u0661", None), (["dog"], None), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_a_label_is_a_name_or_else_a_number(label, number):
    assert Labels(NAMES, None).find(label) == number


def test_without_names_labels_are_numbers():
    assert [Labels(None, 3).find(label) for label in ("2", 2, "3", "dog")] == [2, 2, None, None]
    assert Labels(None, None).find("300") == 300


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("crane", "is 'crane', the name of classes 0, 2; give the number of the one that is meant"),
        (" Crane", "is 'Crane', no class (nearest: 'crane', which differs in capitals, spaces or the form of its"),
        ("dgo", "is 'dgo', no class (nearest: 'dog')"),
        ("x" * 500, "is 'xxx"),
        (5, "is 5, and classes are 0 to 4"),
        (1.5, "is 1.5, neither a name nor a number"),
        ("\ud800", "is '\\ud800', neither a name nor a number"),
        ("", "is '', no class"),
        ("\u200bdog", "is '\\u200bdog', no class (nearest: 'dog', which differs in capitals, spaces or the form"),
    ],
)
def test_what_is_wrong_is_said(label, message):
    text = Labels(NAMES, None).explain(label)
    assert text.startswith(message)
    assert len(text) < 200


def test_a_name_that_is_spelt_in_another_form_of_unicode_is_told_apart():
    composed = "Caf\u00e9"
    assert "which differs in" in Labels([composed], None).explain(unicodedata.normalize("NFD", composed))


def test_what_is_written_is_read_as_the_same_class():
    labels = Labels(NAMES, None)
    assert [labels.write(number) for number in range(5)] == ["0", "dog", "2", "7", "Ski"]
    assert [labels.find(labels.write(number)) for number in range(5)] == list(range(5))
    assert Labels(None, 3).write(2) == "2"


@pytest.mark.parametrize(
    "names", [["2", "dog", "dog"], ["1", "1"], ["2", "02", "x", "x"], ["", " ", "a"], ["01", "01"]]
)
def test_the_number_of_a_class_is_never_read_as_another_one_s_name(names):
    labels = Labels(names, None)
    assert [labels.find(labels.write(number)) for number in range(len(names))] == list(range(len(names)))


def test_the_numbers_that_are_asked_for_are_those_that_are_read():
    message = Labels(["2", "dog", "dog"], None).explain("dog")
    assert message == "is 'dog', the name of classes 1, 02; give the number of the one that is meant"
    (note,) = describe_similar(["2", "dog", "dog"])
    assert note.endswith("by number: 'dog' (1, 02)")


def test_an_empty_label_is_no_class_even_where_one_has_no_name():
    for label in ("", " ", "\u00a0"):
        assert Labels(["", "a"], None).find(label) is None


def test_names_that_can_be_mistaken_are_told():
    assert describe_similar(["dog", "cat"]) == ()
    repeated, alike = describe_similar([*NAMES, " ski", "dog  house", "dog house", "dog"])
    assert repeated == "names of several classes, which a list of videos gives by number: 'crane' (0, 2); 'dog' (1, 8)"
    assert alike.endswith("alone: 'Ski' (4) and 'ski' (5); 'dog  house' (6) and 'dog house' (7)")
    (many,) = describe_similar(["a"] * 1000 + [str(number) for number in range(100) for _ in range(2)])
    assert len(many) < 1000
    assert many.endswith("; ... and 81 more")
