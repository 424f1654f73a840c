"""A checkpoint folder appears whole, on the disk, with the modes of the umask; a killed writer loses nothing."""

import errno
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.inference.test_checkpoint import make_params, save
from vidtldr_jax.inference import CheckpointError, read_checkpoint
from vidtldr_jax.inference.checkpoint import LazyArray
from vidtldr_jax.trust import whole_files


@pytest.mark.parametrize(("mask", "folder_mode", "file_mode"), [(0o022, 0o755, 0o644), (0o077, 0o700, 0o600)])
def test_modes_follow_the_umask(tmp_path, mask, folder_mode, file_mode):
    before = os.umask(mask)
    try:
        folder = save(tmp_path / "model", tokenizer="{}")
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == folder_mode
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {file_mode}


def test_a_full_disk_is_named_and_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    folder = save(tmp_path / "model")
    usual = Path.open

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def open_full(path, mode="r", *rest, **more):
        return Full() if mode == "wb" else usual(path, mode, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_full)
        with pytest.raises(OSError, match="No space left on device") as error:
            save(folder, labels=["x", "y", "z"])
    assert error.value.filename == str(folder)
    assert read_checkpoint(folder).labels == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_everything_is_on_the_disk_before_the_folder_takes_its_name(tmp_path, monkeypatch):
    synced, usual = [], os.fsync

    def note(opened):
        synced.append(os.readlink(f"/proc/self/fd/{opened}"))
        usual(opened)

    monkeypatch.setattr(os, "fsync", note)
    folder = save(tmp_path / "model", tokenizer="{}")
    names = [Path(path).name for path in synced]
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(names)
    assert names[-2:] == ["model", tmp_path.name], "the folder itself, then the one in which it has its name"
    assert read_checkpoint(folder).tokenizer == "{}"


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    folder = save(tmp_path / "model")
    (tmp_path / "link").symlink_to(folder)
    save(tmp_path / "link", labels=["x", "y", "z"])
    assert not (tmp_path / "link").is_symlink()
    assert (read_checkpoint(folder).labels, read_checkpoint(tmp_path / "link").labels) == (list("abc"), list("xyz"))
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="exists and is no checkpoint folder"):
        save(tmp_path / "nowhere")


def _save_and_die(folder, number):
    """Replaces a checkpoint, in which the process is killed as one of its arrays is read."""
    params = make_params()

    def read(at, values):
        if at == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return values

    lazy = {
        name: LazyArray(values.shape, values.dtype, lambda at=at, values=values: read(at, values))
        for at, (name, values) in enumerate(params.items())
    }
    save(folder, params=lazy, labels=["x", "y", "z"])


@pytest.mark.filterwarnings("ignore:os.fork")  # the child computes nothing
def test_a_killed_writer_leaves_the_old_checkpoint_and_the_next_one_cleans_up(tmp_path):
    folder = save(tmp_path / "model")
    for number in (0, 10):
        process = multiprocessing.get_context("fork").Process(target=_save_and_die, args=(folder, number))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert read_checkpoint(folder).labels == ["a", "b", "c"]
        assert len(list(tmp_path.iterdir())) == 2, "the hidden place of the one that was killed last"
    save(folder, labels=["x", "y", "z"])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    np.testing.assert_array_equal(read_checkpoint(folder).params["head/bias"], make_params()["head/bias"])


@pytest.mark.parametrize("command", [read_checkpoint, save])
def test_what_a_killed_writer_had_set_aside_is_put_back_by_the_next_command_which_says_so(
    tmp_path, monkeypatch, caplog, command
):
    folder = save(tmp_path / "model")
    hidden = tmp_path / f".model-{'0' * 16}.partial"
    hidden.mkdir()
    os.rename(folder, whole_files._name_old(hidden, folder))
    with pytest.raises(CheckpointError, match="there is no folder"):
        read_checkpoint(tmp_path / "other")
    command(folder)
    assert read_checkpoint(folder).labels == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert caplog.text.count(f"{folder} was put back as it was: a process that replaced it was stopped") == 1
