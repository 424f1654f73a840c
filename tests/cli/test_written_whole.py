"""What evaluations, plans and pictures write is there whole or not at all, and never through a link."""

import ast
import errno
import os
import stat
from types import SimpleNamespace

import numpy as np
import pytest

from tests.visualize.histories import draw_by_hand
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.plan_config import save_config
from vidtldr_jax.evaluation.run import Places, write_result
from vidtldr_jax.trust.regular import NotRegularError
from vidtldr_jax.visualize import write_gif, write_image, write_page, write_video

FRAMES = [np.full((32, 48, 3), 60 * number, np.uint8) for number in range(3)]


def write_config(path, name="a model"):
    schedule = SimpleNamespace(text="2,1", method=SimpleNamespace(name="vidtldr"), describe=lambda: "8 -> 5 tokens")
    outcome = SimpleNamespace(name=name, budget="at most 1 GMAC", frames=4, chosen=SimpleNamespace(schedule=schedule))
    save_config(path, SimpleNamespace(config=None), outcome)


WRITERS = {
    "result.json": lambda path: write_result(Places(path, None, None), {"accuracy": 0.5}),
    "plan.py": write_config,
    "film.mp4": lambda path: write_video(path, FRAMES, fps=5),
    "film.gif": lambda path: write_gif(path, FRAMES, fps=5),
    "strip.png": lambda path: write_image(path, FRAMES[0]),
    "page.html": lambda path: write_page(path, draw_by_hand()),
}


@pytest.fixture(params=WRITERS)
def place(request, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder / request.param


def write(place):
    WRITERS[place.name](place)


def test_no_link_is_followed(place):
    mine = place.parent.parent / "mine.txt"
    mine.write_text("mine")
    names = [place.name, f"{place.name}.part", f".{place.name}.part", f".{place.name}.tmp", f"{place.name}.tmp"]
    for name in names:
        (place.parent / name).symlink_to(mine)
    write(place)
    assert mine.read_text() == "mine"
    assert not place.is_symlink()
    assert place.stat().st_size > 10
    assert sorted(path.name for path in place.parent.iterdir()) == sorted(names)


def test_a_full_disk_leaves_what_was_there_and_the_error_names_the_file(place, monkeypatch):
    place.write_text("old")

    def fail(opened):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((OSError, CommandError), match="No space left on device") as error:
        write(place)
    cause = error.value if isinstance(error.value, OSError) else error.value.__cause__
    assert (cause.errno, cause.filename) == (errno.ENOSPC, str(place))
    assert str(place) in str(error.value)
    assert place.read_text() == "old"
    assert list(place.parent.iterdir()) == [place]


def test_file_and_folder_are_on_the_disk_before_it_returns(place, monkeypatch):
    synced, fsync = [], os.fsync

    def note(opened):
        synced.append((stat.S_ISDIR(os.fstat(opened).st_mode), place.exists()))
        fsync(opened)

    monkeypatch.setattr(os, "fsync", note)
    write(place)
    assert synced == [(False, False), (True, True)]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_modes_follow_the_umask(place):
    before = os.umask(0o027)
    try:
        write(place)
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o640


def test_what_a_killed_process_left_is_removed(place):
    left = place.parent / f".{place.name}-0123456789abcdef.partial"
    left.mkdir()
    (left / place.name).write_text("half")
    write(place)
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_what_is_no_file_is_not_replaced(place):
    os.mkfifo(place)
    with pytest.raises((NotRegularError, CommandError), match="a regular file is needed"):
        write(place)
    assert stat.S_ISFIFO(place.stat().st_mode)


def test_a_name_stays_within_the_docstring_of_a_config(tmp_path):
    name = 'a"""\nimport os\\'
    write_config(tmp_path / "plan.py", name)
    tree = ast.parse((tmp_path / "plan.py").read_text())
    assert [type(node).__name__ for node in tree.body] == ["Expr", "Import", "FunctionDef"]
    assert 'a"""\\nimport os\\' in ast.get_docstring(tree) or 'a"""\\x0aimport os\\' in ast.get_docstring(tree)
