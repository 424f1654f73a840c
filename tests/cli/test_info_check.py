"""info --check: what was written is what lies there, or each difference is a line and the exit code is 1."""

import json
import os
import shutil

import pytest

from tests.cli.conftest import save_model
from tests.cli.test_main import assert_one_error
from tests.export.test_files import make
from vidtldr_jax.export.stablehlo import save_export


@pytest.fixture
def place(tmp_path):
    return save_model(tmp_path / "mine")


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_sound_checkpoint_is_told_with_the_number_of_its_files(call, call_json, place):
    result = call("info", place, "--check")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"checkpoint {place}: 2 files equal their digests", "no fault found"]
    assert call_json("info", place, "--check") == {
        "place": str(place), "kind": "checkpoint", "num_checked": 2, "notes": [], "faults": [], "is_sound": True,
    }  # fmt: skip


@pytest.mark.parametrize(("name", "count"), [("moving-objects", 2), ("moving-objects-retrieval", 3)])
def test_a_shipped_model_is_checked_by_its_name(call_json, name, count):
    found = call_json("info", name, "--check")
    assert (found["num_checked"], found["notes"], found["faults"]) == (count, [], [])


def test_every_damaged_file_is_a_line(call, call_json, place):
    flip(place / "model.safetensors")
    fields = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(fields | {"labels": ["left", "right", "up"]}))
    result = call("info", place, "--check")
    assert_one_error(result, f"2 faults found in {place}: ")
    lines = result.stdout.splitlines()
    assert lines[0] == f"checkpoint {place}: 0 files equal their digests"
    assert [line.split(" is damaged")[0] for line in lines[1:]] == [
        f"fault: {place / name}" for name in ("config.json", "model.safetensors")
    ]
    found = call_json("info", place, "--check", exit_code=1)
    assert (len(found["faults"]), found["is_sound"]) == (2, False)


def test_a_checkpoint_without_digests_has_a_note_and_no_fault(call, place):
    fields = json.loads((place / "config.json").read_text())
    del fields["digests"]
    (place / "config.json").write_text(json.dumps(fields | {"format": 1}))
    result = call("info", place, "--check")
    assert result.exit_code == 0
    assert f"{place}: 0 files equal their digests" in result.stdout
    assert result.stderr == (
        f"note: {place} is of a version before digests, so damage may go unseen; convert it again to have it checked\n"
    )


def test_a_missing_or_unreadable_file_is_a_fault(call, place):
    (place / "model.safetensors").unlink()
    assert_one_error(call("info", place, "--check"), "has no model.safetensors; convert the weights first")
    (place / "config.json").write_text("{")
    assert_one_error(call("info", place, "--check"), "1 fault found in")


def test_an_export_is_checked_by_any_of_its_files(call, call_json, tmp_path):
    program = save_export(make(), tmp_path / "m.stablehlo")
    for suffix in ("", ".json", ".safetensors"):
        found = call_json("info", f"{program}{suffix}", "--check")
        assert (found["place"], found["kind"], found["num_checked"]) == (str(program), "export", 3)
    flip(program)
    assert_one_error(call("info", program, "--check"), "m.stablehlo is damaged or not of the run that")


def test_an_export_whose_program_is_gone_is_damaged_and_a_place_with_nothing_is_told(call, tmp_path):
    place = save_export(make(), tmp_path / "m.stablehlo")
    place.unlink()
    assert_one_error(call("info", place, "--check"), f"1 fault found in {place}: {place} can't be read (No such file")
    for path in tmp_path.iterdir():
        path.unlink()
    assert_one_error(call("info", place, "--check"), f"; there is no {place}; check the path.")
    assert_one_error(call("info", place), "a model is a checkpoint folder or one of moving-objects, ")


def stop(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("suffix", ["", ".json", ".safetensors"])
def test_an_export_that_was_stopped_before_a_file_had_its_name_is_completed(call, monkeypatch, tmp_path, suffix):
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            save_export(make(), tmp_path / "m.stablehlo")
    result = call("info", tmp_path / f"m.stablehlo{suffix}", "--check")
    assert "no fault found" in result.stdout
    assert "was completed: the process that wrote it was stopped" in result.stderr


def test_a_folder_of_nothing_known_says_what_can_be_checked(call, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x.mp4").write_bytes(b"x")
    for name in ("x", "x.mp4"):
        assert_one_error(call("info", tmp_path / name, "--check"), "what can be checked is a checkpoint (a folder with")
    assert_one_error(call("info", tmp_path / "y", "--check"), "there is no")
    assert_one_error(call("info", "umt-b16", "--check"), "there is no umt-b16; check the path")


def test_other_options_are_wrong_usage(call, place):
    for options in (("--schedule", "1"), ("--set", "heads=3"), ("--family", "umt_k400")):
        result = call("info", place, "--check", *options)
        assert result.exit_code == 2


def test_a_checkpoint_that_a_killed_process_had_set_aside_is_put_back(call, place, monkeypatch, tmp_path):
    from vidtldr_jax.trust import whole_files

    def die(*_):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(whole_files, "_exchange", lambda *_: False)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if it was killed before it could clean up
        rename = whole_files.os.rename
        patch.setattr(whole_files.os, "rename", lambda a, b: rename(a, b) if str(b).endswith(".old") else die())
        with pytest.raises(SystemExit):
            save_model(place)
    assert not place.exists()
    result = call("info", place, "--check")
    assert "no fault found" in result.stdout
    assert result.stderr.startswith(f"note: {place} was put back as it was: a process that replaced it was stopped")
    assert call("info", place, "--check").stderr == ""


@pytest.mark.parametrize(("name", "kind"), [("run.json", "run"), ("description.json", "index")])
def test_a_run_and_an_index_are_known_by_their_files(call, call_json, tmp_path, name, kind):
    if kind == "index":
        pytest.importorskip("pyarrow")
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / name).write_text("{")
    result = call("info", tmp_path / "place", "--check")
    assert result.stdout.startswith(f"{kind} {tmp_path / 'place'}: 0 files equal their digests\nfault: ")
    assert_one_error(result, f"found in {tmp_path / 'place'}: ")
    found = call_json("info", tmp_path / "place", "--check", exit_code=1)
    assert (found["kind"], found["is_sound"]) == (kind, False)
