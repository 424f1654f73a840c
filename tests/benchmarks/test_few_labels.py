"""The benchmark of few labels runs with a tiny model and noise for pictures, and its table can be made."""

import json

import pytest

from benchmarks import few_labels, record
from scripts.tables.few_labels import make_few_labels_table


@pytest.mark.once
def test_a_smoke_run_converts_trains_and_measures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    few_labels.main(["--smoke"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["is_same_to_the_bit"]
    assert not (tmp_path / "results").exists()
    assert [(row["way"], row["k"], row["videos"]) for row in result["rows"]] == [
        ("probe", 1, 12),
        ("fine-tuned with merging", 1, 12),
    ]
    table = make_few_labels_table(result)
    assert "| 1 | all, merging 100,40 while training, 2 steps |" in table
    assert "python benchmarks/few_labels.py" in table


def test_seeds_are_summed_up_and_compared_with_before():
    of_seeds = [{"accuracy": 0.75, "is_right": [1, 1, 1, 0]}, {"accuracy": 0.5, "is_right": [1, 0, 1, 0]}]
    found = few_labels.summarise(of_seeds, {"is_right": [1, 0, 0, 0]})
    assert (found["mean"], found["lowest"], found["highest"]) == (0.625, 0.5, 0.75)
    assert found["by_seed"] == [0.75, 0.5]
    assert found["gain"] == 0.375  # 2 and 1 of 4 videos more
    low, high = found["gain_interval_95"]
    assert 0 <= low < 0.375 < high <= 1  # no video got worse


def test_no_gain_has_no_width():
    one = {"accuracy": 0.5, "is_right": [1, 0]}
    found = few_labels.summarise([one], one)
    assert (found["gain"], found["gain_interval_95"]) == (0.0, [0.0, 0.0])
