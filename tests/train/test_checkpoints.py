"""States on disk: the same bits, whole or not at all, checked before they are read, only those that are kept."""

import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from vidtldr_jax.train.checkpoints import Checkpoints
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.state_digests import LogMark
from vidtldr_jax.train.steps import TrainState
from vidtldr_jax.trust.digests import hash_bytes

ROOT = Path(__file__).resolve().parents[2]


def make_state(seed):
    rng = np.random.default_rng(seed)
    params = {"head/kernel": rng.normal(size=(2, 3)).astype(np.float32), "head/bias": np.float32([1e-30, -0.0, 3])}
    moments = (np.int32(seed), {path: value * 2 for path, value in params.items()})
    return TrainState(params, {}, moments, np.int32(seed))


def test_a_state_comes_back_to_the_bit(tmp_path):
    with Checkpoints(tmp_path / "states") as states:
        states.save(7, make_state(7))
        states.save(12, make_state(12))
        assert states.list_steps() == [7, 12]
        found = states.restore(7, make_state(0))
    assert jax.tree.structure(found) == jax.tree.structure(make_state(7))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(make_state(7)), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
        assert one.dtype == other.dtype


def test_what_is_half_written_is_no_state_and_is_removed(tmp_path):
    with Checkpoints(tmp_path) as states:
        states.save(3, make_state(3))
        (tmp_path / ".partial-xyz" / "state").mkdir(parents=True)
        assert states.list_steps() == [3]
    with Checkpoints(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["00000003"]


def test_only_what_is_kept_stays_and_a_state_is_written_once(tmp_path):
    with Checkpoints(tmp_path) as states:
        for step in (1, 2, 3):
            states.save(step, make_state(step))
        states.save(3, make_state(9))
        states.prune({1, 3})
        assert states.list_steps() == [1, 3]
        assert int(states.restore(3, make_state(0)).step) == 3
        assert len(list(tmp_path.iterdir())) == 2


def test_a_state_of_another_shape_is_refused(tmp_path):
    with Checkpoints(tmp_path) as states:
        states.save(1, make_state(1))
        like = make_state(1)._replace(params={"head/kernel": np.zeros((3, 3), np.float32), "head/bias": np.zeros(3)})
        with pytest.raises(TrainError, match="--restart to begin anew"):
            states.restore(1, like)


def test_a_damaged_state_is_named_with_what_to_do(tmp_path):
    with Checkpoints(tmp_path) as states:
        states.save(1, make_state(1))
        for path in tmp_path.glob("00000001/**/*"):
            if path.is_file():
                path.write_bytes(b"")
        with pytest.raises(TrainError, match=r"00000001 is damaged .*take the folder away .* or --restart"):
            states.restore(1, make_state(1))


def save(folder, *steps, run="0" * 64, mark=None):
    with Checkpoints(folder, run=run) as states:
        for step in steps:
            states.save(step, make_state(step), *([] if mark is None else [mark]))


def find_newest(folder, *, run="0" * 64, metrics="none", **options):
    with Checkpoints(folder, run=run) as states:
        return states.find_newest(folder / metrics, **options)


def list_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_no_flipped_bit_of_a_state_is_read(tmp_path):
    save(tmp_path, 1, 2)
    whole = {path: path.read_bytes() for path in list_files(tmp_path / "00000002")}
    assert len(whole) > 3
    places = random.Random(0)
    with Checkpoints(tmp_path, run="0" * 64) as states:
        for path, content in whole.items():
            for _ in range(40):
                damaged = bytearray(content)
                damaged[places.randrange(len(content))] ^= 1 << places.randrange(8)
                path.write_bytes(damaged)
                step, notes = states.find_newest(tmp_path / "none")
                assert step == 1
                assert notes[0].startswith("the state of step 2 is damaged (")
                if path.name != "digests.json":
                    with pytest.raises(TrainError, match=r"00000002 is damaged"):
                        states.restore(2, make_state(0))
            path.write_bytes(content)
        assert states.find_newest(tmp_path / "none") == (2, ())
        assert int(states.restore(2, make_state(0)).step) == 2


@pytest.mark.parametrize("kind", ["cut", "missing", "extra", "link", "fifo", "folder", "no digests"])
def test_whatever_is_not_as_it_was_written_is_damage(tmp_path, kind):
    save(tmp_path, 1, 2)
    file = max(list_files(tmp_path / "00000002" / "state"), key=lambda path: path.stat().st_size)
    if kind == "cut":
        os.truncate(file, 5)
    elif kind == "extra":
        (file.parent / "more").write_bytes(b"x")
    elif kind == "no digests":
        (tmp_path / "00000002" / "digests.json").unlink()
    else:
        file.rename(tmp_path / "away")
    if kind == "link":
        file.symlink_to(tmp_path / "away")
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    step, notes = find_newest(tmp_path)
    assert step == 1
    assert "the state of step 2 is damaged" in notes[0]
    shutil.rmtree(tmp_path / "00000001")
    with pytest.raises(TrainError, match=r"a state must be whole to go on from; .* or --restart to begin anew"):
        find_newest(tmp_path)


def test_a_state_of_another_step_or_run_is_no_state_of_this_one(tmp_path):
    save(tmp_path, 1, 2)
    shutil.copytree(tmp_path / "00000001", tmp_path / "00000003")
    step, notes = find_newest(tmp_path)
    assert (step, notes) == (2, ("the state of step 3 is damaged (it is the state of step 1): it is not used",))
    with pytest.raises(TrainError, match=r"step 2 is damaged \(it is the state of another run\): it is not used"):
        find_newest(tmp_path, run="1" * 64)


def test_a_state_belongs_to_the_metrics_up_to_its_step(tmp_path):
    (tmp_path / "metrics").write_bytes(b"one\n")
    save(tmp_path, 1, mark=LogMark(4, hash_bytes(b"one\n")))
    save(tmp_path, 2, mark=LogMark(8, hash_bytes(b"one\ntwo\n")))
    (tmp_path / "metrics").write_bytes(b"one\ntwo\nthree\n")
    assert find_newest(tmp_path, metrics="metrics") == (2, ())
    for content in (b"one\n", b"one\ntwx\n"):
        (tmp_path / "metrics").write_bytes(content)
        note = "the state of step 2 is damaged (metrics is not what was written up to step 2): it is not used"
        assert find_newest(tmp_path, metrics="metrics", needs_metrics=False) == (1, (note,))
    (tmp_path / "metrics").unlink()
    step, notes = find_newest(tmp_path, metrics="metrics", needs_metrics=False)
    assert (step, notes) == (2, ("metrics is missing: what it told of the steps up to 2 is lost",))
    with pytest.raises(TrainError, match="metrics is not what was written up to step 2"):
        find_newest(tmp_path, metrics="metrics")


def test_a_state_of_a_version_without_digests_is_read_with_a_note(tmp_path):
    save(tmp_path, 7)
    (tmp_path / "00000007").rename(tmp_path / "new")
    (tmp_path / "new" / "state").rename(tmp_path / "00000007")
    with Checkpoints(tmp_path, run="0" * 64) as states:
        step, notes = states.find_newest(tmp_path / "none")
        assert (step, len(notes)) == (7, 1)
        assert "of a version that wrote no digests" in notes[0]
        found = states.restore(7, make_state(0))
    assert jax.tree.map(np.array_equal, found.params, make_state(7).params) == {"head/kernel": True, "head/bias": True}


def test_digests_are_left_out_on_request_and_sizes_are_not(tmp_path, monkeypatch):
    save(tmp_path, 1)
    file = max(list_files(tmp_path / "00000001" / "state"), key=lambda path: path.stat().st_size)
    file.write_bytes(b"x" * file.stat().st_size)
    monkeypatch.setenv("VIDTLDR_CHECK_DIGESTS", "0")
    assert find_newest(tmp_path) == (1, ())
    file.write_bytes(b"x")
    with pytest.raises(TrainError, match="has another content"):
        find_newest(tmp_path)


def test_a_damaged_state_is_replaced_when_its_step_is_reached_again(tmp_path):
    save(tmp_path, 1, 2)
    (tmp_path / "00000002" / "digests.json").unlink()
    save(tmp_path, 2)
    assert find_newest(tmp_path) == (2, ())


def test_a_full_disk_names_the_place_and_the_step_that_is_safe(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Checkpoints(tmp_path) as states:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            wanted = (
                r"00000001: the state of step 1 can't be written \(No space left on device\); no state of the run is "
                "on the disk yet; make space, then start again"
            )
            with pytest.raises(TrainError, match=wanted):
                states.save(1, make_state(1))
        states.save(2, make_state(2))
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(TrainError, match="step 2 is safe; make space, and the same command goes on from there"):
            states.save(3, make_state(3))
    assert [path.name for path in tmp_path.iterdir()] == ["00000002"]


def test_a_state_that_the_disk_has_no_room_for_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    wanted = r"step 1 can't be written \(No space left on device: 80 bytes are needed, 10 are free\); no state of the"
    with Checkpoints(tmp_path) as states:
        monkeypatch.setattr(states._writer, "save", None)  # not asked
        with pytest.raises(TrainError, match=wanted):
            states.save(1, make_state(1))
    assert list(tmp_path.iterdir()) == []


def test_what_orbax_logs_of_an_error_stays_off_the_terminal(tmp_path, caplog):
    save(tmp_path, 7)
    (tmp_path / "00000007").rename(tmp_path / "new")
    (tmp_path / "new" / "state").rename(tmp_path / "00000007")  # of a version without digests
    for path in list_files(tmp_path / "00000007"):
        path.write_bytes(b"")
    with Checkpoints(tmp_path, run="0" * 64) as states, pytest.raises(TrainError, match="00000007 is damaged"):
        states.restore(7, make_state(0))
    assert [record for record in caplog.records if record.name == "absl"] == []


@pytest.mark.once
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_twenty_kills_lose_no_state_and_leave_nothing_behind(tmp_path):
    command = [sys.executable, "-m", "tests.train.killed_states", str(tmp_path / "states")]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert ended.returncode == 0, ended.stderr
    assert "20 kills" in ended.stdout
