"""embed: the model's own numbers in the index, videos known by their content, and every wrong use."""

import contextlib
import importlib
import json
import os
import shutil

import numpy as np
import pyarrow as arrow
import pytest
from PIL import Image

from tests.cli.conftest import save_model
from tests.cli.indexes import NUM_KEPT, assert_same_rows, hash_bytes, make_place, read_files, read_rows
from tests.cli.test_main import assert_one_error
from tests.cli.umt_sets import make_umt, save_again
from tests.data.making import draw_frame
from vidtldr_jax.cli import output
from vidtldr_jax.data import read_clip
from vidtldr_jax.inference import load_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.search.index import AddReport


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("embed"))


@pytest.fixture
def batches(monkeypatch):
    """Sizes of the batches that are run."""
    sizes, encode = [], VideoModel.encode_video

    def count(model, video, **options):
        sizes.append(len(video))
        return encode(model, video, **options)

    monkeypatch.setattr(VideoModel, "encode_video", count)
    return sizes


@pytest.fixture
def copies(place, tmp_path):
    """A folder with the first three videos."""
    (tmp_path / "videos").mkdir()
    for path in place.paths[:3]:
        shutil.copy(path, tmp_path / "videos")
    return tmp_path / "videos"


def test_embeddings_and_tokens_are_the_model_s_of_each_clip(call_json, place, tmp_path, batches):
    index = tmp_path / "below" / "index"
    result = call_json("embed", place.videos, *place.words, "--tokens", "--out", index)
    assert batches == [4, 4, 4]
    rows, model = read_rows(index), load_model(place.model, schedule="16,8")
    assert list(rows) == [hash_bytes(path) for path in place.paths]
    for path, row in zip(place.paths, rows.values(), strict=True):
        out = model.encode_video(read_clip(path, model.preprocessing)[None])
        assert (row.name, row.tokens.shape) == (str(path), (NUM_KEPT, 24))
        np.testing.assert_allclose(row.embedding, np.asarray(out.embedding)[0], atol=1e-5, rtol=0)
        np.testing.assert_allclose(row.tokens, np.asarray(out.tokens)[0], atol=2e-5, rtol=0)
    # That they tell the videos apart.
    assert np.ptp([row.embedding for row in rows.values()], axis=0).max() > 0.1
    assert result.pop("seconds") > 0
    assert result.pop("schedule")["r"] == [16, 8, 0]
    assert 0.001 < result.pop("gmacs_per_video") < 0.002
    weights = hash_bytes(place.model / "model.safetensors")
    assert result == {
        "index": str(index), "videos": 12, "added": 12, "known": 0, "moved": 0, "same": {},
        "pruned": [], "gone": [], "errors": {}, "notices": {},
        "bytes": sum(path.stat().st_size for path in index.glob("part-*")), "tokens": True,
        "model": str(place.model), "checkpoint_sha256": weights, "dtype": "float32",
    }  # fmt: skip
    written = json.loads((index / "description.json").read_text())
    assert written["about"] == {"checkpoint": str(place.model)}
    run = written["run"]
    assert (run["checkpoint_sha256"], run["schedule"], run["dtype"], run["tokens"]) == (
        weights,
        "16,8",
        "float32",
        True,
    )
    assert run["preprocessing"] == model.preprocessing.to_dict()
    assert_same_rows(rows, read_rows(place.index))


def test_without_tokens_embeddings_alone_are_kept(call, place, tmp_path):
    result = call("embed", *place.paths[:4], *place.words, "--out", tmp_path / "index")
    with arrow.OSFile(str(next((tmp_path / "index").glob("part-000000-*.arrow")))) as file:
        assert arrow.ipc.open_file(file).schema.names == ["key", "name", "embedding"]
    for row, other in zip(read_rows(tmp_path / "index").values(), read_rows(place.index).values()):
        assert row.embedding.tobytes() == other.embedding.tobytes()
    first, second, third = result.stdout.splitlines()
    assert first.startswith(f"{tmp_path / 'index'}: 4 videos, 0.0 MiB; {tmp_path / 'index' / 'description.json'} says")
    assert second.startswith("added 4 in ")
    assert second.endswith("; 0 were there already")
    assert third == "(r = 16,8: 64 -> 40 tokens over 3 layers; 0.0017 GMACs per video)"
    assert result.stderr == ""


def test_only_new_contents_are_encoded_and_the_index_is_as_if_made_in_one_go(call, call_json, place, tmp_path, batches):
    words = (*place.words, "--tokens", "--out", tmp_path / "index")
    first = call_json("embed", *place.paths[:8], *words)
    assert (first["added"], first["known"], first["videos"], batches) == (8, 0, 8, [4, 4])
    second = call_json("embed", place.videos, *words)
    assert (second["added"], second["known"], second["videos"], batches) == (4, 8, 12, [4, 4, 4])
    assert_same_rows(read_rows(tmp_path / "index"), read_rows(place.index))
    assert read_files(tmp_path / "index") == read_files(place.index)
    again = call("embed", place.videos, *words)
    assert again.stdout.splitlines()[1].startswith("added 0 in ")
    assert again.stdout.splitlines()[1].endswith("; 12 were there already")
    assert len(batches) == 3
    assert read_files(tmp_path / "index") == read_files(place.index)


def test_batches_of_other_videos_change_no_more_than_rounding(call_json, place, tmp_path):
    words = (*place.words, "--tokens", "--out", tmp_path / "index")
    call_json("embed", *place.paths[7:4:-1], *words)
    call_json("embed", place.videos, *words)
    rows, expected = read_rows(tmp_path / "index"), read_rows(place.index)
    assert sorted(rows) == sorted(expected)
    for key, row in rows.items():
        assert row.name == expected[key].name
        np.testing.assert_allclose(row.embedding, expected[key].embedding, atol=1e-5, rtol=0)
        np.testing.assert_allclose(row.tokens, expected[key].tokens, atol=2e-5, rtol=0)


def test_a_copy_is_named_and_in_the_index_once(call, call_json, copies, place, tmp_path, batches):
    words = (*place.words, "--out", tmp_path / "index")
    first, second = copies / "0.mp4", copies / "1.mp4"
    twins = [shutil.copy(first, copies / "0 again.mp4"), shutil.copy(first, tmp_path / "zero.mkv")]
    result = call("embed", first, twins[0], second, twins[1], first, copies, *words)
    name = "has the same content as"
    assert result.stderr.splitlines() == [f"note: {twin} {name} {first}; it is in the index once." for twin in twins]
    assert [row.name for row in read_rows(tmp_path / "index").values()] == [
        str(copies / name) for name in ("0.mp4", "1.mp4", "10.mp4")
    ]
    assert batches == [3]
    again = call_json("embed", *twins, *words)
    assert (again["known"], again["moved"], again["added"], again["same"]) == (2, 0, 0, {})
    fresh = call_json("embed", first, *twins, *words[:-1], tmp_path / "fresh")
    assert (fresh["added"], fresh["videos"], fresh["same"]) == (1, 1, {str(twin): str(first) for twin in twins})


def test_a_video_that_was_moved_is_found_at_its_new_place(call, call_json, copies, place, tmp_path, batches):
    words = (*place.words, "--tokens", "--out", tmp_path / "index")
    call("embed", copies, *words)
    before, key = read_rows(tmp_path / "index"), hash_bytes(copies / "1.mp4")
    (copies / "new").mkdir()
    (copies / "1.mp4").rename(copies / "new" / "one.mkv")
    shutil.copy(copies / "new" / "one.mkv", copies / "new" / "two.mkv")
    lines = call("embed", copies, *words).stdout.splitlines()
    assert lines[1].startswith("added 0 in ")
    assert lines[1].endswith("; 4 were there already, 1 of them found at a new place")
    rows = read_rows(tmp_path / "index")
    assert rows.pop(key).name == str(copies / "new" / "one.mkv")
    moved = read_rows(tmp_path / "index")[key]
    assert (moved.embedding.tobytes(), moved.tokens.tobytes()) == (
        before[key].embedding.tobytes(), before[key].tokens.tobytes()
    )  # fmt: skip
    assert_same_rows(rows, {other: row for other, row in before.items() if other != key})
    hits = call_json("search", tmp_path / "index", "w3 w4")["results"]
    assert sorted(hit["path"] for hit in hits) == [str(copies / name) for name in ("0.mp4", "10.mp4", "new/one.mkv")]
    assert all(hit["exists"] for hit in hits)
    assert call_json("embed", copies, *words)["moved"] == 0
    assert batches == [3]


def find_names(call_json, index):
    """Content -> where a search finds it; every place once."""
    hits = call_json("search", index, "w3 w4", "--rerank", 0)
    found = {hash_bytes(index.parent / hit["path"]): round(hit["similarity"], 5) for hit in hits["results"]}
    assert len(found) == len(hits["results"]) == hits["videos"]
    return found


def test_a_search_knows_what_lies_where_when_videos_take_the_places_of_others(call_json, copies, place, tmp_path):
    index, words = tmp_path / "index", (*place.words, "--tokens", "--out", tmp_path / "index")

    def move(*pairs):
        for old, new in pairs:
            shutil.move(copies / old, copies / new)
        return call_json("embed", copies, *words)

    similarity = move() and find_names(call_json, index)
    assert len(similarity) == 3
    swapped = move(("0.mp4", "aside"), ("1.mp4", "0.mp4"), ("aside", "1.mp4"))
    assert (swapped["moved"], swapped["videos"]) == (2, 3)
    assert find_names(call_json, index) == similarity
    shifted = move(("0.mp4", "../gone.mp4"), ("1.mp4", "0.mp4"), ("10.mp4", "1.mp4"))
    assert (shifted["moved"], shifted["videos"]) == (2, 2)
    gone = hash_bytes(tmp_path / "gone.mp4")
    assert find_names(call_json, index) == {key: value for key, value in similarity.items() if key != gone}
    back = move(("0.mp4", "10.mp4"), ("../gone.mp4", "0.mp4"))
    assert (back["added"], back["moved"], back["videos"]) == (0, 2, 3)
    assert find_names(call_json, index) == similarity
    replaced = move(("0.mp4", "10.mp4"))
    assert (replaced["moved"], replaced["videos"]) == (1, 2)
    assert len(find_names(call_json, index)) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--schedule", "8,8"), 'schedule was "16,8", now "8,8"'),
        (("--schedule", "none"), 'schedule was "16,8", now "none"'),
        (("--dtype", "bfloat16"), 'dtype was "float32", now "bfloat16"'),
        ((), "tokens was true, now false"),
        (("--model", "other"), 'checkpoint_sha256 was "'),
        (("--model", "clip"), "architecture."),
    ],
)
def test_an_index_of_another_run_is_refused_and_unchanged(call, place, tmp_path, change, message):
    index = shutil.copytree(place.index, tmp_path / "index")
    if change[-1:] == ("other",):
        save_again(place.model, tmp_path / "other", is_changed=True)
    if change[-1:] == ("clip",):
        save_clip(tmp_path / "clip")
    words = (place.videos, *place.words, *(("--tokens",) if change else ()), *change, "--out", index)
    result = call("embed", *words)
    assert_one_error(result, message)
    assert f"{index} has features of another run: " in result.stderr
    assert "; give another place, or --restart to begin anew" in result.stderr
    assert read_files(index) == read_files(place.index)


def test_restart_begins_anew(call_json, place, tmp_path):
    index = shutil.copytree(place.index, tmp_path / "index")
    words = ("--model", place.model, "--schedule", "8,8", "--batch-size", 4, "--out", index, "--restart")
    result = call_json("embed", *place.paths[:2], *words)
    assert (result["videos"], result["added"], result["known"]) == (2, 2, 0)
    assert [row.name for row in read_rows(index).values()] == [str(path) for path in place.paths[:2]]
    assert json.loads((index / "description.json").read_text())["run"]["schedule"] == "8,8"


def test_an_unreadable_video_is_named_and_the_others_are_added(call, call_json, copies, place, tmp_path):
    (copies / "1.txt.mp4").write_text("not a video\n" * 50)
    (copies / "5.mp4").touch()
    (copies / "gone.mp4").symlink_to("nowhere")
    words = ("embed", copies, *place.words, "--out", tmp_path / "index")
    result = call(*words)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    errors = sorted(result.stderr.splitlines())
    assert [error.split(": ")[:2] for error in errors] == [
        ["error", str(copies / name)] for name in ("1.txt.mp4", "5.mp4", "gone.mp4")
    ]
    assert "FFmpeg can't read" in errors[0]
    assert "is empty (0 bytes)" in errors[1]
    assert errors[2].endswith("No such file or directory")
    assert result.stdout.splitlines()[0].startswith(f"{tmp_path / 'index'}: 3 videos")
    again = call_json(*words, exit_code=1)
    assert (again["added"], again["known"], again["videos"]) == (0, 3, 3)
    assert sorted(again["errors"]) == [str(copies / name) for name in ("1.txt.mp4", "5.mp4", "gone.mp4")]
    shutil.copy(place.paths[3], copies / "5.mp4")
    for name in ("1.txt.mp4", "gone.mp4"):
        (copies / name).unlink()
    assert call_json(*words)["added"] == 1


def test_a_folder_of_images_is_one_video(call_json, place, tmp_path):
    (tmp_path / "frames").mkdir()
    for number in range(6):
        Image.fromarray(draw_frame(number)).save(tmp_path / "frames" / f"{number}.png")
    result = call_json("embed", tmp_path / "frames", place.paths[0], *place.words, "--out", tmp_path / "index")
    assert (result["videos"], result["added"]) == (2, 2)
    row, _ = read_rows(tmp_path / "index").values()
    model = load_model(place.model, schedule="16,8")
    out = model.encode_video(read_clip(tmp_path / "frames", model.preprocessing)[None])
    assert row.name == str(tmp_path / "frames")
    np.testing.assert_allclose(row.embedding, np.asarray(out.embedding)[0], atol=1e-5, rtol=0)


def test_what_is_no_file_in_a_folder_is_named_and_the_others_are_added(call_json, copies, place, tmp_path):
    Image.fromarray(draw_frame(0)).save(copies / "cover.jpg")
    os.mkfifo(copies / "fifo.mp4")
    (copies / "device.mp4").symlink_to("/dev/zero")
    (copies / "circle.mp4").symlink_to("circle.mp4")
    result = call_json("embed", copies, *place.words, "--out", tmp_path / "index", exit_code=1)
    assert result["added"] == 3
    assert sorted(result["errors"]) == [str(copies / f"{name}.mp4") for name in ("circle", "device", "fifo")]


def test_the_clock_goes_on_after_hashing(call_json, copies, place, tmp_path, monkeypatch):
    bars, show = [], output.show_progress

    @contextlib.contextmanager
    def keep(*arguments, **options):
        with show(*arguments, **options) as progress:
            bars.append(progress)
            yield progress

    def add(store, model, paths, *, hashing, encoding, **options):
        (task,) = bars[0].tasks
        for path in paths:
            hashing(path)
        assert (task.description, task.completed, task.total, task.finished) == ("hashing", 3, 3, True)
        encoding(0, 3)
        assert (task.description, task.completed, task.total, task.finished) == ("encoding", 0, 3, False)
        encoding(1, 3)
        assert (task.completed, task.finished, task.finished_time) == (1, False, None)
        return AddReport(0, 0, 0, {}, {}, {})

    module = importlib.import_module("vidtldr_jax.cli.embed")
    monkeypatch.setattr(module, "show_progress", keep)
    monkeypatch.setattr("vidtldr_jax.search.index.add_videos", add)
    call_json("embed", copies, *place.words, "--out", tmp_path / "index")
    assert len(bars) == 1


def save_clip(folder, **recipe):
    config = CLIPConfig(
        encoding="per_frame", num_frames=4, image_size=16, patch_size=8, dim=8, depth=2, num_heads=2, mlp_dim=16,
        embed_dim=5,
    )  # fmt: skip
    return save_model(folder, config=config, labels=None, family="clip", **recipe)


def test_any_model_that_embeds_does_and_looks_at_one_view(call_json, place, tmp_path):
    views = {"num_clips": 2, "crop": "three", "resize": "shortest_edge", "shortest_edge": 20}
    model = save_clip(tmp_path / "clip", sampling="dense", stride=1, **views)
    words = ("--model", model, "--schedule", "1", "--batch-size", 4, "--out", tmp_path / "index")
    assert call_json("embed", *place.paths[:4], *words)["added"] == 4
    loaded = load_model(model, schedule="1").with_one_view()
    clips = np.stack([read_clip(path, loaded.preprocessing) for path in place.paths[:4]])
    embeddings = [row.embedding for row in read_rows(tmp_path / "index").values()]
    np.testing.assert_allclose(embeddings, loaded.encode_video(clips).embedding, atol=1e-5, rtol=0)
    recipe = json.loads((tmp_path / "index" / "description.json").read_text())["run"]["preprocessing"]
    assert (recipe["num_clips"], recipe["crop"]) == (1, "center")


def test_models_that_do_not_embed_are_one_error(call, model, place, tmp_path):
    for other in (model, make_umt(tmp_path, "question_answering")):
        message = f"an index needs a model that embeds videos; {str(other)!r} does not; take a UMT for retrieval"
        assert_one_error(call("embed", place.videos, "--model", other, "--out", tmp_path / "index"), message)
    assert not (tmp_path / "index").exists()


def test_wrong_uses_are_one_error(call, place, tmp_path):
    (tmp_path / "empty").mkdir()
    out = ("--out", tmp_path / "index")
    command = ("embed", place.paths[0], *place.words, *out)
    assert_one_error(call("embed", place.videos, "gone.mp4", *place.words, *out), "there is no 'gone.mp4'; check the")
    message = f"below it, or images; {str(tmp_path / 'empty')!r} has none; give another, or name the files"
    assert_one_error(call("embed", tmp_path / "empty", *place.words, *out), message)
    assert_one_error(call("embed", *place.words, *out), "Missing argument 'VIDEO|FOLDER...'", exit_code=2)
    assert_one_error(call("embed", place.paths[0], *place.words), "Missing option '--out'", exit_code=2)
    assert_one_error(call("embed", place.paths[0], *out), "Missing option '--model'", exit_code=2)
    assert_one_error(call(*command, "--model", "no-model"), "there is no 'no-model'; check the path")
    assert_one_error(call(*command, "--schedule", "1,1,1,1"), "error: --schedule: at most 3 entries for 3 layers")
    assert_one_error(call(*command, "--batch-size", 0), "--batch-size", exit_code=2)
    assert_one_error(call(*command, "--devices", 99), "--devices is at most the number of devices, 1")
    assert not (tmp_path / "index").exists()
    assert_one_error(call(*command, "--out", place.videos), "nothing else in it; ")
    assert_one_error(call(*command, "--out", place.paths[1]), f"features are a folder; {place.paths[1]} is a file")
    assert len(place.paths) == 12


def test_names_that_are_no_utf_8_are_kept(call, call_json, place, tmp_path):
    odd = tmp_path / os.fsdecode(b"\xff [bold].mp4")
    shutil.copy(place.paths[0], odd)
    assert call("embed", odd, *place.words, "--out", tmp_path / "index").exit_code == 0
    assert call_json("embed", place.paths[0], *place.words, "--out", tmp_path / "index")["moved"] == 0
    odd.unlink()
    assert call_json("embed", place.paths[0], *place.words, "--out", tmp_path / "index")["moved"] == 1
