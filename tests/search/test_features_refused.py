"""The folder of features refuses other runs, second writers, strangers' files, damage and features of another kind."""

import json
import os
import sys

import numpy as np
import pyarrow as arrow
import pytest

from tests.search.feature_writer import RUN, make_feature
from tests.search.test_features import check, find_part, make_features, read_folder, write
from vidtldr_jax.search.features import FeaturesError, FeatureStore, read_features

NEEDS_LOCKS = "files are locked where there is fcntl"


def refuse(match, function, *args, **options):
    with pytest.raises(FeaturesError, match=match) as error:
        function(*args, **options)
    assert "\n" not in str(error.value)


def test_another_run_is_refused_with_what_differs_and_nothing_is_lost(tmp_path):
    write(tmp_path, make_features(0, 1))
    before = read_folder(tmp_path)
    other = RUN | {"schedule": "none", "preprocessing": {"num_frames": 8, "mean": (0.5, 0.5)}}
    differing = r'preprocessing\.num_frames was 4, now 8; schedule was "100,40", now "none"'
    for is_writer in (True, False):
        message = f"has features of another run: {differing}; give another place, or --restart to begin anew"
        refuse(message, FeatureStore, tmp_path, other, is_writer=is_writer)
        message = r"; \.\.\. and 4,983 more; give another place"
        refuse(message, FeatureStore, tmp_path, {str(number): 0 for number in range(5000)}, is_writer=is_writer)
    assert read_folder(tmp_path) == before
    write(tmp_path, make_features(2))
    check(read_features(tmp_path), make_features(0, 1, 2))


def test_two_writers_are_refused_and_a_reader_is_let_in(tmp_path):
    pytest.importorskip("fcntl", reason=NEEDS_LOCKS)
    with FeatureStore(tmp_path, RUN) as store:
        store.append(make_features(0))
        for options in ({}, {"restart": True}):
            refuse(r"another one has .* open; wait for it", FeatureStore, tmp_path, RUN, **options)
        check(read_features(tmp_path), make_features(0))
        store.append(make_features(1))
    write(tmp_path, make_features(2))
    check(read_features(tmp_path), make_features(0, 1, 2))


def test_an_opening_that_was_refused_keeps_nobody_out(tmp_path):
    pytest.importorskip("fcntl", reason=NEEDS_LOCKS)
    write(tmp_path, make_features(0))
    with pytest.raises(FeaturesError) as kept:
        FeatureStore(tmp_path, {})
    write(tmp_path, make_features(1))
    assert kept  # and with it whatever the refused opening held


def test_who_reads_or_has_closed_adds_nothing(tmp_path):
    with FeatureStore(tmp_path, RUN) as store:
        store.append(make_features(0))
    before = read_folder(tmp_path)
    for closed in (store, read_features(tmp_path)):
        refuse(r"is closed or reads; open another", closed.append, make_features(1))
        check(closed, make_features(0))
    assert read_folder(tmp_path) == before


def test_a_part_that_points_nowhere_is_told(tmp_path):
    write(tmp_path, make_features(0))
    path = find_part(tmp_path, 0)
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"part-000000-.*\.arrow"):
        read_features(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", "notes.tmp", "part-1.arrow", "folder/"])
@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path, name, restart):
    stranger = tmp_path / name
    stranger.mkdir() if name.endswith("/") else stranger.write_text("mine")
    refuse(
        rf"nothing else in it; .* has {stranger.name}; give another place", FeatureStore, tmp_path, RUN, restart=restart
    )
    assert list(tmp_path.iterdir()) == [stranger]


@pytest.mark.skipif(os.name != "posix", reason="links and FIFOs are those of POSIX")
@pytest.mark.parametrize(
    ("make", "kind"), [(lambda path: os.mkfifo(path), "a FIFO"), (lambda path: path.symlink_to("mine"), "a link")]
)
def test_a_lock_that_is_no_file_is_told_and_left_alone(tmp_path, make, kind):
    write(tmp_path, make_features(0))
    (tmp_path / "lock").unlink()
    make(tmp_path / "lock")
    refuse(rf"a regular file is needed; .*lock' is {kind}; ", FeatureStore, tmp_path, RUN)
    assert sorted(path.name for path in tmp_path.glob("[!p]*")) == ["description.json", "lock"]
    check(read_features(tmp_path), make_features(0))


@pytest.mark.parametrize("restart", [False, True])
def test_hidden_files_of_somebody_else_lie_where_they_are(tmp_path, restart):
    for name in (".notes.tmp", ".DS_Store"):
        (tmp_path / name).write_text("mine")
    with FeatureStore(tmp_path, RUN, restart=restart) as store:
        assert store.keys == []
    assert {path.name for path in tmp_path.iterdir()} == {".notes.tmp", ".DS_Store", "description.json", "lock"}


def test_a_file_where_the_folder_should_be_is_left_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("mine")
    refuse(r"features are a folder; .*a\.txt is a file; give another place", FeatureStore, path, RUN)
    refuse(r"features are a folder; .*a\.txt is none; check the path", read_features, path)
    assert path.read_text() == "mine"


def test_a_folder_without_features_is_not_read(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        refuse(r"a folder with description\.json; .* has none; check the path", read_features, folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        *("my notes", "", "[1]", "{}", "[" * 10**5, "\xff"),
        '{"kind": "other", "format": 1, "run": {}}',
        '{"kind": "vidtldr-jax features", "format": 1, "run": 1, "about": {}}',
        '{"kind": "vidtldr-jax features", "format": 1, "run": {}, "about": 1}',
        '{"kind": "vidtldr-jax features", "format": 2, "run": {}, "about": {}, "sha256": ""}',
        '{"kind": "vidtldr-jax features", "format": 2, "run": {}, "about": {}, "sha256": "\\ud800"}',
    ],
    ids=lambda text: text[-30:],
)
def test_a_description_that_is_none_is_told_and_nothing_is_lost(tmp_path, text):
    write(tmp_path, make_features(0))
    (tmp_path / "description.json").write_text(text, encoding="latin-1")
    before = read_folder(tmp_path)
    for options in ({}, {"is_writer": False}):
        message = r"description\.json is damaged or not the description of features \(.+\); put it back, give another"
        refuse(message, FeatureStore, tmp_path, RUN, **options)
    assert read_folder(tmp_path) == before
    write(tmp_path, make_features(1), restart=True)
    check(read_features(tmp_path), make_features(1))


def test_another_format_is_told_and_nothing_is_lost(tmp_path):
    write(tmp_path, make_features(0))
    path = tmp_path / "description.json"
    head = json.loads(path.read_text())
    assert len(head.pop("sha256")) == 64
    assert head == {"kind": "vidtldr-jax features", "format": 2, "run": RUN, "about": {}}
    path.write_text(json.dumps(head | {"format": 3}))
    before = read_folder(tmp_path)
    message = r"formats up to 2 are read; .*description\.json has 3; make the features anew"
    refuse(message, FeatureStore, tmp_path, RUN)
    refuse(message, read_features, tmp_path)
    assert read_folder(tmp_path) == before


def test_features_whose_description_is_missing_are_left_alone(tmp_path):
    write(tmp_path, make_features(0))
    (tmp_path / "description.json").unlink()
    before = read_folder(tmp_path)
    message = r"description\.json is missing and there are features; put it back, or --restart"
    refuse(message, FeatureStore, tmp_path, RUN)
    refuse(message, read_features, tmp_path)
    assert read_folder(tmp_path) == before


def test_wherever_a_part_is_cut_it_is_told_and_without_it_the_rest_is_there(tmp_path):
    write(tmp_path, make_features(0), make_features(1), make_features(2))
    path = find_part(tmp_path, 1)
    whole = path.read_bytes()
    message = r"part-000001-\w+\.arrow is damaged \(.+\); take it away: what it stands for is done again"
    for cut in (*range(0, len(whole), 97), len(whole) - 1):
        path.write_bytes(whole[:cut])
        before = read_folder(tmp_path)
        refuse(message, FeatureStore, tmp_path, RUN)
        refuse(message, read_features, tmp_path)
        assert read_folder(tmp_path) == before
    path.unlink()
    with FeatureStore(tmp_path, RUN) as store:
        check(store, make_features(0, 2))
        store.append(make_features(1))
    check(read_features(tmp_path), make_features(0, 2, 1))


@pytest.mark.parametrize("names", [["a", "b", "c"], ["key", "name"], ["key", "name", "embedding", "tokens"]])
def test_an_arrow_file_of_something_else_is_told(tmp_path, names):
    write(tmp_path, make_features(0))
    path = tmp_path / "part-000001.arrow"
    table = arrow.table({name: ["a"] for name in names})
    with arrow.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)
    before = read_folder(tmp_path)
    for function, words in ((FeatureStore, [RUN]), (read_features, [])):
        refuse(rf"part-000001\.arrow is damaged \(its columns are {', '.join(names)}\)", function, tmp_path, *words)
    assert read_folder(tmp_path) == before


def test_a_part_that_says_it_has_more_than_it_has_is_told(tmp_path):
    write(tmp_path, [make_feature(0)._replace(key="k" * 777)])
    path = find_part(tmp_path, 0)
    before, ends, after = path.read_bytes().rpartition(np.array([0, 777], np.int32).tobytes())
    assert ends
    path.unlink()
    (tmp_path / "part-000000.arrow").write_bytes(before + np.array([0, 10**6], np.int32).tobytes() + after)
    refuse(r"part-000000\.arrow is damaged \(.+\); take it away", read_features, tmp_path)


def test_without_pyarrow_it_is_said_how_to_install_it_before_anything_is_made(tmp_path, monkeypatch):
    write(tmp_path / "a", make_features(0))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = r"features need pyarrow; pip install 'vidtldr-jax\[retrieval\]'"
    refuse(message, FeatureStore, tmp_path / "b", RUN)
    refuse(message, read_features, tmp_path / "a")
    assert not (tmp_path / "b").exists()


OTHERS = {
    "embedding": (make_feature(1)._replace(embedding=np.zeros(5, np.float32)), r"float>\[5\]", r"embedding \[5\]"),
    "turned": (make_feature(1, shape=(4, 3)), r"\[4, 3\] bfloat16", r"tokens \[4, 3\] bfloat16"),
    "longer": (make_feature(1, shape=(9, 4)), r"\[9, 4\] bfloat16", r"tokens \[9, 4\] bfloat16"),
    "dtype": (make_feature(1, dtype=np.float32), r"\[3, 4\] float32", r"tokens \[3, 4\] float32"),
    "half": (make_feature(1, dtype=np.float16), r"\[3, 4\] float16", r"tokens \[3, 4\] float16"),
    "none": (make_feature(1, dtype=None), r"float>\[6\]; give", r"embedding \[6\] and"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_features_of_another_kind_than_there_are_are_refused(tmp_path, case):
    other, got, _ = OTHERS[case]
    write(tmp_path, make_features(0))
    with FeatureStore(tmp_path, RUN) as store:
        before = read_folder(tmp_path)
        refuse(rf"one shape and kind, .*\[3, 4\] bfloat16; got .*{got}", store.append, [other])
        assert read_folder(tmp_path) == before
        store.append(make_features(2))
        check(store, make_features(0, 2))


@pytest.mark.parametrize("case", OTHERS)
def test_features_of_two_kinds_are_not_added_together(tmp_path, case):
    other, _, kind = OTHERS[case]
    with FeatureStore(tmp_path, RUN) as store:
        refuse(rf"added together have one shape and kind; there are .*{kind}", store.append, [make_feature(0), other])
        refuse(rf"added together have one shape and kind; there are .*{kind}", store.append, [other, make_feature(0)])
        store.append(make_features(2))
    check(read_features(tmp_path), make_features(2))
