"""Records: what comes after the state that is gone on from is dropped, and a torn line."""

import json
import sys

import pytest

from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.metrics import EVALUATION, STEP, MetricsLog


def write_run(path, *, steps, last_step=0, **options):
    with MetricsLog(path, last_step=last_step, **options) as log:
        for step in steps:
            log.append(STEP, step, {"loss": 1 / step})
            if step % 2 == 0:
                log.append(EVALUATION, step, {"accuracy": min(step, 4) / 10, "loss": None, "interval_95": [0, 1]})
        return log.find_best()


def test_records_are_there_as_soon_as_they_come(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, last_step=0) as log:
        log.append(STEP, 1, {"loss": 0.1})
        assert json.loads(path.read_text()) == {"kind": "step", "step": 1, "loss": 0.1}
        with pytest.raises(ValueError, match="not JSON compliant"):
            log.append(STEP, 2, {"loss": float("nan")})


def test_a_run_that_goes_on_drops_what_its_state_knows_nothing_of(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert write_run(whole, steps=range(1, 7)) == 4  # the earliest of the equally good
    write_run(broken, steps=range(1, 6))
    with broken.open("ab") as file:
        file.write(b'{"kind": "step", "step": 6, "lo')
    with MetricsLog(broken, last_step=3) as log:
        assert log.last == {"kind": "step", "step": 3, "loss": 1 / 3}
        assert [record["step"] for record in log.evaluations] == [2]
    assert write_run(broken, steps=range(4, 7), last_step=3) == 4
    assert broken.read_bytes() == whole.read_bytes()


def test_a_torn_line_at_the_state_itself_is_dropped_too(tmp_path):
    path = tmp_path / "metrics"
    write_run(path, steps=[1, 3])
    path.write_bytes(path.read_bytes()[:-3])
    with MetricsLog(path, last_step=3) as log:
        assert log.last["step"] == 1
    assert path.read_bytes().count(b"\n") == 1


def test_the_evaluation_before_the_first_step_is_no_best(tmp_path):
    with MetricsLog(tmp_path / "m", last_step=0) as log:
        log.append(EVALUATION, 0, {"accuracy": 0.9})
        assert log.find_best() is None
        log.append(EVALUATION, 1, {"accuracy": 0.2})
        assert log.find_best() == 1


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboardX")
    write_run(tmp_path / "m", steps=[1, 2], tensorboard=tmp_path / "board")
    (events,) = (tmp_path / "board").iterdir()
    content = events.read_bytes()
    assert content.count(b"step/loss") == 2
    assert content.count(b"evaluation/accuracy") == 1


def test_without_tensorboardx_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(TrainError, match=r"pip install 'vidtldr-jax\[train\]'"):
        MetricsLog(tmp_path / "m", last_step=0, tensorboard=tmp_path / "board")
