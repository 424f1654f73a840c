"""The folder of features: to the bit, in order, merged, killed anywhere, and read while others write."""

import functools
import hashlib
import os
import random
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pyarrow as arrow
import pytest

from tests.search.feature_writer import MOST_SMALL, RUN, add_features, make_feature
from vidtldr_jax.search import features
from vidtldr_jax.search.features import FeatureStore, read_features


def make_features(*numbers, **options):
    return [make_feature(number, **options) for number in numbers]


def write(folder, *steps, **options):
    with FeatureStore(folder, RUN, **options) as store:
        for step in steps:
            store.append(step)


def check(store, expected):
    """All of it, in order and to the bit."""
    assert store.keys == [feature.key for feature in expected]
    assert [store.get_name(key) for key in store.keys] == [feature.name for feature in expected]
    assert len(store) == len(expected)
    embeddings = store.read_embeddings()
    assert embeddings.dtype == np.float32
    for feature, embedding in zip(expected, embeddings, strict=True):
        assert feature.key in store
        assert embedding.tobytes() == feature.embedding.tobytes()
        if feature.tokens is not None:
            tokens = store.read_tokens(feature.key)
            assert (tokens.dtype, tokens.shape) == (feature.tokens.dtype, feature.tokens.shape)
            assert tokens.tobytes() == feature.tokens.tobytes()


def read_folder(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def list_parts(folder):
    """Numbers of the parts; the name of each tells the digest of what is in it."""
    numbers = []
    for path in sorted(folder.glob("part-*")):
        number, digest = re.fullmatch(r"part-(\d{6})-([0-9a-f]{64})\.arrow", path.name).groups()
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        numbers.append(int(number))
    return numbers


def find_part(folder, number):
    (path,) = folder.glob(f"part-{number:06d}-*.arrow")
    return path


@pytest.mark.parametrize("dtype", [None, np.float32, ml_dtypes.bfloat16])
def test_what_is_written_is_read_again_to_the_bit(tmp_path, dtype):
    expected = make_features(4, 0, 3, 1, 2, 9, dtype=dtype)
    with FeatureStore(tmp_path / "a" / "b", RUN) as store:
        assert (len(store), store.keys, store.has_tokens) == (0, [], False)
        assert store.read_embeddings().shape == (0, 0)
        for step in (expected[:3], expected[3:4], [], expected[4:]):
            store.append(step)
        check(store, expected)
    store = read_features(tmp_path / "a" / "b")
    check(store, expected)
    assert store.description == RUN
    assert store.has_tokens == (dtype is not None)
    assert list_parts(store.folder) == [0, 1, 2]
    assert store.count_bytes() == sum(path.stat().st_size for path in store.folder.glob("part-*"))
    some = store.read_embeddings(["2.mp4", "4.mp4", "2.mp4"])
    np.testing.assert_array_equal(some, [make_feature(number).embedding for number in (2, 4, 2)])
    assert "5.mp4" not in store


def test_tokens_are_read_when_they_are_asked_for(tmp_path):
    write(tmp_path, make_features(0, 1, shape=(300, 700)))
    tracemalloc.start()
    before = arrow.total_allocated_bytes()
    store = read_features(tmp_path)
    kept = arrow.total_allocated_bytes() - before + tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    tokens = store.read_tokens("1.mp4")
    assert kept < tokens.nbytes / 4
    assert not tokens.flags.writeable


def test_any_library_that_reads_arrow_reads_a_part(tmp_path):
    feature = make_feature(0)
    write(tmp_path, [feature])
    with arrow.OSFile(str(find_part(tmp_path, 0))) as file:
        [row] = arrow.ipc.open_file(file).read_all().to_pylist()
    assert row == {
        "key": "0.mp4",
        "name": "clips/0.mp4",
        "embedding": feature.embedding.tolist(),
        "tokens": feature.tokens.view(np.uint16).reshape(-1).tolist(),
    }


def test_what_else_is_written_down_is_kept_from_where_the_folder_was_made(tmp_path):
    with FeatureStore(tmp_path, RUN, about={"checkpoint": "models/a"}) as store:
        assert (store.description, store.about) == (RUN, {"checkpoint": "models/a"})
    with FeatureStore(tmp_path, RUN, about={"checkpoint": "models/b"}) as store:
        assert store.about == {"checkpoint": "models/a"}
    assert read_features(tmp_path).about == {"checkpoint": "models/a"}
    with FeatureStore(tmp_path, RUN, about={"checkpoint": "models/b"}, restart=True) as store:
        assert store.about == {"checkpoint": "models/b"}
    assert read_features(tmp_path).about == {"checkpoint": "models/b"}


def test_names_that_are_no_utf_8_stay_what_they_are(tmp_path):
    expected = [feature._replace(key=f"\udcff{feature.key}", name="\ud83dé") for feature in make_features(0, 1)]
    with FeatureStore(tmp_path, {"videos": "\udcff"}) as store:
        store.append(expected)
    store = read_features(tmp_path)
    check(store, expected)
    assert store.description == {"videos": "\udcff"}


@pytest.mark.parametrize(("most_small", "num_parts"), [(5, 1), (6, 5)])
def test_of_two_rows_with_one_key_the_last_counts(tmp_path, monkeypatch, most_small, num_parts):
    monkeypatch.setattr(features, "_MOST_SMALL", most_small)
    old, new = make_features(0, 1, 2), make_features(5, 6, 7)
    new = [feature._replace(key=replaced.key) for feature, replaced in zip(new, old, strict=True)]
    with FeatureStore(tmp_path, RUN) as store:
        for step in (old[:2], old[2:], [make_feature(9), old[2], new[2]], new[:1], new[1:2]):
            store.append(step)
        expected = [make_feature(9), new[2], new[0], new[1]]
        check(store, expected)
        assert len(list_parts(tmp_path)) == num_parts
    check(read_features(tmp_path), expected)


def test_a_part_that_nothing_counts_of_goes_and_the_order_stays(tmp_path):
    write(tmp_path, make_features(0), make_features(1), make_features(0))
    expected = make_features(1, 0)
    check(read_features(tmp_path), expected)
    assert len(list_parts(tmp_path)) == 3
    for _ in range(2):
        write(tmp_path)
        assert list_parts(tmp_path) == [1, 2]
        check(read_features(tmp_path), expected)


def test_many_small_parts_become_one_and_nothing_is_lost(tmp_path):
    with FeatureStore(tmp_path, RUN) as store:
        for number in range(130):
            store.append([make_feature(number)])
            assert len(list_parts(tmp_path)) < 64
        check(store, make_features(*range(130)))
    assert list_parts(tmp_path) == [128, 129, 130, 131]
    check(read_features(tmp_path), make_features(*range(130)))


def test_large_parts_are_left_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_MOST_SMALL", 3)
    write(tmp_path, make_features(*range(100)))
    large = find_part(tmp_path, 0).stat()
    monkeypatch.setattr(features, "_SMALL_BYTES", large.st_size - 1)
    write(tmp_path, *([make_feature(number)] for number in range(100, 103)))
    assert list_parts(tmp_path) == [0, 4]
    assert find_part(tmp_path, 0).stat().st_ino == large.st_ino
    write(tmp_path, *(make_features(*range(start, start + 100)) for start in (103, 203, 303)))
    assert len(list_parts(tmp_path)) == 5
    check(read_features(tmp_path), make_features(*range(403)))


@pytest.mark.parametrize("num_removed", range(MOST_SMALL))
def test_a_merge_that_was_killed_is_mended_at_the_next_opening(tmp_path, monkeypatch, num_removed):
    monkeypatch.setattr(features, "_MOST_SMALL", MOST_SMALL)
    write(tmp_path, *([make_feature(number)] for number in range(MOST_SMALL - 1)))
    before = read_folder(tmp_path)
    write(tmp_path, make_features(MOST_SMALL - 1))
    assert list_parts(tmp_path) == [MOST_SMALL]
    for number in range(MOST_SMALL - 1 - num_removed):  # the last are removed first
        (name,) = (name for name in before if name.startswith(f"part-00000{number}-"))
        (tmp_path / name).write_bytes(before[name])
    expected = make_features(*range(MOST_SMALL))
    check(read_features(tmp_path), expected)
    assert len(list_parts(tmp_path)) == MOST_SMALL - num_removed
    write(tmp_path)
    assert list_parts(tmp_path) == [MOST_SMALL]
    check(read_features(tmp_path), expected)


def test_the_next_writer_takes_half_written_files_away(tmp_path):
    write(tmp_path, make_features(0))
    before = read_folder(tmp_path)
    for name in (".part-000001.arrow.tmp", ".description.json.tmp"):  # of older versions
        (tmp_path / name).write_bytes(b"ARROW1\0\0half")
    part = f"part-000001-{'0f' * 32}.arrow"
    for name in (part, "description.json"):
        (tmp_path / f".{name}-0123456789abcdef.partial").mkdir()
        (tmp_path / f".{name}-0123456789abcdef.partial" / name).write_bytes(b"ARROW1\0\0half")
    check(read_features(tmp_path), make_features(0))
    assert len(list(tmp_path.iterdir())) == 7
    write(tmp_path)
    assert read_folder(tmp_path) == before


def test_many_large_features_become_several_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_LARGE_BYTES", 1000)
    expected = make_features(*range(7), shape=(20, 10))  # 400 bytes and their embeddings
    write(tmp_path, expected)
    assert list_parts(tmp_path) == [0, 1, 2, 3]
    check(read_features(tmp_path), expected)


class Killed(BaseException):
    """Ends a writer where it stands."""


@pytest.fixture
def run_steps(monkeypatch):
    """Runs a function until it has taken so many steps on the disk; tells whether it ended."""
    left = 1000

    def stop_before(function):
        def step(*args, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return function(*args, **options)

        return step

    def run(num_steps, function, *args, **options):
        nonlocal left
        left = num_steps
        try:
            function(*args, **options)
            return True
        except Killed:
            return False
        finally:
            left = 1000

    for owner, name in ((os, "fsync"), (os, "replace"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, stop_before(getattr(owner, name)))
    return run


def test_stopped_before_any_step_on_the_disk_it_holds_what_was_added_so_far(tmp_path, monkeypatch, run_steps):
    monkeypatch.setattr(features, "_MOST_SMALL", 3)
    reached, is_whole = [], False
    while not is_whole:
        folder = tmp_path / str(len(reached))
        is_whole = run_steps(len(reached), add_features, folder, 8)
        reached.append(0)
        if (folder / "description.json").exists():
            store = read_features(folder)
            check(store, make_features(*range(len(store))))
            reached[-1] = len(store)
        add_features(folder, 8)
        check(read_features(folder), make_features(*range(8)))
        assert len(list_parts(folder)) < 3
        assert not list(folder.glob(".*"))
    assert reached == sorted(reached)
    assert set(reached) == set(range(9))


def begin_anew(folder, added=()):
    with FeatureStore(folder, {}, restart=True) as store:
        store.append(added)


def test_stopped_while_it_begins_anew_it_holds_some_of_the_old_or_none(tmp_path, run_steps):
    reached, is_whole = [], False
    other = make_features(7, dtype=None)
    while not is_whole:
        folder = tmp_path / str(len(reached))
        write(folder, *([make_feature(number)] for number in range(4)))
        is_whole = run_steps(len(reached), begin_anew, folder)
        reached.append(0)
        if (folder / "description.json").exists():
            store = read_features(folder)
            check(store, make_features(*range(4 - len(store), 4)))
            assert store.description in ([RUN] if len(store) else [RUN, {}])
            reached[-1] = len(store)
        begin_anew(folder, other)
        check(read_features(folder), other)
    assert reached == sorted(reached, reverse=True)
    assert set(reached) == set(range(5))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is killed where there is fork")
@pytest.mark.once
def test_processes_killed_at_random_moments_lose_nothing(tmp_path):
    folder, rng, reached = tmp_path / "killed", random.Random(0), [0]
    folder.mkdir()
    command = [sys.executable, "-W", "ignore", "-m", "tests.search.feature_writer", str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[2]}
    errors = tmp_path / "errors.txt"
    with errors.open("w") as file, subprocess.Popen(command, stderr=file, **pipes) as process:
        for round_ in range(20):
            process.stdin.write(f"{round_ % 2} {rng.uniform(0, 0.04)}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "-9\n", errors.read_text()
            if (folder / "description.json").exists():
                store = read_features(folder)
                check(store, make_features(*range(len(store))))
                reached.append(len(store))
    assert (process.returncode, errors.read_text()) == (0, "")
    assert reached == sorted(reached)
    assert len(set(reached)) > 10  # every second one was let add something
    end = reached[-1] + 3
    add_features(folder, end)
    write(tmp_path / "whole", *([make_feature(number)] for number in range(end)))
    check(read_features(folder), make_features(*range(end)))
    check(read_features(tmp_path / "whole"), make_features(*range(end)))


def test_restart_begins_anew(tmp_path):
    write(tmp_path, make_features(0), make_features(1))
    other = RUN | {"schedule": "none"}
    with FeatureStore(tmp_path, other, restart=True) as store:
        assert len(store) == 0
        store.append(make_features(5, dtype=None))
    store = read_features(tmp_path)
    check(store, make_features(5, dtype=None))
    assert (store.description, store.has_tokens) == (other, False)
    assert list_parts(tmp_path) == [0]


def test_a_reader_sees_what_was_there_when_it_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_MOST_SMALL", 3)
    write(tmp_path, make_features(0), make_features(1))
    reader = read_features(tmp_path)
    write(tmp_path, make_features(2), [make_feature(9)._replace(key="0.mp4")])
    assert 0 not in list_parts(tmp_path)
    check(reader, make_features(0, 1))


def test_a_reader_beside_whom_parts_are_merged_reads_again(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_MOST_SMALL", 3)
    write(tmp_path, make_features(0), make_features(1))
    open_part, merges = features.PartFile, [lambda: write(tmp_path, make_features(2))]

    def merge_before(path):
        if merges:
            merges.pop()()
        return open_part(path)

    monkeypatch.setattr(features, "PartFile", merge_before)
    check(read_features(tmp_path), make_features(0, 1, 2))
    assert list_parts(tmp_path) == [3]


def test_the_size_is_told_while_parts_are_merged(tmp_path, monkeypatch):
    write(tmp_path, make_features(0), make_features(1))
    store = read_features(tmp_path)
    parts = store._list_parts()
    monkeypatch.setattr(store, "_list_parts", lambda: parts)
    parts[0].unlink()
    assert store.count_bytes() == parts[1].stat().st_size


def test_a_part_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    steps = []
    real = {name: getattr(os, name) for name in ("fsync", "replace")}

    def note(name, *args):
        steps.append((name, len(list_parts(tmp_path))))
        real[name](*args)

    with FeatureStore(tmp_path, RUN) as store:
        for name in real:
            monkeypatch.setattr(os, name, functools.partial(note, name))
        store.append(make_features(0))
    assert steps == [("fsync", 0), ("replace", 0), ("fsync", 1)]
