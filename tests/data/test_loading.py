"""Reading ahead, in a thread and in worker processes: the same videos, in order, and nothing left behind."""

import multiprocessing
import multiprocessing.shared_memory
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data.making import write_video
from vidtldr_jax.data import Clip, Preprocessing, VideoReadError, WorkerError, loading, read_frames, read_videos
from vidtldr_jax.data.workers import map_in_workers

RECIPE = Preprocessing(num_frames=4, image_size=16)
MOST_PER_WORKER = 4  # results that a worker and its queues hold at most
SHARED_MEMORY = Path("/dev/shm")
PATIENCE = 60  # seconds, for what must come
MOMENT = 0.5  # seconds, for what must not come


def need_grain():
    pytest.importorskip("grain", reason="worker processes need the extra 'workers'")


@pytest.fixture(params=[0, 2], ids="workers={}".format)
def num_workers(request):
    if request.param:
        need_grain()
    return request.param


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Seven videos, of 2 to 14 frames, and two files that are none."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_video(folder / f"{n}.mp4", num_frames=2 + 2 * n, first_number=20 * n) for n in range(7)]
    (folder / "text.mp4").write_text("not a video\n" * 50)
    return [*paths[:2], folder / "missing.mp4", *paths[2:5], folder / "text.mp4", *paths[5:]]


def list_readers():
    """Threads and processes that read."""
    threads = [thread.name for thread in threading.enumerate() if "vidtldr-read" in thread.name]
    return threads, multiprocessing.active_children()


def make_marker(folder):
    """Makes a function that leaves a file for everything it was called with."""

    def mark(name):
        (folder / name).touch()
        return name

    return mark


def wait_until(is_true):
    end = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_every_video_comes_in_order_with_the_same_pixels_whoever_reads(paths, num_workers):
    if num_workers:
        need_grain()
    found = list(read_videos(paths, RECIPE, num_workers=num_workers))
    assert [video.path for video in found] == [str(path) for path in paths]
    for path, video in zip(paths, found, strict=True):
        if path.name in ("missing.mp4", "text.mp4"):
            with pytest.raises(VideoReadError) as caught:
                read_frames(path, RECIPE)
            assert video.clip is None
            assert (type(video.error), str(video.error)) == (VideoReadError, str(caught.value))
            continue
        expected = read_frames(path, RECIPE)
        assert video.error is None
        assert type(video.clip) is Clip
        for array, other in ((video.clip.frames, expected.frames), (video.clip.indices, expected.indices)):
            assert type(array) is np.ndarray
            assert array.dtype == other.dtype
            np.testing.assert_array_equal(array, other)
        assert (video.clip.fps, video.clip.notices) == (expected.fps, expected.notices)
    assert sum(bool(video.clip and video.clip.notices) for video in found) == 1
    assert list_readers() == ([], [])


def test_what_the_system_refuses_is_the_error_of_that_video_alone(paths, monkeypatch):
    def refuse(path, preprocessing):
        if path == str(paths[0]):
            raise PermissionError(13, "Permission denied", path)
        return read_frames(path, preprocessing)

    monkeypatch.setattr(loading, "read_frames", refuse)
    first, second = read_videos(paths[:2], RECIPE)
    assert (type(first.error), first.error.filename, first.error.__traceback__) == (PermissionError, first.path, None)
    assert second.clip is not None


def test_no_videos_are_no_work(num_workers):
    assert list(read_videos([], RECIPE, num_workers=num_workers)) == []


def test_closing_early_ends_the_readers(paths, num_workers):
    videos = read_videos(paths, RECIPE, num_workers=num_workers)
    assert list_readers() == ([], [])
    next(videos)
    threads, processes = list_readers()
    assert (len(threads), len(processes)) == ((1, 0) if num_workers == 0 else (0, num_workers))
    videos.close()
    assert list_readers() == ([], [])


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="shared memory is no folder here")
def test_shared_memory_is_given_back_at_the_end_and_when_closed_early():
    need_grain()
    prefix = f"t{os.getpid()}_"

    def make_array(number):
        # Other tests' workers may be at work at the same time; these have a name of their own.
        multiprocessing.shared_memory._SHM_NAME_PREFIX = f"/{prefix}"
        return np.full(1000, number)

    arrays = map_in_workers(make_array, list(range(20)), num_workers=2)
    assert next(arrays)[0] == 0
    wait_until(lambda: list(SHARED_MEMORY.glob(f"{prefix}*")))
    arrays.close()
    assert not list(SHARED_MEMORY.glob(f"{prefix}*"))
    assert len(list(map_in_workers(make_array, [0, 1, 2, 3], num_workers=2))) == 4
    assert not list(SHARED_MEMORY.glob(f"{prefix}*"))


def test_an_interruption_ends_the_readers_and_comes_through(paths, num_workers):
    videos = read_videos(paths, RECIPE, num_workers=num_workers)
    next(videos)
    with pytest.raises(KeyboardInterrupt):
        videos.throw(KeyboardInterrupt)
    assert list_readers() == ([], [])


@pytest.mark.parametrize("kind", ["thread", "workers"])
def test_a_bug_in_reading_is_raised_and_ends_the_readers(kind):
    numbers = [1, 0, *range(2, 20)]
    if kind == "thread":
        results = loading.map_in_thread(lambda number: 1 / number, numbers, read_ahead=2)
    else:
        need_grain()
        results = map_in_workers(lambda number: 1 / number, numbers, num_workers=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert list_readers() == ([], [])
    # Kept until here: a traceback holds on to all that was not closed.
    del caught


def test_a_thread_reads_two_videos_ahead_and_no_more(monkeypatch):
    paths = [str(number) for number in range(20)]
    started, readers = [], set()
    too_many = threading.Event()
    taken = 0

    def read(path, preprocessing):
        readers.add(threading.current_thread().name)
        started.append(path)
        if len(started) > taken + loading.READ_AHEAD:
            too_many.set()
        raise VideoReadError(path)

    monkeypatch.setattr(loading, "read_frames", read)
    videos = read_videos(paths, RECIPE)
    for count in range(1, 4):
        # The place of the one that is asked for is free as soon as it is.
        taken = count
        assert next(videos).path == paths[count - 1]
        wait_until(lambda count=count: len(started) == count + loading.READ_AHEAD)
        assert not too_many.wait(MOMENT)
    videos.close()
    assert started == paths[:5]
    assert len(readers) == 1
    assert threading.main_thread().name not in readers


def test_a_worker_reads_four_videos_ahead_at_most(tmp_path):
    need_grain()
    num_workers = 2
    results = map_in_workers(make_marker(tmp_path), [str(n) for n in range(40)], num_workers=num_workers)
    for taken in (1, 2, 3):
        assert next(results) == str(taken - 1)
        wait_until(lambda taken=taken: len(os.listdir(tmp_path)) >= taken + num_workers)
        time.sleep(MOMENT)
        assert len(os.listdir(tmp_path)) <= taken + MOST_PER_WORKER * num_workers
    results.close()


def test_a_worker_keeps_its_hands_off_accelerators(monkeypatch):
    need_grain()
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")

    def find_platforms(_):
        import jax

        return jax.config.jax_platforms, jax.devices()[0].platform

    assert list(map_in_workers(find_platforms, [0], num_workers=1)) == [("cpu", "cpu")]


def test_a_worker_that_dies_is_one_error_that_says_what_to_do(paths):
    need_grain()
    videos = read_videos(paths * 5, RECIPE, num_workers=2)
    next(videos)
    victim = multiprocessing.active_children()[0]
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(PATIENCE)
    with pytest.raises(WorkerError, match=r"one was terminated unexpectedly with exit code -9: .*; take fewer workers"):
        list(videos)
    assert list_readers() == ([], [])


# Where tests run in the background of a shell, interrupts are ignored; children inherit that, and Python then has no
# KeyboardInterrupt.
SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from vidtldr_jax.data import Preprocessing, read_videos
if __name__ == "__main__":
    videos = read_videos(sys.argv[1:] * 20, Preprocessing(num_frames=4, image_size=16), num_workers=2)
    try:
        next(videos), next(videos)
        print("reading", flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        videos.close()
        sys.exit("interrupted")
"""


@pytest.mark.parametrize(("kind", "code"), [("end", 0), ("SIGINT", 1), ("SIGKILL", -9)])
def test_no_worker_outlives_its_parent(paths, tmp_path, kind, code):
    need_grain()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), *(str(path) for path in paths[:2])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen(command, text=True, start_new_session=True, env=environment, **pipes)
    assert parent.stdout.readline() == "reading\n"
    if kind != "end":
        # Ctrl-C reaches the workers too.
        (os.killpg if kind == "SIGINT" else os.kill)(parent.pid, signal.Signals[kind])
    # This ends the script's input, and whatever still runs holds the other ends of its output.
    _, errors = parent.communicate(timeout=PATIENCE)
    assert parent.returncode == code
    if kind != "SIGKILL":
        assert errors == ("interrupted\n" if kind == "SIGINT" else "")


def test_without_grain_the_error_names_the_extra(paths, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(WorkerError, match=r"need grain, .*; pip install 'vidtldr-jax\[workers\]', or take 0 workers"):
        read_videos(paths, RECIPE, num_workers=1)
    assert next(read_videos(paths, RECIPE)).error is None


def test_wrong_arguments_are_refused_before_anything_is_read(paths):
    with pytest.raises(ValueError, match=r"paths is a list; got the single path '.*0.mp4'; put it in"):
        read_videos(paths[0], RECIPE)
    with pytest.raises(ValueError, match="num_workers is at least 0; got -1"):
        read_videos(paths, RECIPE, num_workers=-1)
