"""embed --prune, what a search says of videos that are gone, and what is safe when the disk is full."""

import errno
import os
import shutil

import pytest

from tests.cli.indexes import make_place, read_rows
from tests.cli.test_main import assert_one_error
from vidtldr_jax.search.features import Feature, FeatureStore, read_features

TEXT = "w3 w4"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("prune"), count=6)


@pytest.fixture
def place(made, tmp_path):
    """A copy whose videos lie in two folders, with its index."""
    folder = tmp_path / "videos"
    for number, path in enumerate(made.paths):
        (folder / "ab"[number // 3]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "ab"[number // 3])
    return made._replace(videos=folder, index=tmp_path / "index")


def list_names(place):
    return [row.name.removeprefix(f"{place.videos}{os.sep}") for row in read_rows(place.index).values()]


def list_notes(result):
    return [line.removeprefix("note: ") for line in result.stderr.splitlines()]


def test_deleted_videos_are_taken_out_and_a_folder_that_is_gone_only_if_asked_for(call, call_json, place):
    words = (*place.words, "--tokens", "--out", place.index)
    assert call_json("embed", place.videos, *words)["pruned"] == []
    rows = read_rows(place.index)
    (place.videos / "a" / "1.mp4").unlink()
    assert call_json("embed", place.videos, *words)["videos"] == 6
    found = call_json("search", place.index, TEXT, "--top-k", 6)["results"]
    assert [hit["path"] for hit in found if not hit["exists"]] == [str(place.videos / "a" / "1.mp4")]
    shown = call("search", place.index, TEXT, "--top-k", 6)
    assert list_notes(shown) == [
        f"1 of these are not there any more; vidtldr embed --prune takes them out of {place.index}"
    ]
    shutil.rmtree(place.videos / "b")
    pruned = call("embed", "--prune", *words)
    assert pruned.exit_code == 0, pruned.output
    assert list_notes(pruned) == [
        f"{place.videos / 'a' / '1.mp4'} was taken out of the index: its file is gone",
        *(
            f"{place.videos / 'b' / name} is gone with all that was in its folder, and stays; --prune-folders takes it "
            "out"
            for name in ("3.mp4", "4.mp4", "5.mp4")
        ),
    ]
    assert pruned.stdout.startswith(f"{place.index}: 5 videos, ")
    assert list_names(place) == ["a/0.mp4", "a/2.mp4", "b/3.mp4", "b/4.mp4", "b/5.mp4"]
    (place.videos / "b").mkdir()  # as a disk that is not mounted leaves it
    kept = call_json("embed", "--prune", *words)
    assert (kept["pruned"], len(kept["gone"]), kept["videos"]) == ([], 3, 5)
    every = call_json("embed", place.videos, "--prune-folders", *words)
    assert (len(every["pruned"]), every["gone"], every["videos"]) == (3, [], 2)
    left = read_rows(place.index)
    assert list_names(place) == ["a/0.mp4", "a/2.mp4"]
    for key, row in left.items():
        assert row.embedding.tobytes() == rows[key].embedding.tobytes()
    assert [hit["exists"] for hit in call_json("search", place.index, TEXT)["results"]] == [True, True]


def test_a_video_that_moved_is_found_again_before_anything_is_taken_out(call_json, place):
    words = (*place.words, "--tokens", "--out", place.index)
    call_json("embed", place.videos, *words)
    (place.videos / "a" / "1.mp4").rename(place.videos / "b" / "moved.mp4")
    found = call_json("embed", place.videos, "--prune", *words)
    assert (found["moved"], found["pruned"], found["videos"]) == (1, [], 6)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="the system has no links")
def test_a_link_that_points_nowhere_stays_unless_asked_for(call_json, place):
    (place.videos / "a" / "linked.mp4").symlink_to(place.videos.parent / "disk.mp4")
    shutil.move(place.videos / "b" / "5.mp4", place.videos.parent / "disk.mp4")
    words = (*place.words, "--out", place.index)
    assert call_json("embed", place.videos, *words)["videos"] == 6
    (place.videos.parent / "disk.mp4").rename(place.videos.parent / "elsewhere.mp4")
    found = call_json("embed", "--prune", *words)
    assert (found["pruned"], found["gone"]) == ([], [str(place.videos / "a" / "linked.mp4")])


def test_a_full_disk_names_the_file_and_says_how_many_videos_are_safe(call, call_json, place, monkeypatch):
    fsync, left = os.fsync, 2 + 2  # of the description and the first part: file and folder each

    def fail(opened):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(opened)

    words = (*place.words, "--out", place.index)
    monkeypatch.setattr(os, "fsync", fail)
    result = call("embed", place.videos, *words)
    assert_one_error(
        result, "No space left on device; check the path, its permissions and the space left; 4 videos are "
    )
    assert f"safe in {place.index}, and the same command goes on from there" in result.stderr
    assert f"error: '{place.index}/part-000001-" in result.stderr
    assert not list(place.index.glob(".*"))
    monkeypatch.setattr(os, "fsync", fsync)
    again = call_json("embed", place.videos, *words)
    assert (again["added"], again["known"]) == (2, 4)


@pytest.mark.parametrize(
    ("name", "value"), [("dtype", 7), ("schedule", ["16"]), ("checkpoint_sha256", None), ("tokens", "yes")]
)
def test_a_description_with_a_value_of_another_type_is_one_error(call, made, tmp_path, name, value):
    index, sound = tmp_path / "index", read_features(made.index)
    with FeatureStore(index, sound.description | {name: value}, about=sound.about) as store:
        store.append([Feature(key, sound.get_name(key), row) for key, row in zip(sound.keys, sound.read_embeddings())])
    assert_one_error(
        call("search", index, TEXT), f"{index / 'description.json'} does not describe an index (Expected `"
    )
