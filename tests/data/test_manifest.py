"""Manifests: both formats, labels by name and number, several labels, and every fault with its line."""

import difflib
import json
import os

import pytest

from vidtldr_jax.data.manifest import read_manifest
from vidtldr_jax.trust.regular import NotRegularError

NAMES = ["diving", "skiing", "high jump"]


def write(tmp_path, text, name="list.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_csv_and_json_lines_say_the_same(tmp_path):
    table = write(tmp_path, 'path,seconds,label\na.mp4,3,diving\n"b, c.mp4",4,2\n')
    rows = [{"path": "a.mp4", "label": "diving"}, {"path": "b, c.mp4", "label": 2}]
    lines = write(tmp_path, "\n".join(map(json.dumps, rows)), "list.jsonl")
    for path in (table, lines):
        first, second = read_manifest(path, class_names=[NAMES])
        assert (first.name, first.path, first.labels) == ("a.mp4", tmp_path / "a.mp4", (0,))
        assert (second.name, second.path, second.labels) == ("b, c.mp4", tmp_path / "b, c.mp4", (2,))


def test_a_mark_blank_lines_and_windows_line_ends_do_no_harm(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbfpath, label\r\n\r\na.mp4, high jump\r\n")
    assert read_manifest(path, class_names=[NAMES])[0].labels == (2,)
    path = write(tmp_path, b'\xef\xbb\xbf\r\n{"path": "a.mp4", "label": "1"}\r\n\r\n', "list.json")
    assert read_manifest(path, class_names=[NAMES])[0].labels == (1,)


def test_a_root_and_absolute_paths(tmp_path):
    path = write(tmp_path, "path,label\na.mp4,0\n/videos/b.mp4,0\n")
    assert [str(entry.path) for entry in read_manifest(path, root="/data")] == ["/data/a.mp4", "/videos/b.mp4"]


def test_several_labels_have_a_column_each(tmp_path):
    path = write(tmp_path, "verb,path,noun\n3,a.mp4,cup\n")
    entries = read_manifest(path, columns=("noun", "verb"), class_names=[["pan", "cup"], None], num_classes=(None, 97))
    assert entries[0].labels == (1, 3)


def test_a_name_made_of_digits_is_a_name(tmp_path):
    path = write(tmp_path, "path,label\na.mp4,7\nb.mp4,1\n")
    assert [entry.labels for entry in read_manifest(path, class_names=[["5", "7"]])] == [(1,), (1,)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column 'path' among none; no column 'label'"),
        ("path,label\n", "it lists no video"),
        ("path,lable\na.mp4,1\n", r"line 1: no column 'label' \(there is 'lable'\)"),
        ("path,label\na.mp4,1\na.mp4,2\n", "line 3: a.mp4 was on line 2 already"),
        ("path,label\n,1\n", "line 2: no path"),
        ("path,label\na.mp4,1,2\n", "line 2: 3 fields under 2 columns"),
        ("path,label\na.mp4,skying\n", r"line 2: label is 'skying', no class \(nearest: 'skiing'\)"),
        ("path,label\na.mp4,3\n", "line 2: label is 3, and classes are 0 to 2"),
        ("path,label\na.mp4,-1\n", "line 2: label is '-1', no class"),
        ("path,label\na.mp4,\n", "line 2: label is '', no class"),
        ('path,label\n"a.mp4,1\n', "line [23]: no CSV"),
        ('{"path": "a.mp4", "label": 1}\nnonsense\n', "line 2: no JSON"),
        ('{"path": "a.mp4", "label": 1}\n[1, 2]\n', "line 2: no object with path, label"),
        ('{"path": "a.mp4", "label": 1, "label": 2}\n', r"line 1: no JSON \(the name 'label' is there twice"),
        ("path,label,label\na.mp4,1,2\n", "line 1: the column 'label' is there more than once"),
        ('{"path": "a.mp4", "label": true}\n', "label is True, neither a name nor a number"),
        ('{"path": "a.mp4", "lbl": 1}\n', "line 1: no column 'label' .there is 'lbl'."),
        (b"path,label\n\xff.mp4,1\n", "it is not UTF-8 text"),
    ],
)
def test_faults_are_named_with_their_lines(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_manifest(write(tmp_path, text), class_names=[NAMES])


def test_all_faults_come_together_and_many_are_counted(tmp_path, monkeypatch):
    path = write(tmp_path, "path,label\n" + "".join(f"{number}.mp4,none\n" for number in range(30)))
    with pytest.raises(ValueError, match=r"line 2: label .*; line 21: label .*; ... and 10 more; fix") as error:
        read_manifest(path)
    assert "line 22" not in str(error.value)
    monkeypatch.setenv("VIDTLDR_MAX_FAULTS", "3")
    with pytest.raises(
        ValueError, match=r"; line 4: label is 'none', and classes are numbers here; ... and 27 more; fix"
    ):
        read_manifest(path)


def test_a_nearest_name_is_looked_for_where_it_is_told_alone(tmp_path, monkeypatch):
    asked, find = [], difflib.get_close_matches
    monkeypatch.setattr(difflib, "get_close_matches", lambda *args, **options: asked.append(args) or find(*args, n=1))
    lines = "".join(f"{number}.mp4,skying {number}\n" for number in range(5000))
    with pytest.raises(ValueError, match=r"is 'skying 0', no class \(nearest: 'skiing'\); .*; ... and 4,980 more; fix"):
        read_manifest(write(tmp_path, f"path,label\n{lines}"), class_names=[NAMES])
    assert len(asked) <= 20


def test_a_message_is_short_whatever_the_list_holds(tmp_path):
    long = "x" * 100_000
    texts = (
        f"path,label\na.mp4,{long}\n",
        f"path,label\n{long},0\n{long},0\n",
        ",".join(["path", *(f"{long[:5000]}{n}" for n in range(500))]),
        json.dumps({long: 1}),
        json.dumps({"path": f"{long}\0", "label": 1}),
        json.dumps({"path": "a.mp4", "label": [long]}),
        json.dumps({"path": "a.mp4", "label": long}),
        '{"path": "a.mp4", "label": ' + "9" * 4000 + "}",
    )
    for text in texts:
        with pytest.raises(ValueError, match="a manifest has path, label for every video") as error:
            read_manifest(write(tmp_path, text), class_names=[NAMES])
        assert len(str(error.value)) < 2000


def test_a_name_of_two_classes_means_neither_and_their_numbers_do(tmp_path):
    names = ["crane", "dog", "crane"]
    for label in ("crane", " crane "):
        with pytest.raises(ValueError, match=r"label is 'crane', the name of classes 0, 2; give the number of the one"):
            read_manifest(write(tmp_path, json.dumps({"path": "a.mp4", "label": label})), class_names=[names])
    path = write(tmp_path, "path,label\na.mp4,0\nb.mp4,2\nc.mp4,dog\nd.mp4,1\n")
    assert [entry.labels for entry in read_manifest(path, class_names=[names])] == [(0,), (2,), (1,), (1,)]


def test_csv_and_json_read_a_number_that_is_a_name_the_same_way(tmp_path):
    for text in ("path,label\na.mp4,1\n", '{"path": "a.mp4", "label": 1}', '{"path": "a.mp4", "label": "1"}'):
        assert read_manifest(write(tmp_path, text), class_names=[["1", "0"]])[0].labels == (0,)


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        (["diving", "1", "01", "skiing"], "['1', '01']"),
        (["0", "1", "2"], None),  # numbers alone
        (["diving", "skiing"], None),
    ],
)
def test_numbers_among_names_are_told(tmp_path, caplog, labels, numbers):
    rows = "".join(f"{n}.mp4,{label}\n" for n, label in enumerate(labels))
    read_manifest(write(tmp_path, f"path,label\n{rows}"), class_names=[NAMES])
    told = [record.getMessage() for record in caplog.records]
    list_name = tmp_path / "list.csv"
    assert told == (
        [] if numbers is None else [f"{list_name}: of label, what is no name is the number of a class: {numbers}"]
    )


def test_numbers_of_classes_that_share_a_name_are_no_surprise(tmp_path, caplog):
    read_manifest(write(tmp_path, "path,label\na.mp4,0\nb.mp4,dog\n"), class_names=[["crane", "dog", "crane"]])
    assert not caplog.records


def test_names_and_numbers_of_classes_belong_together(tmp_path):
    path = write(tmp_path, "path,noun,verb\na.mp4,0,1\n")
    with pytest.raises(ValueError, match=r"each class of 'noun' has one name; got 3 names of 4 classes; fix them"):
        read_manifest(path, columns=("noun",), class_names=[NAMES], num_classes=(4,))
    with pytest.raises(ValueError, match="got 2 columns, 1 lists of names and 2 numbers; give one of each"):
        read_manifest(path, columns=("noun", "verb"), class_names=[NAMES])


def test_a_line_of_json_may_hold_what_other_texts_end_lines_with(tmp_path):
    path = write(tmp_path, '{"path": "a\u2028b\x85.mp4", "label": 1}\r\n{"path": "c.mp4", "label": 0}\n')
    assert [entry.name for entry in read_manifest(path, class_names=[NAMES])] == ["a\u2028b\x85.mp4", "c.mp4"]


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(NotRegularError, match=r"list.csv' is a FIFO"):
        read_manifest(tmp_path / "list.csv")
