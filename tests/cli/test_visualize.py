"""`vidtldr visualize`: all four files, those that are named, the same facts in print and JSON; mistakes in a line."""

import av
import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import CONFIG, save_model
from tests.cli.test_main import assert_one_error
from vidtldr_jax.data.clip import read_clip
from vidtldr_jax.inference import load_model
from vidtldr_jax.models.vivit_config import ViViTConfig


def test_without_a_file_all_four_kinds_are_written_and_open(call_json, model, clip, tmp_path):
    result = call_json("visualize", clip, "--model", model, "--schedule", "9,5", "--height", 64)
    assert result["files"] == {kind: f"vidtldr-visualize/clip.{kind}" for kind in ("html", "mp4", "gif", "png")}
    folder = tmp_path / "vidtldr-visualize"
    assert sorted(path.name for path in folder.iterdir()) == ["clip.gif", "clip.html", "clip.mp4", "clip.png"]
    assert (folder / "clip.html").read_text().startswith("<!doctype html>")
    with av.open(str(folder / "clip.mp4")) as container:
        assert len(list(container.decode(video=0))) == CONFIG.num_frames
    with Image.open(folder / "clip.gif") as image:
        assert image.n_frames == CONFIG.num_frames
    with Image.open(folder / "clip.png") as image:
        assert image.width > 4 * 64


def test_only_files_that_are_named_are_written_and_the_json_has_what_the_models_say(call_json, model, clip, tmp_path):
    result = call_json("visualize", clip, "--model", model, "--schedule", "9,5", "--html", "pages/a.html", "--top-k", 2)
    assert result["files"] == {"html": "pages/a.html"}
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["a.html"]
    loaded = load_model(model, schedule="9,5")
    logits = np.asarray(loaded.classify(read_clip(clip, loaded.preprocessing)[None]), np.float64)[0]
    odds = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    found = result["merged"]["predictions"]
    assert [one["index"] for one in found] == np.argsort(-odds)[:2].tolist()
    assert found[0]["probability"] == pytest.approx(odds.max(), abs=1e-5)
    assert result["merged"]["tokens"] == [32, 23, 18, 18]
    assert result["plain"]["tokens"] == [32] * 4
    assert result["merged"]["gmacs"] < result["plain"]["gmacs"]


def test_a_folder_takes_all_kinds_and_a_named_file_goes_where_it_is_named(call_json, model, clip, tmp_path):
    words = ("visualize", clip, "--model", model, "--out", "all", "--png", "strip.png", "--height", 32)
    files = call_json(*words)["files"]
    assert files == {"html": "all/clip.html", "mp4": "all/clip.mp4", "gif": "all/clip.gif", "png": "strip.png"}
    assert (tmp_path / "strip.png").exists()


def test_print_tells_tokens_both_answers_and_the_files(call, model, clip):
    result = call("visualize", clip, "--model", model, "--schedule", "9,5", "--png", "a.png")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "32 > 23 > 18\n" in result.stdout
    assert "prediction 3" in result.stdout
    assert result.stdout.rstrip().splitlines()[-1].split() == ["png", "a.png"]


def test_a_factorised_encoder_and_a_model_without_classifier_can_be_shown(call_json, clip, tmp_path):
    fields = {"num_frames": 4, "image_size": 16, "patch_size": 4, "tubelet_size": 2, "dim": 8, "depth": 2}
    config = ViViTConfig(
        **fields, num_heads=2, mlp_dim=16, num_classes=None, attention="factorized_encoder", temporal_depth=1
    )
    folder = save_model(tmp_path / "fe", config=config, labels=None, family="vivit")
    result = call_json("visualize", clip, "--model", folder, "--schedule", "3,2", "--html", "a.html", "--mp4", "a.mp4")
    assert result["merged"]["predictions"] is None
    assert -1 <= result["cosine"] <= 1
    assert (tmp_path / "a.mp4").exists()


def test_a_short_video_is_noted(call, model, tmp_path):
    from tests.data.making import write_video

    result = call("visualize", write_video(tmp_path / "s.mp4", num_frames=2), "--model", model, "--png", "a.png")
    assert result.exit_code == 0
    assert result.stderr.startswith("note: there are 2 frames, the model looks at 4")


def test_mistakes_are_one_line_and_leave_nothing(call, model, clip, tmp_path):
    assert_one_error(call("visualize", "nowhere.mp4", "--model", model), "the video must exist")
    assert_one_error(call("visualize", clip, "--model", model, "--schedule", "1,1,1,1"), "3 layers")
    assert_one_error(call("visualize", clip, "--height", "2"), "--height", exit_code=2)
    assert list(tmp_path.iterdir()) == []
