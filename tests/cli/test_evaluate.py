"""evaluate classification: the oracle's numbers, processes that are killed, configs, zero-shot and every wrong use."""

import errno
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.cli.conftest import LABELS, save_model
from tests.cli.test_main import ROOT, assert_one_error
from tests.data.making import write_video
from vidtldr_jax.data import Preprocessing, read_clips
from vidtldr_jax.inference import load_model
from vidtldr_jax.inference.load import find_asset
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.trust import regular, whole_files

# What differs from start to start.
TIMES = ("seconds", "device")
VIVIT = ViViTConfig(
    num_frames=4, image_size=16, patch_size=8, tubelet_size=2, dim=8, depth=2, num_heads=2, mlp_dim=16, num_classes=5,
    pooling="mean",
)  # fmt: skip
CONFIG = '''
import ml_collections

def get_config(arg=""):
    schedule = {{"schedule": arg or "2", "pooling": "by_size"}}
    model = {{
        "hidden_size": 8, "num_layers": 2, "num_heads": 2, "mlp_dim": 16, "classifier": "gap",
        "patches": {{"size": (8, 8, 2)}}, "attention_config": {{"type": "spacetime"}},
        "temporal_encoding_config": {{"method": "3d_conv"}}, "token_merging": schedule,
    }}
    data = {{
        "num_frames": 4, "stride": 2, "min_resize": 20, "crop_size": 16, "num_test_clips": 2, "zero_centering": True,
        "do_three_spatial_crops": True, "class_splits": (3, 2), "split_names": ("noun", "verb"),
    }}
    config = ml_collections.ConfigDict({{"model_name": "vivit_multihead_classification_token_merging"}})
    config.model, config.dataset_configs = model, data
    config.evaluation = {{"checkpoint": {checkpoint!r}, "manifest": {manifest!r}}}
    {more}
    return config
'''  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Four videos, and manifests of them: with classes of the tiny model, and with nouns and verbs."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        write_video(folder / f"{number}.mp4", num_frames=15, width=66, first_number=50 * number)
    write_manifest(folder, "val.csv", "path,label", *(f"{n}.mp4,{LABELS[n % 3]}" for n in range(4)))
    write_manifest(folder, "epic.csv", "path,verb,noun", *(f"{n}.mp4,{n % 2},{n % 3}" for n in range(4)))
    return folder


@pytest.fixture(scope="module")
def vivit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vivit") / "model"
    return str(save_model(folder, config=VIVIT, labels=None, family="vivit"))


def write_manifest(folder, name, *lines):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def write_config(path, *, checkpoint=None, manifest=None, more=""):
    path.write_text(CONFIG.format(checkpoint=checkpoint, manifest=manifest and str(manifest), more=more))
    return path


def average(model, path, *, as_probabilities):
    """The scores of a video in plain NumPy; only the model and the reading are ours."""
    rows = []
    for view in read_clips(path, model.preprocessing):
        row = np.asarray(model.classify(view[None]), np.float64)[0]
        rows.append(np.exp(row) / np.exp(row).sum() if as_probabilities else row)
    return np.mean(rows, axis=0)


def without_times(result):
    ways = {way: {k: v for k, v in one.items() if "seconds" not in k} for way, one in result["ways"].items()}
    return {name: value for name, value in result.items() if name not in TIMES} | {"ways": ways}


def evaluate(call_json, manifest, *words, **options):
    return call_json("evaluate", "classification", "--manifest", manifest, *words, **options)


def test_the_accuracy_is_the_oracle_s_and_the_result_says_what_was_done(call_json, model, videos):
    result = evaluate(call_json, videos / "val.csv", "--model", model, "--schedule", "20,4", "--batch-size", 1)
    loaded = load_model(model, schedule="20,4")
    tops = [int(average(loaded, videos / f"{n}.mp4", as_probabilities=True).argmax()) for n in range(4)]
    right = sum(top == number % 3 for number, top in enumerate(tops))
    merged = result["ways"]["merged"]
    assert merged["accuracy"]["label"]["top_1"]["right"] == right
    assert merged["accuracy"]["label"]["top_1"]["of"] == 4
    assert merged["schedule"]["clamps"] == ["layer 0: r = 20 clamped to 16, half of 32 tokens"]
    assert merged["gmacs_total"] == pytest.approx(4 * merged["gmacs_per_view"])
    assert result["counts"] == {
        "listed": 4, "skipped_missing": 0, "evaluated": 4, "unreadable_counted_as_wrong": 0, "with_notices": 0,
    }  # fmt: skip
    assert "1 x 1 views (clips x crops) of 4 frames (middle), squashed to 16 x 16, bicubic" in result["protocol"]
    assert (result["dtype"], len(result["checkpoint_sha256"])) == ("float32", 64)


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_clips_crops_and_the_average_are_asked_for(call_json, tmp_path, videos, kind):
    recipe = {"sampling": "dense", "stride": 2, "resize": "shortest_edge", "shortest_edge": 20}
    model = save_model(tmp_path / "model", **recipe)
    words = ("--model", model, "--clips", 2, "--crops", 3, "--average", kind, "--batch-size", 1)
    result = evaluate(call_json, videos / "val.csv", *words, "--out", tmp_path / "r.json")
    loaded = load_model(model)
    views = Preprocessing(num_frames=4, image_size=16, num_clips=2, crop="three", **recipe)
    loaded = loaded.with_preprocessing(views)
    assert result["views"] == {"clips": 2, "crops": 3, "per_video": 6, "average": kind}
    lines = (tmp_path / "r.records.jsonl").read_text().splitlines()[1:]
    for number, line in enumerate(map(json.loads, lines)):
        scores = average(loaded, videos / f"{number}.mp4", as_probabilities=kind == "probabilities")
        (given,) = line["ways"]["plain"]
        assert given["top"] == np.argsort(-scores).tolist()
        np.testing.assert_allclose(given["scores"], np.sort(scores)[::-1], rtol=1e-4)
    assert f"{kind} averaged over views" in result["protocol"]


def test_the_plain_model_is_compared(call_json, model, videos):
    words = ("--model", model, "--batch-size", 1)
    both = evaluate(call_json, videos / "val.csv", *words, "--schedule", "8,4", "--compare-plain")
    alone = {
        "merged": evaluate(call_json, videos / "val.csv", *words, "--schedule", "8,4"),
        "plain": evaluate(call_json, videos / "val.csv", *words),
    }
    for way, one in alone.items():
        assert both["ways"][way]["accuracy"] == one["ways"][way]["accuracy"]
        assert both["ways"][way]["gmacs_per_view"] == one["ways"][way]["gmacs_per_view"]
        assert both["ways"][way]["computing_seconds_per_video"] > 0
    assert both["agreement"]["of"] == 4
    assert both["ways"]["merged"]["gmacs_per_view"] < both["ways"]["plain"]["gmacs_per_view"]


def start(folder, *words):
    command = [sys.executable, "-m", "vidtldr_jax", "evaluate", "classification", *map(str, words)]
    everything = os.environ | {"PYTHONPATH": ROOT, "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.Popen(command, env=everything, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def count_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.once
def test_a_process_killed_at_random_moments_loses_nothing(call_json, tmp_path):
    rows = ["path,label"]
    for clip in sorted(find_asset("clips").glob("*.mp4")):
        for number in range(14):
            shutil.copy(clip, tmp_path / f"{clip.stem}-{number}.mp4")
            rows.append(f"{clip.stem}-{number}.mp4,{clip.stem.replace('_', ' ')}")
    manifest = write_manifest(tmp_path, "val.csv", *rows)
    words = ("--manifest", manifest, "--batch-size", 1)
    whole = call_json("evaluate", "classification", *words, "--out", tmp_path / "whole.json")
    rng, records, reached = random.Random(0), tmp_path / "r.records.jsonl", []
    for _ in range(3):
        process = start(tmp_path, *words, "--out", tmp_path / "r.json")
        goal = count_lines(records) + rng.randint(1, 9)
        while count_lines(records) < goal and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))
        process.kill()
        assert process.wait() == -9
        reached.append(count_lines(records) - 1)
    assert 0 <= reached[0] < reached[1] < reached[2] < len(rows) - 1
    assert not (tmp_path / "r.json").exists()
    with records.open("ab") as file:
        file.write(b'{"key": "left-0.mp4", "wa')  # as a kill in the middle of a write leaves it
    resumed = call_json("evaluate", "classification", *words, "--out", tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == resumed
    assert without_times(resumed) | {"records": None} == without_times(whole) | {"records": None}
    assert count_lines(records) == len(rows)


class FullFile(regular.FileIO):
    """A file on a disk that is full when the third video is written down."""

    def write(self, data):
        if b"2.mp4" in bytes(data):
            super().write(data[:20])
            refuse_room()
        return super().write(data)


def refuse_room(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sync_folders_only(opened):
    if not stat.S_ISDIR(os.fstat(opened).st_mode):
        refuse_room()


FULL = {  # what is full when, what then can't be written, what is safe
    "a record": (regular, "FileIO", FullFile, "r.records.jsonl", "2 videos"),
    "the end": (os, "fsync", sync_folders_only, "r.records.jsonl", "4 videos"),
    "the result": (whole_files, "_make_folder", refuse_room, "r.json", "all records"),
}


@pytest.mark.parametrize("moment", FULL)
def test_a_full_disk_names_the_file_and_says_what_is_safe(call, model, videos, tmp_path, monkeypatch, moment):
    owner, name, change, place, kept = FULL[moment]
    words = ("evaluate", "classification", "--manifest", videos / "val.csv", "--model", model, "--batch-size", 1)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, change)
        result = call(*words, "--out", tmp_path / "r.json")
    assert_one_error(result, f"error: '{tmp_path / place}': No space left on device; check the path, its permissions")
    assert f"; {kept} are safe in {tmp_path / 'r.records.jsonl'}, and the same command goes on" in result.stderr
    assert not (tmp_path / "r.json").exists()
    again = call(*words, "--out", tmp_path / "r.json")
    assert f"{2 if moment == 'a record' else 4} of 4 videos are known" in again.stderr


def test_another_run_is_refused_and_restart_begins_anew(call, call_json, model, videos, tmp_path):
    words = ("--model", model, "--batch-size", 1, "--out", tmp_path / "r.json")
    first = evaluate(call_json, videos / "val.csv", *words, "--limit", 2)
    assert (first["counts"]["listed"], first["counts"]["evaluated"]) == (4, 2)
    evaluate(call_json, videos / "val.csv", *words)  # more videos of the same run
    assert count_lines(tmp_path / "r.records.jsonl") == 5
    command = ("evaluate", "classification", "--manifest", videos / "val.csv", *words, "--schedule", "8,4")
    assert_one_error(call(*command), 'schedules.merged was null, now "8,4"; schedules.plain was "none", now null')
    assert call(*command, "--restart", "--limit", 1).exit_code == 0
    assert count_lines(tmp_path / "r.records.jsonl") == 2


def test_missing_videos_are_listed_before_anything_is_run(call, call_json, model, videos, tmp_path):
    lines = [f"{videos / '0.mp4'},left", "gone.mp4,left", "away.mp4,right"]
    manifest = write_manifest(tmp_path, "val.csv", "path,label", *lines)
    words = ("--model", model, "--batch-size", 1, "--out", tmp_path / "r.json")
    result = call("evaluate", "classification", "--manifest", manifest, *words)
    assert_one_error(result, f"2 of 3 don't: {tmp_path / 'gone.mp4'}, {tmp_path / 'away.mp4'}; give --root, or leave")
    assert not (tmp_path / "r.records.jsonl").exists()
    found = evaluate(call_json, manifest, *words, "--skip-missing")
    assert (found["counts"]["skipped_missing"], found["skipped"]) == (2, ["gone.mp4", "away.mp4"])
    assert found["ways"]["plain"]["accuracy"]["label"]["top_1"]["of"] == 1
    text = call("evaluate", "classification", "--manifest", manifest, *words, "--skip-missing").stdout
    assert "1 of 3 listed; 2 that don't exist left out" in text
    elsewhere = write_manifest(tmp_path, "names.csv", "path,label", "0.mp4,left")
    assert evaluate(call_json, elsewhere, *words[:4], "--root", videos)["counts"]["evaluated"] == 1
    nothing = write_manifest(tmp_path, "none.csv", *["path,label", *lines[1:]])
    assert_one_error(call("evaluate", "classification", "--manifest", nothing, "--skip-missing"), "2 of 2 don't")


def test_an_unreadable_video_is_one_error_and_counts_as_wrong(call, call_json, model, videos, tmp_path):
    (tmp_path / "bad.mp4").write_text("not a video\n" * 50)
    manifest = write_manifest(tmp_path, "val.csv", "path,label", f"{videos / '0.mp4'},left", "bad.mp4,left")
    words = ("--model", model, "--batch-size", 1)
    found = evaluate(call_json, manifest, *words, exit_code=1)
    assert list(found["errors"]) == ["bad.mp4"]
    assert found["ways"]["plain"]["accuracy"]["label"]["top_1"]["of"] == 2
    result = call("evaluate", "classification", "--manifest", manifest, *words)
    assert_one_error(result, "bad.mp4: ")
    assert "1 can't be read and count as wrong" in result.stdout


def test_a_config_in_scenic_s_format_says_it_all(call_json, vivit, videos, tmp_path):
    path = write_config(tmp_path / "config.py", checkpoint=vivit, manifest=videos / "epic.csv")
    result = call_json("evaluate", "classification", "--config", path, "--batch-size", 1, "--out", tmp_path / "r.json")
    by_size = ViViTConfig.from_dict(VIVIT.to_dict() | {"pooling": "mean_by_size"})
    model = load_model(vivit)
    oracle = type(model)(
        model.params, by_size, schedule="2",
        preprocessing=Preprocessing(
            num_frames=4, image_size=16, sampling="windows", stride=2, num_clips=2, resize="shortest_edge",
            shortest_edge=20, kernel="bilinear", crop="three_up", mean=(0.5,) * 3, std=(0.5,) * 3,
        ),
    )  # fmt: skip
    right = []
    for number, line in enumerate(map(json.loads, (tmp_path / "r.records.jsonl").read_text().splitlines()[1:])):
        scores = average(oracle, videos / f"{number}.mp4", as_probabilities=False)
        noun, verb = line["ways"]["merged"]
        np.testing.assert_allclose(noun["scores"], np.sort(scores[:3])[::-1], rtol=1e-4)
        right.append((scores[:3].argmax() == number % 3, scores[3:].argmax() == number % 2))
        assert (noun["rank"] == 0, verb["rank"] == 0) == right[-1]
    counts = {name: tops["top_1"]["right"] for name, tops in result["ways"]["merged"]["accuracy"].items()}
    nouns, verbs = zip(*right)
    assert counts == {"noun": sum(nouns), "verb": sum(verbs), "joint": sum(map(all, right))}
    assert result["views"] == {"clips": 2, "crops": 3, "per_video": 6, "average": "logits"}
    none = call_json("evaluate", "classification", "--config", f"{path}:none", "--batch-size", 1, "--limit", 1)
    assert list(none["ways"]) == ["plain"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("config.model.hidden_size = 16", "the checkpoint has dim = 8, not 16"),
        ("config.model.num_layers = 3; config.model.mlp_dim = 8", "mlp_dim = 16, not 8"),
        ("config.model.token_merging.schedul = '1'", "there is no field 'schedul' (did you mean 'schedule'?)"),
        (
            "config.model.token_mergin = config.model.token_merging; del config.model['token_merging']",
            "(did you mean 'token_merging'?)",
        ),
        ("config.model_name = 'vivit_multihead_classification'", "which merges nothing, and model.token_merging.sched"),
        ("config.model_name = 'vivit_multihead'", "model_name = 'vivit_multihead' is none of vivit_classification, "),
        ("config.model_name = 'vivit_multilabel_classification'", "one right class per head"),
        ("config.dataset_configs.split_names = ('noun',)", "class_splits and split_names go together"),
        ("config.model.temporal_encoding_config.method = 'temporal_sampling'", "has temporal_sampling"),
        ("raise KeyError('home')", "can't be run (KeyError: 'home')"),
        ("raise SystemExit(0)", "can't be run (SystemExit: 0)"),
        ("import no_such_module", "needs the module no_such_module, which is not installed"),
        ("return 3", "get_config returns a ConfigDict"),
        ("config.model = None", "get_config returns a ConfigDict"),
    ],
)
def test_a_config_that_does_not_do_is_one_error(call, vivit, videos, tmp_path, more, message):
    path = write_config(tmp_path / "config.py", checkpoint=vivit, manifest=videos / "epic.csv", more=more)
    assert_one_error(call("evaluate", "classification", "--config", path), message)
    assert not (tmp_path / "__pycache__").exists()


def test_configs_that_are_none_or_for_another_model(call, model, videos, tmp_path, monkeypatch):
    path = write_config(tmp_path / "config.py", manifest=videos / "epic.csv")
    assert_one_error(call("evaluate", "classification", "--config", "no.py"), "there is no 'no.py'")
    assert_one_error(call("evaluate", "classification", "--config", path), "--model is needed", exit_code=2)
    result = call("evaluate", "classification", "--config", path, "--model", model)
    assert_one_error(result, "describes a ViViT; the checkpoint is a video_vit")
    bare = tmp_path / "bare.py"
    bare.write_text("def get_config():\n    return {}\n")
    assert_one_error(call("evaluate", "classification", "--config", f"{bare}:none"), "takes no argument; got 'none'")
    bare.write_text("prose is here again\n")
    assert_one_error(call("evaluate", "classification", "--config", bare), "can't be run (SyntaxError")
    monkeypatch.setitem(sys.modules, "ml_collections", None)
    assert_one_error(call("evaluate", "classification", "--config", path), "pip install 'vidtldr-jax[configs]'")


def test_classes_are_named_by_their_embeddings(call, call_json, videos, tmp_path):
    config = CLIPConfig(
        encoding="per_frame", num_frames=4, image_size=16, patch_size=8, dim=8, depth=2, num_heads=2, mlp_dim=16,
        embed_dim=5,
    )  # fmt: skip
    model = save_model(tmp_path / "clip", config=config, labels=None, family="clip")
    vectors = np.random.default_rng(5).normal(size=(3, 5))
    np.savez(tmp_path / "classes.npz", embeddings=vectors, names=np.array(LABELS))
    words = ("--model", model, "--schedule", "1", "--batch-size", 1)
    result = evaluate(call_json, videos / "val.csv", *words, "--class-embeddings", tmp_path / "classes.npz")
    loaded, right = load_model(model, schedule="1"), 0
    for number in range(4):
        (view,) = read_clips(videos / f"{number}.mp4", loaded.preprocessing)
        vector = np.asarray(loaded.encode_video(view[None]).embedding)[0]
        cosines = [vector @ text / np.linalg.norm(vector) / np.linalg.norm(text) for text in vectors]
        right += int(np.argmax(cosines)) == number % 3
    assert result["ways"]["merged"]["accuracy"]["label"]["top_1"]["right"] == right
    assert "zero-shot" in result["protocol"]
    command = ("evaluate", "classification", "--manifest", videos / "val.csv")
    assert_one_error(call(*command, "--model", model), "--class-embeddings is needed for a model without a classifier")
    assert_one_error(call(*command, "--class-embeddings", "x.npz"), "needs a model that embeds videos")


def test_wrong_uses_are_one_error(call, model, videos, tmp_path):
    command = ("evaluate", "classification", "--model", model)
    listed = (*command, "--manifest", videos / "val.csv")
    wrong = write_manifest(tmp_path, "wrong.csv", "path,label", "a.mp4,lefd")
    assert_one_error(call(*command), "--manifest is needed", exit_code=2)
    assert_one_error(call(*command, "--manifest", "no.csv"), "no.csv")
    assert_one_error(call(*command, "--manifest", wrong), "line 2: label is 'lefd', no class (nearest: 'left')")
    assert_one_error(call(*listed, "--compare-plain"), "--compare-plain needs a schedule")
    assert_one_error(call(*listed, "--crops", 3), 'crop = "three" needs resize = "shortest_edge"')
    assert_one_error(call(*listed, "--out", "result.txt"), "--out is a file that ends in .json")
    assert_one_error(call(*listed, "--schedule", "1,1,1,1"), "error: --schedule: at most 3 entries for 3 layers")
    assert_one_error(call("evaluate", "classification", "--model", "moving-object"), "did you mean 'moving-objects'?")
