"""Which videos are meant by paths, and what tells one video's content from another's."""

import hashlib
import logging
import os
import shutil

import pytest

from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.video_paths import find_videos, hash_content, look_for_videos


def fill(folder, *names):
    """Makes files, each with its name for content."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def list_below(folder, *paths):
    return [os.path.relpath(path, folder) for path in find_videos(paths or [folder])]


def test_all_videos_below_a_folder_are_found_in_the_order_of_names(tmp_path):
    names = ("b.mp4", "a.webm", "C.MKV", "d.x.Mov", "e/b.gif", "e/a.avi", "a/z/y/x.mp4", "folder.mp4/f.mp4")
    fill(
        tmp_path, *names, "notes.txt", "mp4", "e/a.png", "e/a.srt", ".hidden.mp4", "._b.mp4", ".trash/g.mp4", "mp3.mp3"
    )
    assert list_below(tmp_path) == [
        "C.MKV", "a.webm", "b.mp4", "d.x.Mov", "a/z/y/x.mp4", "e/a.avi", "e/b.gif", "folder.mp4/f.mp4",
    ]  # fmt: skip


def test_paths_keep_their_order_and_come_once(tmp_path, monkeypatch):
    fill(tmp_path, "b/1.mp4", "b/2.mp4", "a/3.mp4", "a/no suffix", "a/.4.mp4")
    monkeypatch.chdir(tmp_path)
    given = ["b/2.mp4", "a/no suffix", tmp_path / "b", "b/../b/1.mp4", "./a", tmp_path / "a" / "3.mp4", "a/.4.mp4"]
    found = find_videos(given)
    assert [os.path.relpath(path) for path in found] == ["b/2.mp4", "a/no suffix", "b/1.mp4", "a/3.mp4", "a/.4.mp4"]
    assert os.fspath(found[0]) == "b/2.mp4"  # as it was named first


def test_a_folder_of_images_is_one_video(tmp_path):
    fill(
        tmp_path, "frames/1.png", "frames/2.JPG", "frames/notes.txt", "frames/more/3.mp4", "mixed/1.png", "mixed/5.mp4"
    )
    assert list_below(tmp_path, tmp_path / "frames", tmp_path / "mixed") == ["frames/more/3.mp4", "mixed/5.mp4"]
    assert list_below(tmp_path) == ["frames/more/3.mp4", "mixed/5.mp4"]
    shutil.rmtree(tmp_path / "frames" / "more")
    assert list_below(tmp_path, tmp_path / "frames", tmp_path / "mixed") == ["frames", "mixed/5.mp4"]
    # What file systems leave behind is neither image nor video, nor is a folder.
    fill(tmp_path, "frames/._1.mp4", "videos/.cover.png", "videos/1.png/6.mp4")
    assert list_below(tmp_path, tmp_path / "frames", tmp_path / "videos") == ["frames", "videos/1.png/6.mp4"]


def test_what_is_not_there_or_has_no_video_is_named(tmp_path):
    fill(tmp_path, "a.mp4", "texts/notes.txt", "texts/.a.mp4")
    with pytest.raises(VideoReadError, match=r"a video must exist; there is no '.*gone\.mp4'; check the path\.$"):
        find_videos([tmp_path / "a.mp4", tmp_path / "gone.mp4"])
    with pytest.raises(
        VideoReadError, match=r"a folder has videos \(\.3gp, .*\) below it, or images; '.*texts' has none"
    ):
        find_videos([tmp_path, tmp_path / "texts"])
    (tmp_path / "texts" / "link.mp4").symlink_to("nowhere")
    with pytest.raises(VideoReadError, match="there is no"):
        find_videos([tmp_path / "texts" / "link.mp4"])


def test_equal_bytes_are_one_content_wherever_they_lie(tmp_path):
    content = bytes(range(256)) * 4097 + b"end"  # more than is read at a time
    for name in ("a.mp4", "b.mkv"):
        (tmp_path / name).write_bytes(content)
    assert hash_content(tmp_path / "a.mp4") == hash_content(tmp_path / "b.mkv") == hashlib.sha256(content).hexdigest()
    (tmp_path / "b.mkv").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert hash_content(tmp_path / "b.mkv") != hash_content(tmp_path / "a.mp4")
    with pytest.raises(FileNotFoundError):
        hash_content(tmp_path / "c.mp4")


def test_a_folder_of_images_is_another_with_other_names_order_or_bytes(tmp_path):
    first = hash_content(fill(tmp_path / "a", "1.png", "2.png", "x.jpg"))
    same = fill(shutil.copytree(tmp_path / "a", tmp_path / "elsewhere"), "notes.txt", "._1.png")
    (same / "folder.png").mkdir()
    assert hash_content(same) == first

    def change(name, *pairs):
        folder = shutil.copytree(tmp_path / "a", tmp_path / name)
        for old, new in pairs:
            (folder / old).rename(folder / new)
        return folder

    others = [
        change("renamed", ("1.png", "3.png")),
        change("swapped", ("1.png", "aside"), ("2.png", "1.png"), ("aside", "2.png")),
        change("fewer", ("x.jpg", "x.txt")),
        change("longer", ("2.png", "22.png")),
        fill(change("more"), "y.png"),
        change("bytes"),
    ]
    (others[-1] / "x.jpg").write_text("x.jpG")
    assert len({first, *map(hash_content, others)}) == 1 + len(others)


def test_where_one_image_ends_and_the_next_begins_counts(tmp_path):
    for name, first, second in (("a", "one", "two2.png\0three"), ("b", "one2.png\0two", "three")):
        folder = fill(tmp_path / name, "1.png", "2.png")
        (folder / "1.png").write_text(first)
        (folder / "2.png").write_text(second)
    assert hash_content(tmp_path / "a") != hash_content(tmp_path / "b")


def test_names_that_are_no_utf_8_are_hashed_too(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.png")).write_text("one")
    first = hash_content(tmp_path)
    (tmp_path / os.fsdecode(b"\xff.png")).rename(tmp_path / os.fsdecode(b"\xfe.png"))
    assert hash_content(tmp_path) != first


def test_a_path_that_cannot_be_looked_at_is_no_missing_one_and_stops_no_other(tmp_path, monkeypatch):
    fill(tmp_path, "a.mp4", "locked/b.mp4")
    look = os.stat

    def refuse(path, *arguments, **options):
        if "locked" in os.fspath(path):
            raise PermissionError(13, "Permission denied", path)
        return look(path, *arguments, **options)

    long = tmp_path / ("n" * 300 + ".mp4")
    monkeypatch.setattr(os, "stat", refuse)
    found = look_for_videos([tmp_path / "locked" / "b.mp4", long, tmp_path / "a.mp4", tmp_path / "x\0.mp4"])
    assert [path.name for path in found.videos] == ["b.mp4", long.name, "a.mp4"]
    assert [os.path.basename(path) for path in found.errors] == ["x\0.mp4"]


def test_what_functions_write_to_the_log_is_harmless(tmp_path, caplog):
    fill(tmp_path, "esc\x1b[2J/a.mp4", "esc\x1b[2J/b.json")
    with caplog.at_level(logging.WARNING, "vidtldr_jax"):
        find_videos([tmp_path / "esc\x1b[2J"])
    assert "1 file left out" in caplog.text
    assert "\x1b[2J" not in caplog.text
