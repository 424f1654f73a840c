"""plan: schedules on the first line, calibration, times, the plot, configs that evaluations take, wrong use."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import CONFIG, save_model
from tests.cli.test_main import ROOT, assert_one_error
from tests.cli.umt_sets import make_umt
from tests.data.making import write_video
from vidtldr_jax.cli import plan_plot, plan_steps
from vidtldr_jax.cli.classification_config import load_experiment
from vidtldr_jax.cli.text_models import prepare
from vidtldr_jax.evaluation.calibration import Calibration, Score
from vidtldr_jax.inference import latency_table as latency
from vidtldr_jax.inference.latency_table import LatencyTable
from vidtldr_jax.inference.timing import Measurement
from vidtldr_jax.models.vivit_config import ViViTConfig

TABLE = LatencyTable(
    tokens=(8, 16, 32), block=(0.001, 0.002, 0.006), reducing=(0.0015, 0.0025, 0.0055), mlp=(0.0005, 0.001, 0.002),
    plain=0.02,
)  # fmt: skip
VIVIT = ViViTConfig(
    num_frames=4, image_size=16, patch_size=4, tubelet_size=2, dim=8, depth=2, num_heads=2, mlp_dim=16, num_classes=3,
    pooling="mean_by_size", attention="factorized_encoder", temporal_depth=1, temporal_num_heads=1,
)  # fmt: skip
SCENIC_CLIPS = {
    "sampling": "windows", "stride": 2, "num_clips": 1, "resize": "shortest_edge", "shortest_edge": 20,
    "kernel": "bilinear", "crop": "center", "mean": (0.5,) * 3, "std": (0.5,) * 3,
}  # fmt: skip


@pytest.fixture
def timed(monkeypatch):
    """Times as in `TABLE`, and a run that takes as long as is set."""
    runs = {"plain": 0.021, "merged": 0.011}
    monkeypatch.setattr(plan_steps, "measure_latency", lambda *rest, **more: TABLE)
    monkeypatch.setattr(
        plan_steps,
        "measure_models",
        lambda models, video, repeats: {n: Measurement((runs[n],) * repeats, (0.0,), 1.0, None) for n in models},
    )
    return runs


def test_the_first_line_is_the_schedule_of_the_budget(call, call_json):
    result = call("plan", "--preset", "umt-b16", "--max-gmacs", 178)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "520,261,131"
    assert "budget    at most 178 GMACs; plain 303.3 GMACs, 2352 tokens" in lines
    assert "chosen    --schedule 520,261,131 (halving, layers 0 to 2): 2352 > 1832 > 1571 > 1440 (x9)" in lines
    found = call_json("plan", "--preset", "umt-b16", "--max-gmacs", 178)
    assert found["schedule"]["text"] == "520,261,131"
    assert len(found["proposals"]) == 9
    assert all(0.99 * 178 <= one["gmacs"] <= 178 and one["within_budget"] for one in found["proposals"])
    assert found["plain"] == {"gmacs": pytest.approx(303.3, abs=0.05), "tokens": [2352] * 13, "seconds": None}
    assert found["calibration"] is found["verified"] is None


def test_the_schedule_of_the_shipped_model_is_taken_by_other_commands(call, call_json):
    words = call("plan", "--keep", 0.5, "--quiet", "--method", "tome").stdout.split()
    assert len(words) == 1
    found = call_json("info", "moving-objects", "--schedule", words[0])
    assert found["schedule"]["tokens"][-1] == 144  # of 288
    plain = call("plan", "--keep", 1)
    assert plain.stdout.splitlines()[0] == "none"
    assert "chosen    no merging: the plain model is within the budget" in plain.stdout


def test_frames_and_methods_are_those_that_are_asked_for(call_json):
    words = ("plan", "--preset", "umt-b16", "--speedup", 1.5, "--frames", 24, "--method", "svitt")
    found = call_json(*words)
    assert found["schedule"]["tokens"][0] == 4704
    assert found["schedule"]["method"] == found["method"] == "svitt"
    assert found["proposals"][0]["gmacs"] <= found["plain"]["gmacs"] / 1.5


def test_the_proposal_that_changes_least_is_chosen(model, clip, call, call_json, monkeypatch):
    asked = []

    def calibrate(model, schedules, paths, **options):
        asked.append((model.preprocessing.num_views, schedules, [path.name for path in paths], options["batch_size"]))
        cosines = np.linspace(0.9, 0.99, len(schedules))
        scores = tuple(Score(float(value), 0.5, 1.0) for value in cosines)
        return Calibration(scores, len(paths), "pooled", {})

    monkeypatch.setattr(plan_steps, "calibrate_schedules", calibrate)
    words = ("plan", "--model", model, "--max-gmacs", 0.00008)
    uncalibrated = call_json(*words)
    found = call_json(*words, "--calibrate", clip, clip, "--batch-size", 2)
    assert asked[0][0] == 1
    assert asked[0][2:] == (["clip.mp4"], 2)
    assert [one["schedule"]["text"] for one in found["proposals"]] == [
        one["schedule"]["text"] for one in reversed(uncalibrated["proposals"])
    ]
    assert found["schedule"]["text"] == uncalibrated["proposals"][-1]["schedule"]["text"]
    assert found["proposals"][0]["on_front"]
    # With more budgets, those beyond the one that was asked for are compared and never chosen.
    swept = call_json(*words, "--calibrate", clip, "--sweep", 3)
    assert len(swept["proposals"]) > 2 * len(found["proposals"])
    within = [one["within_budget"] for one in swept["proposals"]]
    assert within == sorted(within, reverse=True)
    assert max(one["cosine"] for one in swept["proposals"]) > swept["proposals"][0]["cosine"]
    text = call(*words, "--calibrate", clip).stdout
    assert "cosine: of pooled tokens with and without merging, mean and least over 1 videos" in text


def test_videos_are_compared_drawn_and_a_bad_one_is_named(model, clip, call, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    words = ("plan", "--model", model, "--keep", 0.8, "--method", "rlt")
    result = call(*words, "--calibrate", clip, bad, "--plot", "front.png", "--json")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {bad}: ")
    found = json.loads(result.stdout)
    assert found["calibration"]["videos"] == 1
    assert list(found["calibration"]["errors"]) == [str(bad)]
    assert 0.5 < found["proposals"][0]["cosine"] < 1
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    assert_one_error(call(*words, "--calibrate", bad), f"at least one video must be readable; none is ({bad}: ")


def test_pieces_are_timed_once_and_the_second_plan_is_instant(model, call, call_json, monkeypatch, tmp_path):
    monkeypatch.setattr(latency, "_SHARES", (1.0, 0.4))
    monkeypatch.setattr(latency, "_SECONDS_OF_RUNS", 0.0)
    words = ("plan", "--model", model, "--measure", "--keep", 0.5)
    first = call_json(*words, "--no-verify")
    assert [path.suffix for path in (tmp_path / "cache" / "vidtldr-jax" / "latency").iterdir()] == [".json"]
    monkeypatch.setattr(latency, "time_in_turn", lambda *rest, **more: pytest.fail("measured again"))
    second = call_json(*words)
    assert second["plain"] == first["plain"]
    assert second["proposals"] == first["proposals"]
    assert first["verified"] is None
    assert second["verified"]["predicted_seconds"] == first["proposals"][0]["predicted_seconds"] > 0
    assert second["verified"]["measured_seconds"] > 0


def test_a_budget_of_milliseconds_is_met_by_prediction_and_then_run(model, call, call_json, timed, monkeypatch):
    words = ("plan", "--model", model, "--latency-ms", 15)
    found = call_json(*words)
    assert found["budget"] == "at most 15 ms"
    assert all(0.9 * 0.015 < one["predicted_seconds"] <= 0.015 for one in found["proposals"])
    verified = found["verified"]
    assert verified["measured_seconds"] == 0.011
    assert verified["error"] == pytest.approx(verified["predicted_seconds"] / 0.011 - 1)
    assert verified["speedup"] == pytest.approx(0.021 / 0.011)
    assert 1 + verified["relative_error"] == pytest.approx(0.021 / 0.011 / (0.02 / verified["predicted_seconds"]))
    result = call(*words)
    assert "run: 11 ms, predicted 1" in result.stdout
    assert "beside it plain: 21 ms, so 1.91 x the speed, predicted 1.3" in result.stdout
    assert result.stderr == ""
    timed["merged"] = 0.016
    assert "note: one run took 16 ms, and 15 ms are the budget" in call(*words).stderr
    assert call_json(*words, "--no-verify")["verified"] is None
    by_time = call_json("plan", "--model", model, "--speedup", 1.25, "--measure")
    assert by_time["budget"] == "at most 16 ms"
    by_gmacs = call_json("plan", "--model", model, "--keep", 0.5, "--measure", "--no-verify")
    assert by_gmacs["budget"] == "at most 0.5 of the tokens"
    assert all(one["predicted_seconds"] > 0 for one in by_gmacs["proposals"])
    message = "one run takes from 12.5 to 20 ms on this machine by vidtldr, whose first layer can lose half"
    assert_one_error(call("plan", "--model", model, "--latency-ms", 3), message)
    unsteady = dataclasses.replace(TABLE, spread=1.6)
    monkeypatch.setattr(plan_steps, "measure_latency", lambda *rest, **more: asked.append(more["renew"]) or unsteady)
    asked = []
    assert "runs of one model differed by a factor of 1.6" in call(*words, "--remeasure").stderr
    assert asked == [True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--latency-ms", 1e-6), "one run takes "),
        (("--latency-ms", -1), "--latency-ms is a number above 0; got -1"),
        (("--latency-ms", "nan"), "--latency-ms is a number above 0; got nan"),
        (("--speedup", 1e6, "--measure"), "got 1e+06 x the plain model's speed"),
        (("--speedup", 0.5, "--measure"), "--speedup is a number from 1 on"),
        (("--keep", 0.001, "--measure"), "keep is from "),
        (("--max-gmacs", 1e-9, "--measure"), "max_gmacs is from "),
    ],
)
def test_a_budget_out_of_reach_is_refused_before_pieces_are_timed(model, call, monkeypatch, tmp_path, words, message):
    monkeypatch.setattr(latency, "_measure", lambda *rest: pytest.fail("timed"))
    assert_one_error(call("plan", "--model", model, *words), message)
    assert not list((tmp_path / "cache").rglob("*.json"))


@pytest.mark.parametrize("frames", [4, 8], ids=["as-trained", "longer-clips"])
def test_an_evaluation_takes_the_config_of_a_classifier(call, call_json, tmp_path, frames):
    checkpoint = save_model(tmp_path / "vivit", config=VIVIT, family="vivit", labels=["a", "b", "c"], **SCENIC_CLIPS)
    with (tmp_path / "val.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), ("0.mp4", "a")])
    write_video(tmp_path / "0.mp4", num_frames=40)
    words = ("--keep", 0.6, "--method", "evit", "--frames", frames)
    planned = call("plan", "--model", checkpoint, *words, "--write-config", "mine.py", "--quiet")
    assert planned.exit_code == 0, planned.output
    assert planned.stderr == ""
    result = call_json("evaluate", "classification", "--config", "mine.py", "--manifest", "val.csv")
    schedule = result["ways"]["merged"]["schedule"]
    assert (schedule["text"], schedule["method"]) == (planned.stdout.strip(), "evit")
    assert schedule["tokens"][-1] <= 0.6 * schedule["tokens"][0]
    assert f"{frames} frames" in result["protocol"]
    assert load_experiment("mine.py").checkpoint == str(checkpoint)

    again = call("plan", "--model", checkpoint, "--keep", 0.6, "--write-config", "mine.py")
    assert_one_error(again, "--write-config overwrites nothing; 'mine.py' is there")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("task='retrieval'", "a config with task = 'classification' is needed; mine.py has 'retrieval'"),
        ("task='classification', shedule='1'", "unknown field 'shedule' (did you mean 'schedule'?); fields are task, "),
        ("task='classification', schedule='x'", "error: mine.py: entries are numbers; got 'x'"),
        ("task='classification', schedule='1x9'", "error: mine.py: at most 4 entries for 4 layers; got 9"),
        ("task='classification', method='evti'", "did you mean 'evit'?"),
        ("task='classification', average='median'", "average = 'median' is none of "),
        ("task='classification', num_frames=3", "error: mine.py: num_frames = 3 is not a multiple of tubelet_size = 2"),
    ],
)
def test_a_config_that_says_nonsense_is_refused(call, tmp_path, line, message):
    text = f"import ml_collections\n\n\ndef get_config():\n    return ml_collections.ConfigDict(dict({line}))\n"
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "val.csv").write_text("path,label\n0.mp4,1\n")
    words = ("--model", "moving-objects", "--manifest", "val.csv")
    assert_one_error(call("evaluate", "classification", "--config", "mine.py", *words), message)


@pytest.mark.parametrize("task", ["retrieval", "question_answering"])
def test_an_evaluation_takes_the_config_of_a_umt(call, tmp_path, task):
    checkpoint = make_umt(tmp_path, task)
    planned = call(
        "plan",
        "--model",
        checkpoint,
        "--keep",
        0.5,
        "--method",
        "tome",
        "--write-config",
        "mine.py",
        "--quiet",
    )
    assert planned.exit_code == 0, planned.output
    asked = dict.fromkeys(("schedule", "method", "frames", "first_seconds", "tokenizer"))
    setup = prepare("mine.py", None, task=task, dtype="float32", devices=1, **asked)
    assert setup.model.schedule.text == planned.stdout.strip()
    assert setup.model.schedule.method.name == "tome"
    assert setup.name == str(checkpoint)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "exactly one budget is needed: --max-gmacs, --keep, --speedup, --latency-ms; got none"),
        (("--keep", 0.5, "--speedup", 2), "got --keep and --speedup"),
        (("--keep", 0.5, "--preset", "umt-b16", "--model", "moving-objects"), "give --model or --preset, not both"),
        (("--keep", 0.5, "--preset", "umt-b16", "--calibrate", "x.mp4"), "need trained weights: --model, not --preset"),
        (
            ("--keep", 0.5, "--preset", "umt-b16", "--write-config", "x.py"),
            "need trained weights: --model, not --preset",
        ),
        (("--keep", 0.5, "x.mp4"), "videos, --plot and --sweep belong to --calibrate VIDEO"),
        (("--keep", 0.5, "--plot", "x.png"), "videos, --plot and --sweep belong to --calibrate VIDEO"),
        (("--keep", 0.5, "--quiet", "--json"), "give --quiet or --json, not both"),
        (("--keep", 0.5, "--method", "vidtdlr"), "did you mean 'vidtldr'?"),
        (("--keep", "half"), "'half' is not a valid float"),
    ],
)
def test_a_wrong_use_is_told_from_work_that_failed(call, words, message):
    assert_one_error(call("plan", *words), message, exit_code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-gmacs", 30, "--preset", "umt-b16"), "max_gmacs is from 38.9 to 303.3 for this model by vidtldr"),
        (("--keep", 2), "keep is above 0 and at most 1; got 2"),
        (("--speedup", 0.5), "speedup is a number from 1 on; got 0.5"),
        (("--keep", 0.5, "--preset", "umt-b15"), "did you mean 'umt-b16'?"),
        (("--keep", 0.5, "--model", "nowhere"), "there is no 'nowhere'"),
        (("--keep", 0.5, "--calibrate", "nowhere.mp4"), "there is no 'nowhere.mp4'"),
        (("--keep", 0.5, "--frames", 3), "frames are a multiple of the model's tubelet, 2; got 3"),
        (("--keep", 0.5, "--write-config", "x.txt"), "--write-config is a file that ends in .py"),
    ],
)
def test_what_cannot_be_done_is_one_line(call, words, message):
    assert_one_error(call("plan", *words), message)


def test_a_plot_needs_a_place_and_matplotlib(model, clip, call, monkeypatch):
    words = ("plan", "--model", model, "--keep", 0.8, "--calibrate", clip, "--plot")
    assert_one_error(call(*words, "x.jpg"), "--plot is a file that ends in .png in a folder that exists; got 'x.jpg'")
    assert_one_error(call(*words, "no/x.png"), "got 'no/x.png'")
    plain = call("plan", "--model", model, "--keep", 1, "--calibrate", clip, "--plot", "x.png")
    assert "there is nothing to compare, and nothing is drawn" in plain.stderr
    monkeypatch.setattr(plan_plot.importlib.util, "find_spec", lambda name: None)
    assert_one_error(call(*words, "x.png"), "pip install 'vidtldr-jax[plot]'")


def test_the_example_of_the_docs_runs(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", (Path(ROOT) / "docs" / "plan.md").read_text(), flags=re.DOTALL)
    exec(compile(block, "docs/plan.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[1].startswith("520,261,131 ['halving, layers 0 to 2', ")


def test_the_tiny_model_is_the_one_that_tables_are_made_for():
    assert CONFIG.num_tokens == TABLE.tokens[-1]
