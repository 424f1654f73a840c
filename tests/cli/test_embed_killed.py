"""embed, killed at any moment: what is in the index stays whole, and in the end it is that of a run left alone."""

import random
import shutil
import signal
import time

import pytest

from tests.cli.forked_processes import ForkedProcesses
from tests.cli.indexes import SETTINGS, assert_same_rows, read_files, read_rows
from tests.cli.umt_sets import make_umt, make_videos
from vidtldr_jax.inference import load_model
from vidtldr_jax.search.features import read_features
from vidtldr_jax.search.index import search_index

NUM_VIDEOS, NUM_KILLS = 40, 20
NUM_PARTS = NUM_VIDEOS // 4


@pytest.fixture
def processes(tmp_path):
    started = ForkedProcesses(tmp_path)
    yield started
    started.close()


def count_parts(index):
    return sum(1 for _ in index.glob("part-*.arrow"))


def wait_for(index, num_parts, seconds=60):
    """Waits until there are so many parts, or so long; returns how long it took."""
    start = time.monotonic()
    while count_parts(index) < num_parts and time.monotonic() - start < seconds:
        time.sleep(0.001)
    return time.monotonic() - start


def check_index(index, whole, model):
    """Makes sure that an index is the beginning of another one, to the bit, and can be searched; counts its videos."""
    rows = read_rows(index)
    assert_same_rows(rows, dict(list(whole.items())[: len(rows)]))
    assert len(rows) == 4 * count_parts(index)
    if (index / "description.json").exists():
        store = read_features(index)
        assert store.keys == list(rows)
        hits = search_index(store, model, "w3 w4", top_k=NUM_VIDEOS, rerank=8)
        assert sorted(hit.path for hit in hits) == sorted(row.name for row in rows.values())
    else:
        assert not rows
    return len(rows)


@pytest.mark.once
def test_an_index_whose_process_is_killed_at_any_moment_stays_whole(tmp_path, processes):
    model, videos, index = make_umt(tmp_path, "retrieval"), tmp_path / "videos", tmp_path / "index"
    videos.mkdir()
    make_videos(videos, NUM_VIDEOS)
    words = (videos, "--model", model, *SETTINGS, "--tokens", "--out")
    processes.start("embed", *words, tmp_path / "whole")
    assert processes.wait() == 0, processes.log.read_text()
    whole, loaded = read_rows(tmp_path / "whole"), load_model(model)
    assert len(whole) == NUM_VIDEOS

    first = processes.start("embed", *words, index)
    seconds = wait_for(index, 1)  # of a start whose programs are compiled
    processes.kill(first)
    shutil.rmtree(index)

    rng, reached = random.Random(0), []
    while len(reached) < NUM_KILLS:
        # Every other one before it gets anywhere, or when there is one batch more.
        is_early, before = len(reached) % 2 == 0, count_parts(index)
        process = processes.start("embed", *words, index)
        wait_for(index, before + 1, *[rng.uniform(0, seconds)] * is_early)
        time.sleep(rng.uniform(0, 0.01))
        code = processes.kill(process)
        assert code in (0, -signal.SIGKILL), processes.log.read_text()
        if count_parts(index) == NUM_PARTS:  # it was too quick
            check_index(index, whole, loaded)
            shutil.rmtree(index)
        elif code:
            reached.append(check_index(index, whole, loaded))
            assert reached[-1] >= 4 * before
    assert len({num_videos for num_videos in reached if num_videos}) > 2

    processes.start("embed", *words, index)
    assert processes.wait() == 0, processes.log.read_text()
    assert_same_rows(read_rows(index), whole)
    assert read_files(index) == read_files(tmp_path / "whole")
