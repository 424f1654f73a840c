"""classify: every kind of input, and one line for every kind of bad one."""

import errno
import json
import os
import pty
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import LABELS, save_model
from tests.cli.test_main import assert_one_error
from tests.data.making import draw_frame, write_audio, write_video
from vidtldr_jax.data import loading, read_clip, read_clips
from vidtldr_jax.inference import load_model, stream
from vidtldr_jax.inference.stream import EncodedVideo


def write_folder(folder, num_frames=6):
    folder.mkdir()
    for number in range(num_frames):
        Image.fromarray(draw_frame(number)).save(folder / f"{number:03}.png")
    return folder


def write_gif(path):
    first, *rest = [Image.fromarray(draw_frame(number)) for number in range(6)]
    first.save(path, save_all=True, append_images=rest, duration=40)
    return path


GOOD = {
    "H.264 in MP4": lambda folder: write_video(folder / "a.mp4", num_frames=8),
    "MPEG-4 in AVI": lambda folder: write_video(folder / "a.avi", num_frames=8, codec="mpeg4"),
    "VP9 in WebM": lambda folder: write_video(folder / "a.webm", num_frames=8, codec="libvpx-vp9"),
    "GIF": lambda folder: write_gif(folder / "a.gif"),
    "folder": lambda folder: write_folder(folder / "frames"),
}


def write_bad(kind, folder):
    path = folder / "bad.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("not a video\n" * 50)
    elif kind == "truncated":
        whole = write_video(folder / "whole.mp4", num_frames=20).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "audio":
        return write_audio(folder / "sound.wav", codec="pcm_s16le")
    elif kind == "no images":
        path = folder / "texts"
        path.mkdir()
        (path / "a.txt").write_text("a")
    return path


BAD = ["missing", "empty", "text", "truncated", "audio", "no images"]


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_video_is_classified(call_lines, model, tmp_path, kind):
    path = GOOD[kind](tmp_path)
    (result,) = call_lines("classify", path, "--model", model, "--schedule", "8,4")
    assert (result["video"], result["error"]) == (str(path), None)
    loaded = load_model(model, schedule="8,4")
    logits = np.asarray(loaded.classify(read_clip(path, loaded.preprocessing)[None]), np.float64)[0]
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    order = np.argsort(-expected)
    assert [one["index"] for one in result["predictions"]] == order.tolist()
    assert [one["label"] for one in result["predictions"]] == [LABELS[index] for index in order]
    np.testing.assert_allclose([one["probability"] for one in result["predictions"]], expected[order], atol=1e-5)
    assert result["schedule"]["tokens"] == [32, 24, 20, 20]


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_error_and_exit_code_1(call, model, tmp_path, kind):
    path = write_bad(kind, tmp_path)
    result = call("classify", path, "--model", model)
    assert_one_error(result, str(path))
    assert "Traceback" not in result.output


@pytest.mark.parametrize("kind", BAD)
def test_the_others_of_a_list_are_done(call_lines, call, model, clip, tmp_path, kind):
    path = write_bad(kind, tmp_path)
    words = ("classify", clip, path, clip, "--model", model, "--batch-size", 2)
    first, bad, last = call_lines(*words, exit_code=1)
    assert [result["video"] for result in (first, bad, last)] == [clip, str(path), clip]
    assert bad["predictions"] is None
    assert bad["error"]
    assert first["predictions"] == last["predictions"]
    result = call(*words)
    assert_one_error(result, str(path))
    assert result.stdout.count(clip) == 2


def test_people_and_machines_read_the_same_error(call, call_lines, model, tmp_path):
    path = write_bad("text", tmp_path)
    (result,) = call_lines("classify", path, "--model", model, exit_code=1)
    assert result["error"].startswith("a video is needed; ")
    assert result["error"] in call("classify", path, "--model", model).stderr


def test_a_short_video_is_padded_with_a_notice(call, call_lines, model, tmp_path):
    path = write_video(tmp_path / "short.mp4", num_frames=2)
    result = call("classify", path, "--model", model)
    assert result.exit_code == 0
    assert result.stderr == (f"note: {path}: there are 2 frames, the model looks at 4: the last one is repeated\n")
    assert call_lines("classify", path, "--model", model)[0]["notices"]


def test_batches_of_any_size_give_the_same_answers(call_lines, model, tmp_path):
    paths = [write_video(tmp_path / f"{number}.mp4", num_frames=6, first_number=20 * number) for number in range(5)]
    answers = [call_lines("classify", *paths, "--model", model, "--batch-size", size) for size in (1, 2, 4, 9)]
    values = [[[one["probability"] for one in result["predictions"]] for result in answer] for answer in answers]
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], atol=1e-6)
    assert np.ptp(np.array(values[0])[:, 0]) > 1e-4


def test_probabilities_of_several_views_are_averaged(call, call_lines, tmp_path):
    folder = save_model(
        tmp_path / "views", sampling="dense", num_clips=2, resize="shortest_edge", shortest_edge=20, crop="three"
    )
    path = write_video(tmp_path / "a.mp4", num_frames=30)
    (answer,) = call_lines("classify", path, "--model", folder, "--batch-size", 4)
    assert answer["num_views"] == 6
    loaded = load_model(folder)
    logits = np.asarray(loaded.classify(read_clips(path, loaded.preprocessing)), np.float64)
    expected = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).mean(0)
    found = {one["index"]: one["probability"] for one in answer["predictions"]}
    np.testing.assert_allclose([found[index] for index in range(3)], expected, atol=1e-6)
    assert "probabilities averaged over 6 views" in call("classify", path, "--model", folder).stdout


def test_people_see_top_k_and_the_schedule_with_its_clamps(call, model, clip):
    result = call("classify", clip, "--model", model, "--schedule", "20", "--top-k", 2)
    assert result.exit_code == 0
    name, first, second, schedule = result.stdout.splitlines()
    assert name == clip
    assert first.split()[1] == second.split()[1] == "%"
    assert "clamped to 16, half of 32 tokens" in schedule
    assert result.stderr == ""


def test_bfloat16_gives_nearly_the_same(call_lines, model, clip):
    full = call_lines("classify", clip, "--model", model)[0]["predictions"]
    half = call_lines("classify", clip, "--model", model, "--dtype", "bfloat16")[0]["predictions"]
    by_index = {one["index"]: one["probability"] for one in half}
    assert any(by_index[one["index"]] != one["probability"] for one in full)
    for one in full:
        assert by_index[one["index"]] == pytest.approx(one["probability"], abs=0.1)


def test_wrong_usage_is_exit_code_2(call, clip):
    assert_one_error(call("classify"), "VIDEO", exit_code=2)
    assert_one_error(call("classify", clip, "--top-k", 0), "--top-k", exit_code=2)
    assert_one_error(call("classify", clip, "--dtype", "float8"), "bfloat16", exit_code=2)


def test_models_that_cannot_classify_are_one_error(call, clip, tmp_path):
    assert_one_error(call("classify", clip, "--model", "moving-object"), "did you mean 'moving-objects'?")
    assert_one_error(call("classify", clip, "--model", "umt-b16"), "is an architecture without weights")
    assert_one_error(call("classify", clip, "--model", "hf://a"), "a place on a hub is hf://owner/name")
    (tmp_path / "other").mkdir()
    assert_one_error(call("classify", clip, "--model", tmp_path / "other"), "has no config.json")


def test_workers_change_no_answer(call_lines, model, clip, tmp_path):
    pytest.importorskip("grain", reason="worker processes need the extra 'workers'")
    words = ("classify", clip, tmp_path / "missing.mp4", "--model", model)
    answers = [call_lines(*words, "--workers", count, exit_code=1) for count in (0, 1)]
    assert answers[0] == answers[1]


def test_without_grain_workers_are_one_error_that_names_the_extra(call, model, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    assert_one_error(call("classify", clip, "--model", model, "--workers", 1), "pip install 'vidtldr-jax[workers]'")
    assert call("classify", clip, "--model", model).exit_code == 0


def test_a_file_that_the_system_refuses_is_one_error(call, model, clip, monkeypatch):
    def refuse(path, preprocessing):
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(loading, "read_frames", refuse)
    result = call("classify", clip, "--model", model)
    assert_one_error(result, f"'{clip}': Input/output error; check the path, its permissions and the space left")


def test_a_folder_of_videos_means_all_videos_below_it(call, call_lines, model, tmp_path):
    folder = tmp_path / "videos"
    for name in ("b.mp4", "deep/a.asf", "deep/c.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        codec = "wmv2" if name.endswith("asf") else "libx264"
        write_video(folder / name, num_frames=6, codec=codec)
    Image.fromarray(draw_frame(0)).save(folder / "cover.png")
    (folder / "notes.txt").write_text("notes")
    found = call_lines("classify", folder, "--model", model)
    assert [one["video"] for one in found] == [str(folder / name) for name in ("b.mp4", "deep/a.asf", "deep/c.mp4")]
    assert [one["error"] for one in found] == [None] * 3
    assert call("classify", folder, "--model", model).stderr.splitlines() == [
        f"note: {folder}: 1 picture left out, in the folder itself; to take a folder of pictures as one video, name it",
        f"note: {folder}: 1 file left out, by suffix no videos (.txt 1); to take one, name it",
    ]


def test_what_is_no_file_in_a_folder_is_named_and_the_others_are_done(call_lines, model, clip, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(clip, folder / "a.mp4")
    os.mkfifo(folder / "b.mp4")
    (folder / "c.mp4").symlink_to("c.mp4")
    (folder / "d.mp4").symlink_to("/dev/zero")
    shutil.copy(clip, folder / "e.mp4")
    found = call_lines("classify", folder, "--model", model, exit_code=1)
    assert [one["video"] for one in found] == [str(folder / f"{name}.mp4") for name in "abcde"]
    assert [one["predictions"] is None for one in found] == [False, True, True, True, False]


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_what_is_known_is_printed_before_anything_fails(call, model, clip, monkeypatch, words):
    def fail(*arguments, **options):
        for name in ("a.mp4", "b.mp4"):
            yield EncodedVideo(name, np.zeros((1, 3), np.float32), (), None)
        raise RuntimeError("no code is without faults")

    monkeypatch.setattr(stream, "encode_videos", fail)
    result = call("classify", clip, "--model", model, *words)
    assert isinstance(result.exception, RuntimeError)
    assert result.stdout.count(LABELS[0]) == 2
    if words:
        assert [json.loads(line)["video"] for line in result.stdout.splitlines()] == ["a.mp4", "b.mp4"]


def test_each_line_of_json_says_all_that_a_result_depends_on(call_lines, model, clip):
    (found,) = call_lines("classify", clip, "--model", model, "--schedule", "8,4")
    assert sorted(found) == [
        "dtype", "error", "gmacs", "model", "notices", "num_views", "predictions", "schedule", "video",
    ]  # fmt: skip
    assert (found["model"], found["dtype"]) == (model, "float32")


def test_results_reach_a_pipe_while_a_bar_is_on_the_terminal(model, clip):
    """Stderr is a pseudo-terminal, stdout a pipe, as in `vidtldr classify ... --json > results.jsonl`."""
    terminal, inside = pty.openpty()
    line = [sys.executable, "-m", "vidtldr_jax", "classify", clip, "--model", model, "--no-cache", "--json"]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=inside, env={**os.environ, "TERM": "xterm"}, check=False)
    os.close(inside)
    os.close(terminal)
    assert done.returncode == 0
    assert json.loads(done.stdout)["video"] == clip
