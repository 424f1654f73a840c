"""The accuracy benchmark: its statistics, its cells and its report, on tasks and models that are made up."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest

from benchmarks import accuracy, accuracy_causes, accuracy_plot, accuracy_statistics, record
from benchmarks.accuracy_tasks import Task, find_outputs
from vidtldr_jax.inference.timing import make_random_model
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.reduction.methods import METHODS, Evidence

CONFIG = VideoViTConfig(
    num_frames=4, image_size=16, patch_size=4, tubelet_size=2, dim=12, depth=3, num_heads=2, mlp_dim=12, num_classes=3
)
METHOD_NAMES = ("vidtldr", "evit")


@pytest.fixture(scope="module")
def task():
    clips = np.random.default_rng(0).integers(0, 256, (64, 4, 16, 16, 3), dtype=np.uint8)
    model = make_random_model(CONFIG)
    return Task(
        name="moving_objects",
        metric="accuracy",
        metric_in_words="accuracy",
        clips=clips,
        num_models=2,
        read_model=lambda seed: model,
        find_hits=lambda seed, logits: {"accuracy": (logits[:, 0] > np.median(logits[:, 0])).astype(float)},
        find_controls=lambda seed, logits: {"chance": 0.5},
        find_objects=lambda patch, tubelet: np.arange(CONFIG.num_tokens) < np.full((64, 1), CONFIG.num_tokens // 4),
        about={},
    )


@pytest.fixture(autouse=True, scope="module")
def fixed_code():
    with pytest.MonkeyPatch.context() as patch:  # a source that someone saves meanwhile doesn't count
        patch.setattr(accuracy.record, "digest_code", lambda *names: "code")
        yield


@pytest.fixture(scope="module")
def evaluated(task, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cells")
    return accuracy.evaluate(task, METHOD_NAMES, (100, 50), cache), cache


def test_a_schedule_leaves_what_the_budget_says_and_takes_an_equal_share_in_each_layer():
    for budget in accuracy.BUDGETS:
        lost = accuracy.make_schedule(288, budget)
        assert 288 - sum(lost) == round(288 * budget / 100)
        left = np.cumsum([288, *(-r for r in lost)])
        np.testing.assert_allclose(left[1:] / left[:-1], (budget / 100) ** (1 / 3), atol=0.006)


def test_every_method_can_follow_every_schedule():
    model = make_random_model(dataclasses.replace(CONFIG, num_frames=16))
    num_tokens = model.config.num_tokens
    for name in METHODS:
        for budget in accuracy.BUDGETS:
            used = model.with_schedule(accuracy.make_schedule(num_tokens, budget) or None, method=name)
            assert used.schedule.tokens[-1] == round(num_tokens * budget / 100), name
            assert not used.schedule.clamps


def test_the_interval_of_a_difference_covers_clips_and_seeds():
    rng = np.random.default_rng(1)
    base = rng.integers(0, 2, (3, 500)).astype(float)
    same = accuracy_statistics.find_difference(base, base)
    assert same == (0.0, 0.0, 0.0)
    by_clip = np.tile(rng.random(500) < 0.2, (3, 1)) * 1.0  # all seeds agree: clips alone decide
    found = accuracy_statistics.find_difference(by_clip, np.zeros_like(by_clip))
    error = 1.96 * np.sqrt(found.mean * (1 - found.mean) / 500)
    np.testing.assert_allclose([found.low, found.high], [found.mean - error, found.mean + error], atol=0.006)
    by_seed = np.repeat([[0.0], [0.1], [0.5]], 500, 1)  # clips agree: seeds alone decide
    found = accuracy_statistics.find_difference(by_seed, np.zeros_like(by_seed))
    assert found.low < 0.05
    assert found.high > 0.35
    with pytest.raises(ValueError, match="same seeds and clips"):
        accuracy_statistics.find_difference(base, base[:, 1:])


def test_rows_hold_every_method_and_budget_and_agree_with_the_model(task, evaluated):
    result, _ = evaluated
    rows = {(row["method"], row["budget"]): row for row in result["rows"]}
    assert set(rows) == {("plain", 100), *((name, 50) for name in METHOD_NAMES)}
    model = task.read_model(0).with_schedule(accuracy.make_schedule(CONFIG.num_tokens, 50), method="evit")
    expected = task.find_hits(0, find_outputs(model, task.clips))["accuracy"].mean()
    assert rows["evit", 50]["scores"] == [round(expected, 5)] * 2
    assert rows["vidtldr", 50]["to_vidtldr"] == {"mean": 0, "low": 0, "high": 0}
    assert rows["vidtldr", 50]["gmacs"] < rows["plain", 100]["gmacs"]
    assert rows["vidtldr", 50]["tokens"] == CONFIG.num_tokens // 2
    assert json.loads(json.dumps(result)) == result


def test_a_second_run_takes_over_what_the_first_one_found(task, evaluated, monkeypatch):
    result, cache = evaluated
    monkeypatch.setattr(accuracy, "measure_controls", lambda task, models: result["controls"])

    def refuse(*_):
        raise AssertionError("a finished cell was computed again")

    monkeypatch.setattr(accuracy, "_find_hits", refuse)
    assert accuracy.evaluate(task, METHOD_NAMES, (100, 50), cache) == result
    changed = dataclasses.replace(task, clips=task.clips[::-1])
    with pytest.raises(AssertionError, match="computed again"):
        accuracy.evaluate(changed, METHOD_NAMES, (100, 50), cache)


def test_dropping_at_random_drops_other_tokens_for_each_seed():
    evidence = Evidence(np.zeros((2, 32, 4), np.float32))
    kept = [accuracy.choose_method("random_drop", seed).choose(evidence, r=16, num_protected=0)[0] for seed in (0, 1)]
    assert (np.asarray(kept[0].kept) != np.asarray(kept[1].kept)).any()
    assert accuracy.choose_method("random_drop", 1) is accuracy.choose_method("random_drop", 1)
    assert accuracy.choose_method("tome", 1) is METHODS["tome"]


def test_tokens_of_objects_and_background_are_followed_to_where_they_went():
    # Four tokens of an object, four of background. Outputs 0 and 1 hold two of the object each, one with background
    # that has a say, one with background that has none; one token of the background is dropped.
    source = np.array([[0, 0, 1, 1, 0, 1, 2, -1]])
    weight = np.array([[1, 0.5, 1, 1, 0.2, 0, 1, 0]])
    fate = accuracy_causes.tell_fate(source, weight, np.array([[True] * 4 + [False] * 4]))
    assert {name: float(values[0]) for name, values in fate.items()} == {
        "object_detail": 2 / 4,
        "background_detail": 2 / 4,
        "object_vanished": 0,
        "background_vanished": 2 / 4,
        "object_mixed": 2 / 4,
    }


def test_dropping_loses_of_objects_what_it_says_and_merging_loses_nothing(task, tmp_path):
    task = dataclasses.replace(task, clips=np.repeat(task.clips, 2, 0))
    task = dataclasses.replace(task, find_objects=lambda patch, tubelet: np.tile(np.arange(32) < 8, (128, 1)))
    found = accuracy.follow(task, ["random_drop", "tome"], [50], tmp_path)
    assert found["object_share"] == 0.25
    dropped, merged = found["rows"]
    used = task.read_model(0).with_schedule(
        accuracy.make_schedule(CONFIG.num_tokens, 50), method=accuracy.choose_method("random_drop", 0)
    )
    (source, _), *_ = accuracy_causes.follow_tokens(used, task.clips)
    assert dropped["object_detail"] == (source[0, :8] >= 0).mean() == 1 - dropped["object_vanished"]
    assert dropped["object_mixed"] == merged["object_vanished"] == merged["background_vanished"] == 0
    assert merged["object_mixed"] > 0


def test_the_plot_and_the_sentences_tell_who_wins(task, evaluated, tmp_path):
    pytest.importorskip("matplotlib")
    result = {"tasks": [copy.deepcopy(evaluated[0])], "budgets": [100, 50]}
    times = accuracy.measure_times(task.read_model(0), ["evit"], (100, 50), 1)
    assert [(row["method"], row["budget"]) for row in times["rows"]] == [("evit", 50)]
    assert times["rows"][0]["ratio"] > 0
    path = accuracy_plot.draw_plot(result | {"times": times}, tmp_path / "plot.png")
    assert path.stat().st_size > 10_000
    *_, ours, theirs = result["tasks"][0]["rows"]
    ours["to_vidtldr"] = {"mean": 0.0, "low": 0.0, "high": 0.0}
    theirs["to_vidtldr"] = {"mean": 0.1, "low": 0.05, "high": 0.15}
    weaker = theirs | {"budget": 30, "to_vidtldr": {"mean": 0.02, "low": -0.01, "high": 0.05}}
    result["tasks"][0]["rows"].append(weaker)
    told = "moving objects: evit by up to 10.0 points (at 50 %)"
    assert list(accuracy_plot.tell_losses(result)) == [f"{told}, surely at 50 %"]
    theirs["to_vidtldr"]["low"] = -0.01
    assert list(accuracy_plot.tell_losses(result)) == [told]
    theirs["to_vidtldr"]["mean"] = weaker["to_vidtldr"]["mean"] = -0.1
    assert list(accuracy_plot.tell_losses(result)) == ["moving objects: nobody"]


def test_parts_of_the_result_that_another_stage_wrote_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    assert accuracy.read_result() == {}
    record.write_result("accuracy", {"tasks": [1], "times": {"rows": []}})
    assert accuracy.read_result() == {"tasks": [1], "times": {"rows": []}}
