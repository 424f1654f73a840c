"""Manifests: both formats, labels by name and number, several labels, and every fault with its line."""

import json

import pytest

from vidtldr_jax.data.manifest import read_manifest

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
        ('{"path": "a.mp4", "label": true}\n', "label is True, and classes are numbers here"),
        ('{"path": "a.mp4", "lbl": 1}\n', "line 1: no column 'label' .there is 'lbl'."),
        (b"path,label\n\xff.mp4,1\n", "it is not UTF-8 text"),
    ],
)
def test_faults_are_named_with_their_lines(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_manifest(write(tmp_path, text), class_names=[NAMES])


def test_all_faults_come_together_and_many_are_counted(tmp_path):
    lines = "".join(f"{number}.mp4,none\n" for number in range(30))
    with pytest.raises(ValueError, match=r"line 2: label .*; line 11: label .*; and 20 more; mend") as error:
        read_manifest(write(tmp_path, f"path,label\n{lines}"))
    assert "line 12" not in str(error.value)
