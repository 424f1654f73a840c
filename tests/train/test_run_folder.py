"""A run's folder on a bad day: damaged files, full disks, leftovers, links; and the check that finds them."""

import errno
import json
import os
import re

import pytest

from tests.train.squares import make_videos, save_tiny
from vidtldr_jax.train import Recipe, TrainError, finetune, prepare
from vidtldr_jax.train.metrics import MetricsLog
from vidtldr_jax.train.run_check import verify_run
from vidtldr_jax.train.run_folder import RunFolder, open_lock

RECIPE = {"probe": True, "random_time": False, "steps": 4, "batch_size": 4, "warmup": 0.0, "evaluate_every": 2}


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    save_tiny(folder / "model")
    return prepare(folder / "model", make_videos(folder, 1), Recipe(**RECIPE), val=folder / "train.csv")


@pytest.fixture
def best(setup):
    """The same, for a run that needs its best state in the end."""
    recipe = Recipe(**RECIPE | {"keep": "best"})
    return setup._replace(recipe=recipe, description={**setup.description, "recipe": recipe.to_dict()})


def stop_at(monkeypatch, step):
    """Lets a run end when it records a step."""
    append = MetricsLog.append

    def stop(log, kind, number, values):
        if number >= step:
            raise KeyboardInterrupt
        append(log, kind, number, values)

    monkeypatch.setattr(MetricsLog, "append", stop)


def begin(setup, run, monkeypatch, *, before):
    with monkeypatch.context() as patch:
        stop_at(patch, before)
        with pytest.raises(KeyboardInterrupt):
            finetune(setup, run, save_every=1)


def damage(folder):
    file = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def test_a_damaged_newest_state_is_told_and_the_one_before_gives_the_same_model(setup, tmp_path, monkeypatch):
    whole = finetune(setup, tmp_path / "whole")
    begin(setup, tmp_path / "run", monkeypatch, before=4)
    states = tmp_path / "run" / "checkpoints"
    assert sorted(path.name for path in states.iterdir()) == ["00000002", "00000003"]  # the best one and the newest
    damage(states / "00000003")
    told = []
    result = finetune(setup, tmp_path / "run", tell=told.append)
    assert told[1].startswith("the state of step 3 is damaged (")
    assert told[2] == "goes on from step 2 of 4"
    assert result["val"] == whole["val"]
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "run"))
    assert one.read_bytes() == other.read_bytes()
    assert verify_run(tmp_path / "run").is_sound


def test_damage_to_the_best_state_is_told_before_the_steps_that_are_left(best, tmp_path, monkeypatch):
    begin(best, tmp_path / "run", monkeypatch, before=4)
    damage(tmp_path / "run" / "checkpoints" / "00000002")
    with pytest.raises(TrainError, match=r"state of the best evaluation is needed in the end; .*00000002 is damaged"):
        finetune(best, tmp_path / "run")


def test_metrics_that_were_changed_are_not_believed(best, tmp_path, monkeypatch):
    begin(best, tmp_path / "run", monkeypatch, before=4)
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"accuracy": ', '"accuracy": 0'))
    with pytest.raises(
        TrainError, match=r"metrics.jsonl is not what was written up to step 3.*--restart to begin anew"
    ):
        finetune(best, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run | {"kind": "x"}, "describes no run of this program (Invalid enum value 'x' - at `$.kind`)"),
        (lambda run: run | {"run": []}, "describes no run of this program (Expected `object | null`, got `array`"),
        (lambda run: run | {"run": run["run"] | {"num_steps": 5}}, "is damaged: its description is not the one that"),
        (lambda run: [run], "describes no run of this program (Expected `object`, got `array`)"),
    ],
)  # fmt: skip
def test_a_description_that_was_changed_is_refused(setup, tmp_path, change, message):
    with RunFolder(tmp_path / "run", setup.description):
        pass
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(TrainError) as caught, RunFolder(tmp_path / "run", setup.description):
        pass
    assert message in str(caught.value)
    (fault,) = verify_run(tmp_path / "run").faults
    assert message in fault


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_a_description_of_any_depth_is_answered_in_one_line(setup, tmp_path, depth):
    with RunFolder(tmp_path / "run", setup.description) as folder:
        digest = folder.run
    run = '{"recipe": ' * depth + "1" + "}" * depth
    path = tmp_path / "run" / "run.json"
    for more in ("", f', "sha256": "{digest}"'):
        path.write_text(f'{{"kind": "vidtldr-jax fine-tuning", "run": {run}{more}}}')
        with pytest.raises(TrainError) as caught, RunFolder(tmp_path / "run", setup.description):
            pass
        assert len(str(caught.value)) < 4000
        assert "\n" not in str(caught.value)
        found = verify_run(tmp_path / "run")
        assert found.faults or not more


def test_a_run_that_was_begun_before_digests_goes_on(setup, tmp_path):
    with RunFolder(tmp_path / "run", setup.description):
        pass
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    del record["sha256"]
    path.write_text(json.dumps(record))
    with RunFolder(tmp_path / "run", setup.description) as folder:
        assert folder.notes == ()
    assert any("wrote no digest" in note for note in verify_run(tmp_path / "run").notes)


def test_what_killed_writers_left_is_no_other_file_and_is_removed(setup, tmp_path):
    for name in (f".run.json-{'a' * 16}.partial", ".run.json.part"):
        (tmp_path / "run" / name).mkdir(parents=True) if "partial" in name else (tmp_path / "run" / name).write_text("")
    (tmp_path / "run" / f".result.json-{'b' * 16}.partial").mkdir()
    with pytest.raises(TrainError, match=r"has other files and no run\.json"), RunFolder(tmp_path / "run", {}):
        pass
    (tmp_path / "run" / f".result.json-{'b' * 16}.partial").rmdir()
    with RunFolder(tmp_path / "run", setup.description):
        (tmp_path / "run" / f".result.json-{'b' * 16}.partial").mkdir()
    with RunFolder(tmp_path / "run", setup.description):
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "run.json"]


def test_no_file_of_a_run_is_written_through_a_link(setup, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").symlink_to(victim)
    with (
        pytest.raises(TrainError, match="a file of its own; a regular file is needed"),
        RunFolder(run, setup.description),
    ):
        pass
    (run / ".lock").unlink()
    os.mkfifo(run / ".lock")
    with pytest.raises(TrainError, match="a file of its own; a regular file is needed"):
        open_lock(run / ".lock")
    (run / ".lock").unlink()
    with RunFolder(run, setup.description) as folder:
        (run / "result.json").symlink_to(victim)
        (run / ".result.json.part").symlink_to(victim)
        folder.write_json("result.json", {"a": 1})
    assert victim.read_text() == "mine"
    assert not (run / "result.json").is_symlink()


def test_a_restart_removes_links_and_not_what_they_lead_to(setup, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").write_text("mine")
    with RunFolder(tmp_path / "run", setup.description):
        (tmp_path / "run" / "checkpoints").symlink_to(elsewhere)
    with RunFolder(tmp_path / "run", setup.description, restart=True):
        assert not (tmp_path / "run" / "checkpoints").exists()
    assert (elsewhere / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("name", ["metrics.jsonl", "result.json"])
def test_a_full_disk_names_the_file_and_the_step_that_is_safe(setup, tmp_path, monkeypatch, name):
    begin(setup, tmp_path / "run", monkeypatch, before=4)
    fsync = os.fsync

    def refuse(descriptor):
        if name in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(
        TrainError, match=rf"{name}: No space left on device; step \d is safe; make space, and the same"
    ):
        finetune(setup, tmp_path / "run", save_every=1)


def test_the_check_finds_damage_to_each_file_and_names_it(setup, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDTLDR_CHECK_DIGESTS", "0")  # the check compares whatever that says
    run = tmp_path / "run"
    finetune(setup, run)
    found = verify_run(run)
    assert (found.kind, found.faults, found.notes) == ("run", (), ())
    assert found.num_checked > 5
    files = [path for path in run.rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(files) > 10
    for file in files:
        content = file.read_bytes()
        places = {len(content) // 2: 0x81}  # no ASCII, whatever it was
        if file.suffix in (".json", ".jsonl"):
            places[max(match.start() for match in re.finditer(rb"\d", content))] = 1  # another number
        for place, change in places.items():
            damaged = bytearray(content)
            damaged[place] ^= change
            file.write_bytes(damaged)
            faults = verify_run(run).faults
            assert faults, file
            assert all("\n" not in fault for fault in faults)
        file.write_bytes(content)
    assert verify_run(run).is_sound


def test_the_check_of_a_run_that_goes_on_says_so(setup, tmp_path):
    with RunFolder(tmp_path / "run", setup.description):
        found = verify_run(tmp_path / "run")
        assert found.is_sound
        assert "a process has the run" in found.notes[0]
    (tmp_path / "run" / "run.json").unlink()
    assert verify_run(tmp_path / "run").faults
