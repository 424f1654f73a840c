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


def test_seeds_are_summed_up():
    assert few_labels.summarise([0.5, 0.25, 0.75]) == {
        "mean": 0.5,
        "lowest": 0.25,
        "highest": 0.75,
        "by_seed": [0.5, 0.25, 0.75],
    }
