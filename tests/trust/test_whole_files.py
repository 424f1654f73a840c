"""Files and folders that are whole or absent, whatever ends their writer."""

import errno
import os
import random
import signal
import stat
import time

import pytest

from vidtldr_jax.trust import whole_files
from vidtldr_jax.trust.digests import hash_bytes, hash_file
from vidtldr_jax.trust.regular import NotRegularError
from vidtldr_jax.trust.whole_files import (
    complete_files,
    open_whole,
    recover_folder,
    remove_leftovers,
    replace_files,
    replace_folder,
    write_aside,
    write_whole,
)

NUM_KILLS = 20
# The forked processes write files and use nothing of JAX, which another test of this process may have started.
pytestmark = [
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def write_file(path, text):
    write_whole(path, text)


def write_stream(path, text):
    with open_whole(path) as file:
        for character in text:
            file.write(character.encode())


def write_beside(path, text):
    with write_aside(path) as aside:
        aside.write_text(text)


def write_folder(path, text):
    with replace_folder(path) as aside:
        (aside / "below").mkdir()
        (aside / "below" / "text").write_text(text)
        (aside / "again").write_text(text)


def write_set(path, text):
    """Write files that belong together; what is read is that they do."""
    places = [path, path.with_name("place.beside"), path.with_name("place.third")]
    with replace_files(places) as asides:
        for aside in asides:
            aside.write_text(text)


def read_any(path):
    if path.with_name("place.beside").exists():
        complete_files(path)
        assert (
            path.with_name("place.beside").read_text() == path.with_name("place.third").read_text() == path.read_text()
        )
    if not path.is_dir():
        return path.read_text()
    texts = [(path / "below" / "text").read_text(), (path / "again").read_text()]
    assert texts[0] == texts[1]
    return texts[0]


WRITERS = {"file": write_file, "stream": write_stream, "aside": write_beside, "folder": write_folder}


@pytest.fixture(params=WRITERS)
def write(request):
    return WRITERS[request.param]


def test_what_is_written_replaces_what_was_there(tmp_path, write):
    for text in ("first", "second"):
        write(tmp_path / "place", text)
        assert read_any(tmp_path / "place") == text
        assert os.listdir(tmp_path) == ["place"]


def test_an_exception_leaves_what_was_there(tmp_path):
    for write, begin in ((write_stream, open_whole), (write_beside, write_aside), (write_folder, replace_folder)):
        place = tmp_path / write.__name__
        write(place, "first")
        with pytest.raises(KeyboardInterrupt), begin(place):
            raise KeyboardInterrupt
        assert read_any(place) == "first"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(tmp_path, write, mask):
    before = os.umask(mask)
    try:
        write(tmp_path / "place", "text")
        (tmp_path / "usual").mkdir() if (tmp_path / "place").is_dir() else (tmp_path / "usual").write_text("")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("place", "usual")]
    assert modes[0] == modes[1]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "other").write_text("other's")
    for name, write in WRITERS.items():
        (tmp_path / name).symlink_to(tmp_path / "other")
        write(tmp_path / name, "ours")
        assert read_any(tmp_path / name) == "ours"
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "other").read_text() == "other's"


@pytest.mark.parametrize("name", ["file", "aside"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_a_link_to_what_is_no_file_is_not_replaced(tmp_path, name):
    """/dev/stdout is such a link, which root may replace."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for other in ("fifo", "folder"):
        place = tmp_path / f"{name} {other}"
        place.symlink_to(tmp_path / other)
        with pytest.raises(NotRegularError, match="a regular file is needed"):
            WRITERS[name](place, "ours")
        assert place.is_symlink()


def test_hidden_places_are_private_and_unpredictable(tmp_path):
    seen = set()
    for _ in range(3):
        with write_aside(tmp_path / "place") as aside:
            assert stat.S_IMODE(aside.parent.stat().st_mode) == 0o700
            assert aside.name == "place"
            seen.add(aside.parent.name)
            aside.write_text("")
    assert len(seen) == 3


def test_an_error_names_the_destination(tmp_path, write):
    with pytest.raises(FileNotFoundError) as caught:
        write(tmp_path / "none" / "place", "text")
    assert caught.value.filename == str(tmp_path / "none" / "place")


class FixedError(OSError):
    """As PyAV's errors are: their name can't be set."""

    filename = property(lambda self: self.place)

    def __init__(self, number, place):
        super().__init__(number, os.strerror(number))
        self.place = place


def test_an_error_of_a_library_that_names_the_hidden_place_names_the_destination(tmp_path):
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*/place'") as caught,
        write_aside(tmp_path / "place") as aside,
    ):
        raise FixedError(errno.ENOSPC, str(aside))
    assert caught.value.filename == str(tmp_path / "place")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_named_with_its_path_and_leaves_what_was_there(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_whole(tmp_path / "place", "first")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=r"No space left on device: '.*place'"):
        write_whole(tmp_path / "place", "second")
    assert (tmp_path / "place").read_text() == "first"
    assert os.listdir(tmp_path) == ["place"]


def test_everything_is_brought_to_the_disk_before_it_takes_its_name(tmp_path, write, monkeypatch):
    steps = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def watch_fsync(opened):
        steps.append(os.path.basename(os.readlink(f"/proc/self/fd/{opened}")))
        fsync(opened)

    def watch(function):
        def move(source, target):
            steps.append("renamed")
            function(source, target)

        return move

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "replace", watch(replace))
    monkeypatch.setattr(os, "rename", watch(rename))
    write(tmp_path / "place", "text")
    is_folder = (tmp_path / "place").is_dir()
    inside = {"text", "again", "below", "place"} if is_folder else {"place"}
    assert set(steps[: steps.index("renamed")]) == inside
    assert steps[steps.index("renamed") + 1 :] == [tmp_path.name]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_replaced_with_and_without_an_exchange_of_names(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(whole_files, "_exchange", lambda first, second: False)
    write_folder(tmp_path / "place", "first")
    write_folder(tmp_path / "place", "second")
    assert read_any(tmp_path / "place") == "second"
    assert os.listdir(tmp_path) == ["place"]


def test_a_folder_that_was_set_aside_by_a_killed_process_is_put_back(tmp_path, monkeypatch):
    write_folder(tmp_path / "place", "first")
    monkeypatch.setattr(whole_files, "_exchange", lambda first, second: False)
    rename = os.rename

    def die_after_one(source, target):
        rename(source, target)
        os._exit(0)

    if not (child := os.fork()):
        os.rename = die_after_one
        write_folder(tmp_path / "place", "second")
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert not (tmp_path / "place").exists()
    assert recover_folder(tmp_path / "place")
    assert read_any(tmp_path / "place") == "first"
    assert os.listdir(tmp_path) == ["place"]
    assert not recover_folder(tmp_path / "place")


@pytest.mark.parametrize("num_moved", [0, 1, 2, 3])
def test_files_that_belong_together_are_completed_whoever_comes_next(tmp_path, num_moved):
    place, replace = tmp_path / "place", os.replace
    write_set(place, "first")
    left = [num_moved]

    def die_after_some(source, target):
        if not left[0]:
            os._exit(0)
        left[0] -= 1
        replace(source, target)

    if not (child := os.fork()):
        os.replace = die_after_some
        write_set(place, "second")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    if num_moved % 2:
        write_set(place, "third")
    else:
        assert complete_files(place) == (num_moved < 3)
    assert read_any(place) == ("third" if num_moved % 2 else "second")
    assert sorted(os.listdir(tmp_path)) == ["place", "place.beside", "place.third"]
    assert not complete_files(place)


def test_files_that_wait_for_their_names_survive_an_error(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        write_set(tmp_path / "place", "text")
    monkeypatch.undo()
    assert complete_files(tmp_path / "place")
    assert read_any(tmp_path / "place") == "text"


def test_what_is_set_aside_is_never_removed_as_a_leftover(tmp_path):
    # Without an exchange of names, the only copy of a folder can lie in a hidden place for a moment.
    hidden = tmp_path / f".place-{'0' * 16}.partial"
    (hidden / "place.old").mkdir(parents=True)
    (hidden / "place.old" / "text").write_text("only copy")
    assert remove_leftovers(tmp_path / "place") == 0
    assert recover_folder(tmp_path / "place")
    assert (tmp_path / "place" / "text").read_text() == "only copy"


def test_a_living_writer_keeps_its_place_and_a_dead_one_s_is_removed(tmp_path):
    ready, begin = os.pipe()
    if not (child := os.fork()):
        with write_aside(tmp_path / "place") as aside:
            aside.write_text("half")
            os.write(begin, b"x")
            time.sleep(60)
    os.read(ready, 1)
    try:
        assert remove_leftovers(tmp_path / "place") == 0
        write_whole(tmp_path / "place", "whole")
        assert len(os.listdir(tmp_path)) == 2
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    write_whole(tmp_path / "plac", "another's")  # whose name begins alike
    assert len(os.listdir(tmp_path)) == 3
    assert remove_leftovers(tmp_path / "place") == 1
    assert sorted(os.listdir(tmp_path)) == ["plac", "place"]


@pytest.mark.parametrize("write", [*WRITERS.values(), write_set])
def test_a_writer_killed_at_any_moment_leaves_a_whole_file_and_the_next_one_cleans_up(tmp_path, write):
    texts = [f"{number}" * 5000 for number in range(10)]
    rng, num_begun = random.Random(0), 0
    write(tmp_path / "place", texts[0])
    usual = sorted(os.listdir(tmp_path))
    for _ in range(NUM_KILLS):
        if not (child := os.fork()):
            while True:
                for text in texts:
                    write(tmp_path / "place", text)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        num_begun += len(os.listdir(tmp_path)) > len(usual)
        assert read_any(tmp_path / "place") in texts
    assert num_begun, "no process was killed while it wrote"
    write(tmp_path / "place", texts[0])
    assert sorted(os.listdir(tmp_path)) == usual


def test_digests_are_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_file(tmp_path / "a") == hash_bytes(b"abc") == known
