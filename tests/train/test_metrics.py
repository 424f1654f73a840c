"""Records: what comes after the state that is gone on from is dropped, and a torn line."""

import errno
import hashlib
import json
import os
import sys

import pytest

from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.metrics import EVALUATION, STEP, MetricsLog


def make_step(step):
    return {"loss": 1 / step, "accuracy": 0.5, "gradient_norm": 1.0, "learning_rate": 1e-3, "seconds": 0.1}


def make_evaluation(accuracy):
    return {"loss": None, "accuracy": accuracy, "right": 1, "of": 2, "interval_95": [0.0, 1.0]}


def write_run(path, *, steps, last_step=0, **options):
    with MetricsLog(path, last_step=last_step, **options) as log:
        for step in steps:
            log.append(STEP, step, make_step(step))
            if step % 2 == 0:
                log.append(EVALUATION, step, make_evaluation(min(step, 4) / 10))
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
        assert log.last == {"kind": "step", "step": 3, **make_step(3)}
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


@pytest.mark.parametrize(
    "damage", [b'"step": 2,->"step": -2,', b'"accuracy"->"acurracy"', b"0.5->1.5", b'"of": 2->"of": "2"']
)
def test_a_record_of_another_type_and_what_follows_are_dropped(tmp_path, damage):
    old, new = damage.split(b"->")
    path = tmp_path / "metrics"
    write_run(path, steps=[1, 2, 3])
    lines = path.read_bytes().splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines) if n and old in line)
    lines[place] = lines[place].replace(old, new)
    path.write_bytes(b"".join(lines))
    with MetricsLog(path, last_step=3) as log:
        assert log.last["step"] < 3
    assert path.read_bytes() == b"".join(lines[:place])


def test_the_mark_is_of_all_that_is_written(tmp_path):
    path = tmp_path / "metrics"
    for last in (0, 3):
        with MetricsLog(path, last_step=last) as log:
            log.append(STEP, last + 1, make_step(1))
            log.append(STEP, last + 2, make_step(1))
            log.append(STEP, last + 3, make_step(1))
            assert log.mark() == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def test_no_link_is_followed_and_a_full_disk_is_named(tmp_path, monkeypatch):
    (tmp_path / "thesis.tex").write_text("x")
    (tmp_path / "metrics").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(TrainError, match=r"a file of the run's own; .*metrics' is a link; remove it"):
        MetricsLog(tmp_path / "metrics", last_step=0)
    assert (tmp_path / "thesis.tex").read_text() == "x"

    def refuse(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with MetricsLog(tmp_path / "m", last_step=0) as log, pytest.raises(OSError) as caught:
        log.mark()
    assert caught.value.filename == str(tmp_path / "m")
