"""Features that are removed are gone for good, the rest stays in its order, and a kill in between loses nothing."""

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.search.feature_writer import NUM_KEPT, RUN, add_and_remove, make_feature
from tests.search.test_features import Killed, check, list_parts, make_features, read_folder, write
from tests.search.test_features_refused import refuse
from vidtldr_jax.search.features import FeatureStore, read_features


def remove(folder, *keys):
    with FeatureStore(folder, RUN) as store:
        store.remove(keys)
        check(read_features(folder), [make_feature(int(key[0])) for key in store.keys])


@pytest.mark.parametrize(
    ("keys", "rest", "parts"),
    [
        (["0.mp4"], [1, 2, 3, 4], [0, 1, 2]),
        (["1.mp4", "3.mp4"], [0, 2, 4], [0, 1, 2]),
        (["2.mp4", "3.mp4"], [0, 1, 4], [0, 2]),
        (["4.mp4", "9.mp4"], [0, 1, 2, 3], [0, 1]),
        ([f"{number}.mp4" for number in range(5)], [], []),
        ([], [0, 1, 2, 3, 4], [0, 1, 2]),
    ],
)
def test_what_is_removed_is_gone_and_the_rest_stays_in_order(tmp_path, keys, rest, parts):
    write(tmp_path, make_features(0, 1), make_features(2, 3), make_features(4))
    remove(tmp_path, *keys)
    check(read_features(tmp_path), make_features(*rest))
    assert list_parts(tmp_path) == parts
    write(tmp_path, make_features(7))
    check(read_features(tmp_path), make_features(*rest, 7))


def test_a_row_that_did_not_count_does_not_come_back(tmp_path):
    old = make_feature(0)._replace(name="an older row")
    write(tmp_path, [old, *make_features(1)], make_features(2), make_features(0))
    remove(tmp_path, "0.mp4")
    check(read_features(tmp_path), make_features(1, 2))


def test_nothing_is_removed_from_a_store_that_reads(tmp_path):
    write(tmp_path, make_features(0))
    refuse("removed while a store is open to write", read_features(tmp_path).remove, ["0.mp4"])
    check(read_features(tmp_path), make_features(0))


def test_stopped_before_any_step_it_holds_all_that_stays(tmp_path, monkeypatch):
    left = [1000]

    def stop_before(function):
        def step(*args, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*args, **options)

        return step

    for owner, name in ((os, "fsync"), (os, "replace"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, stop_before(getattr(owner, name)))
    gone = {"0.mp4", "2.mp4", "3.mp4"}
    old = make_feature(0)._replace(name="an older row")
    held = []
    for num_steps in itertools.count():
        folder = tmp_path / str(num_steps)
        write(folder, [old, *make_features(1)], make_features(2), make_features(0, 3, 4))
        with FeatureStore(folder, RUN) as store:
            left[0] = num_steps
            try:
                store.remove(gone)
                is_whole = True
            except Killed:
                is_whole = False
            left[0] = 1000
        store = read_features(folder)
        held.append(set(store.keys))
        assert held[-1] >= {"1.mp4", "4.mp4"}
        assert all(store.get_name(key).startswith("clips/") for key in store.keys)
        with FeatureStore(folder, RUN) as store:
            store.remove(gone)
        check(read_features(folder), make_features(1, 4))
        assert list_parts(folder) == [0, 2]
        assert not list(folder.glob(".*"))
        if is_whole:
            break
    assert held == sorted(held, key=len, reverse=True)
    assert {len(keys) for keys in held} >= {5, 4, 2}


def test_a_damaged_part_is_told_and_nothing_is_removed(tmp_path):
    write(tmp_path, make_features(0, 1))
    with FeatureStore(tmp_path, RUN) as store:
        (path,) = tmp_path.glob("part-*")
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.write_bytes(data)
        before = read_folder(tmp_path)
        refuse("is damaged", store.remove, ["0.mp4"])
    assert read_folder(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is killed where there is fork")
@pytest.mark.once
def test_processes_that_add_merge_and_remove_are_killed_and_lose_nothing(tmp_path):
    folder, rng, reached = tmp_path / "killed", random.Random(1), [-1]
    folder.mkdir()
    command = [sys.executable, "-W", "ignore", "-m", "tests.search.feature_writer", str(folder), "remove"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[2]}
    errors = tmp_path / "errors.txt"
    with errors.open("w") as file, subprocess.Popen(command, stderr=file, **pipes) as process:
        for round_ in range(20):
            process.stdin.write(f"{round_ % 2} {rng.uniform(0, 0.04)}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "-9\n", errors.read_text()
            if not (folder / "description.json").exists():
                continue
            store = read_features(folder)
            found = sorted(int(key[:-4]) for key in store.keys)
            for number in found:
                feature = make_feature(number)
                assert store.read_embeddings([feature.key])[0].tobytes() == feature.embedding.tobytes()
                assert store.read_tokens(feature.key).tobytes() == feature.tokens.tobytes()
            reached.append(max(found, default=-1))
            assert [number for number in found if number % 2] == list(range(1, reached[-1] + 1, 2))
            assert all(number >= reached[-1] - NUM_KEPT for number in found if number % 2 == 0)
    assert (process.returncode, errors.read_text()) == (0, "")
    assert reached == sorted(reached)
    assert len(set(reached)) > 3
    end = reached[-1] + 3
    add_and_remove(folder, end)
    rest = [number for number in range(end) if number % 2 or number >= end - 1 - NUM_KEPT]
    check(read_features(folder), make_features(*rest))
    assert {path.name for path in folder.iterdir() if not path.name.startswith("part-")} == {"description.json", "lock"}
