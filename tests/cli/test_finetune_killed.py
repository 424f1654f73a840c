"""finetune: a process that is killed at any moment goes on, with the losses of one that was left alone, to the bit."""

import json
import random
import signal
import time

import pytest

from tests.cli.forked_processes import ForkedProcesses
from tests.train.squares import make_videos, save_tiny
from vidtldr_jax.train.run_check import verify_run

NUM_STEPS, NUM_KILLS = 30, 6


@pytest.fixture
def processes(tmp_path):
    started = ForkedProcesses(tmp_path)
    yield started
    started.close()


def count_records(run):
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b'"kind": "step"') if file.exists() else 0


def read_metrics(run):
    """Every record, floats as they are written: the shortest text that gives the same bits."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: repr(value) for name, value in record.items() if name != "seconds"} for record in records]


@pytest.mark.once
def test_a_run_whose_process_is_killed_at_any_moment_has_the_losses_of_one_left_alone(tmp_path, processes):
    model = save_tiny(tmp_path / "model")
    data, val = make_videos(tmp_path, 3), make_videos(tmp_path, 1, name="val", seed=1)
    words = (
        "finetune", "--data", data, "--val", val, "--model", model, "--schedule", "2,1", "--steps", NUM_STEPS,
        "--batch-size", 4, "--evaluate-every", 8, "--save-every", 1, "--set", "mixup=0.3", "--set", "ema=0.9",
        "--set", "crop=0.8", "--set", "mirror=true", "--set", "keep=best",
        "--set", "dropout=0.1", "--set", "drop_path=0.2", "--out",
    )  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    processes.start(*words, whole)
    assert processes.wait() == 0, processes.log.read_text()
    assert count_records(whole) == NUM_STEPS

    moments, reached = random.Random(3), [0]
    while len(reached) <= NUM_KILLS:
        # Every third one at once or while it starts; the others a few steps on, while it trains, evaluates or saves.
        is_early = len(reached) % 3 == 0
        goal = 0 if is_early else reached[-1] + moments.randint(1, 4)
        process, start = processes.start(*words, broken), time.monotonic()
        while count_records(broken) < goal and time.monotonic() - start < 60:
            time.sleep(0.0005)
        time.sleep(moments.uniform(0, 1.5 if is_early else 0.08))
        assert processes.kill(process) == -signal.SIGKILL, processes.log.read_text()
        reached.append(count_records(broken))
        states = [path.name for path in (broken / "checkpoints").glob("0*")] if broken.exists() else []
        assert len(states) <= 3  # the newest, the best, and one that a kill kept from being removed
    assert 0 < reached[-1] < NUM_STEPS, reached
    assert len(set(reached)) > NUM_KILLS // 2, reached
    assert not (broken / "model").exists()
    processes.start(*words, broken)
    assert processes.wait() == 0, processes.log.read_text()
    result = json.loads((broken / "result.json").read_text())
    assert result["resumed_from"] > 0
    assert read_metrics(broken) == read_metrics(whole)
    for run in (whole, broken):  # and nothing is left of what was killed
        names = sorted(path.name for path in run.iterdir())
        assert names == [".lock", "checkpoints", "metrics.jsonl", "model", "result.json", "run.json"]
        assert all(path.name.isdecimal() for path in (run / "checkpoints").iterdir())
        assert verify_run(run).is_sound
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    one, other = ((run / "model" / "model.safetensors").read_bytes() for run in (whole, broken))
    assert one == other
