"""demo and benchmark: plain against merged, and the files that the demo writes."""

import json

import av
import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import CONFIG, save_model
from tests.cli.test_main import assert_one_error, run_process, run_python
from vidtldr_jax.cli.comparison import format_tokens, summarise_gain, warn_of_loss
from vidtldr_jax.cli.output import format_bytes, format_macs, format_seconds, print_json
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.vivit_config import ViViTConfig

RUN_KEYS = {
    "schedule",
    "gmacs",
    "compile_seconds",
    "median_seconds",
    "min_seconds",
    "max_seconds",
    "seconds",
    "memory_bytes",
}


def check_files(files, *, num_frames):
    with av.open(files["overlay"]) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == num_frames
    rows, columns = frames[0].shape[:2]
    assert rows >= 256
    assert columns > 3 * 256
    with Image.open(files["strip"]) as strip:
        strip.load()
        assert strip.format == "PNG"


def test_the_demo_compares_and_writes_pictures(call_json, model, clip, tmp_path):
    out = tmp_path / "deep" / "demo"
    answer = call_json("demo", "--model", model, "--video", clip, "--schedule", "8,4", "--out", out, "--repeats", 3)
    for name in ("plain", "merged"):
        assert answer[name].keys() == RUN_KEYS | {"predictions"}
        assert len(answer[name]["seconds"]) == 3
        assert len(answer[name]["predictions"]) == 3
    assert answer["plain"]["schedule"]["tokens"] == [32] * 4
    assert answer["merged"]["schedule"]["tokens"] == [32, 24, 20, 20]
    assert answer["mac_ratio"] == pytest.approx(answer["plain"]["gmacs"] / answer["merged"]["gmacs"])
    assert answer["speedup"] == pytest.approx(answer["plain"]["median_seconds"] / answer["merged"]["median_seconds"])
    assert answer["plain"]["memory_bytes"] > 4 * 16 * 16 * 3 * 4
    assert answer["files"] == {"overlay": str(out / "clip-overlay.mp4"), "strip": str(out / "clip-strip.png")}
    check_files(answer["files"], num_frames=CONFIG.num_frames)


_SIZE = {"num_frames": 4, "image_size": 16, "patch_size": 4, "dim": 8, "depth": 3, "num_heads": 2, "mlp_dim": 16}
_WITH_CLASS_TOKENS = {
    "spacetime": ViViTConfig(tubelet_size=2, num_classes=3, **_SIZE),
    "factorized encoder": ViViTConfig(
        attention="factorized_encoder", temporal_depth=1, tubelet_size=2, num_classes=3, **_SIZE
    ),
    "per frame": CLIPConfig(encoding="per_frame", **_SIZE),
    "joint": CLIPConfig(encoding="joint", **_SIZE),
}


@pytest.mark.parametrize("config", _WITH_CLASS_TOKENS.values(), ids=_WITH_CLASS_TOKENS)
def test_the_demo_draws_models_with_class_tokens(call_json, clip, tmp_path, config):
    labels = None if config.num_classes is None else ["a", "b", "c"]
    other = save_model(tmp_path / "model", config=config, labels=labels, family=config.architecture)
    answer = call_json("demo", "--model", other, "--video", clip, "--schedule", "4,2", "--repeats", 1)
    assert (answer["merged"]["predictions"] is None) == (labels is None)
    check_files(answer["files"], num_frames=config.num_frames)


@pytest.mark.parametrize("schedule", ["none", "2x3", "20"])
def test_the_demo_prints_both_side_by_side(call, model, clip, tmp_path, schedule):
    result = call("demo", "--model", model, "--video", clip, "--schedule", schedule, "--repeats", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("prediction ") == 3
    for words in ("tokens per layer", "GMACs per clip", "time, median", "peak memory", "plain", "merged"):
        assert words in result.stdout
    assert ("clamped to 16" in result.stdout) == (schedule == "20")
    for name in ("overlay.mp4", "strip.png"):
        assert f"vidtldr-demo/clip-{name}" in result.stdout
        assert (tmp_path / "vidtldr-demo" / f"clip-{name}").is_file()


def test_a_demo_that_cannot_work_is_one_error_and_writes_nothing(call, model, clip, tmp_path):
    assert_one_error(call("demo", "--model", model, "--video", "nope.mp4"), "there is no 'nope.mp4'")
    assert not (tmp_path / "vidtldr-demo").exists()
    taken = tmp_path / "taken"
    taken.touch()
    assert_one_error(call("demo", "--model", model, "--video", clip, "--out", taken), "taken", exit_code=2)
    assert_one_error(call("demo", "--model", model, "--video", clip, "--out", taken / "x"), "taken")


def test_the_benchmark_compares_on_random_clips(call_json, model):
    words = ("benchmark", "--model", model, "--schedule", "8,4", "--repeats", 2, "--no-search")
    answer = call_json(*words, "--batch-size", 3, "--frames", 8)
    assert answer["shape"] == [3, 8, 16, 16, 3]
    assert answer["plain"].keys() == answer["merged"].keys() == RUN_KEYS
    assert answer["merged"]["schedule"]["tokens"] == [64, 56, 52, 52]
    assert (answer["warning"] is None) == answer["pays"]
    assert answer["weights"] == "trained"


def test_the_benchmark_prints_a_table(call, model):
    result = call("benchmark", "--model", model, "--repeats", 1, "--dtype", "bfloat16", "--no-search")
    assert result.exit_code == 0, result.output
    assert "x fewer multiply-accumulates" in result.stdout
    assert "r = 8,2,1: 32 -> 21 tokens" in result.stdout


def test_benchmarks_that_make_no_sense_are_one_error(call, model):
    both = call("benchmark", "--model", model, "--preset", "umt-b16")
    assert_one_error(both, "give --model or --preset, not both", exit_code=2)
    assert_one_error(call("benchmark", "--preset", "umt-b17"), "did you mean 'umt-b16'?")
    assert_one_error(call("benchmark", "--model", model, "--frames", 5), "got 5; take 6")
    assert_one_error(
        call("benchmark", "--model", model, "--schedule", "1x9"), "error: --schedule: at most 3 entries for 3 layers"
    )


def test_a_loss_is_told_and_an_overlap_too():
    run = {"median_seconds": 0.002}
    loss = {"pays": False, "plain": run, "merged": {"median_seconds": 0.003}, "mac_ratio": 1.5, "speedup": 2 / 3}
    assert warn_of_loss(loss).startswith("merging does not pay here: 3 ms merged, 2 ms plain")
    assert warn_of_loss(loss | {"pays": True}) is None
    assert summarise_gain(loss | {"is_certain": True}) == (
        "merged: 1.50 x fewer multiply-accumulates, 0.67 x the speed"
    )
    assert "the runs overlap" in summarise_gain(loss | {"is_certain": False})


def test_numbers_are_written_for_people():
    assert [format_seconds(value) for value in (0.00123, 0.5, 12.3)] == ["1.23 ms", "500 ms", "12.3 s"]
    assert [format_bytes(value) for value in (2**21, None)] == ["2.0 MiB", "unknown"]
    assert [format_macs(value) for value in (303.3e9, 1.234e9, 0.0806e9)] == ["303.3", "1.23", "0.0806"]
    assert format_tokens([9, 9, 9, 5, 4]) == "9 (x3) > 5 > 4"
    assert format_tokens([9, 5, 5, 5]) == "9 > 5 (x2)"


def test_json_has_no_nan(capsys):
    print_json({"a": [float("nan"), 1.5, np.inf]})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5, None]}


def test_a_real_process_keeps_its_compilations_where_the_user_says(model, clip, tmp_path):
    words = ("classify", clip, "--model", model, "--json")
    first = run_process(*words, XDG_CACHE_HOME=str(tmp_path / "mine"))
    assert (first.returncode, first.stderr) == (0, "")
    assert list((tmp_path / "mine" / "vidtldr-jax" / "compiled").iterdir())
    second = run_process(*words, XDG_CACHE_HOME=str(tmp_path / "mine"))
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")
    none = run_process(*words, "--no-cache", XDG_CACHE_HOME=str(tmp_path / "none"))
    assert (none.returncode, none.stdout) == (0, first.stdout)
    assert not (tmp_path / "none").exists()


def test_importing_the_package_sets_no_cache():
    program = "import jax, vidtldr_jax, vidtldr_jax.cli.main; print(jax.config.jax_compilation_cache_dir)"
    assert run_python("-c", program).stdout == "None\n"


def test_the_demo_runs_with_what_ships(tmp_path):
    result = run_process("demo", "--out", tmp_path / "demo", "--repeats", 2, "--no-cache", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    truth = answer["video"].rsplit("/", 1)[-1].removesuffix(".mp4").replace("_", " ")
    assert answer["plain"]["predictions"][0]["label"] == truth
    assert answer["merged"]["predictions"][0]["label"] == truth
    check_files(answer["files"], num_frames=16)
