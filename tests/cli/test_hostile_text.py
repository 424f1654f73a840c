"""Every command with hostile labels and file names: what it prints can't drive a terminal, and its JSON reads back."""

import json
import os
import shutil
import subprocess
import sys

import click
import pytest

from tests.cli.hostile import LABEL, NAME, UNICODE_NAME, call_hostile, find_unsafe, list_texts
from tests.cli.hostile_place import LABELS, MORE, make_hostile_place, write_line
from tests.cli.test_colour import run_on_terminal
from tests.cli.test_main import COMMANDS, ROOT
from vidtldr_jax.cli.python_config import run_config
from vidtldr_jax.data.manifest import read_manifest

pytestmark = pytest.mark.once  # what is printed hangs on no version of JAX


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_hostile_place(tmp_path_factory.mktemp("hostile"))


def complete(name, words):
    """Adds --no-cache where a command takes it."""
    takes_cache = any("--no-cache" in param.opts for param in COMMANDS[name.split(":")[0]].params)
    return [*words, *(["--no-cache"] if takes_cache else [])]


# A command that has no line in hostile_place.py fails here.
@pytest.mark.parametrize("is_terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("name", sorted([*COMMANDS, *MORE]))
def test_what_a_command_prints_only_shows_characters(place, tmp_path, monkeypatch, name, is_terminal):
    monkeypatch.setenv("TERM", "xterm-256color")
    words, _ = write_line(name, place, tmp_path)
    code, out, err = call_hostile(*complete(name, words), "-v", is_terminal=is_terminal)
    assert code in (0, 1), err
    assert out or code, err
    assert [find_unsafe(written, is_terminal=is_terminal) for written in (out, err)] == [[], []]
    assert b"can't encode" not in err


@pytest.mark.parametrize("name", sorted([*COMMANDS, *MORE]))
def test_the_json_of_a_command_reads_back_exactly(place, tmp_path, name):
    words, expected = write_line(name, place, tmp_path)
    code, out, err = call_hostile(*complete(name, words), "--json")
    assert code in (0, 1), err
    assert [find_unsafe(written) for written in (out, err)] == [[], []]
    if not out:
        assert (code, expected) == (1, set()), err
        return
    try:
        found = json.loads(out)
    except json.JSONDecodeError:  # JSON Lines
        found = [json.loads(line) for line in out.decode().split("\n")[:-1]]
    assert expected - list_texts(found) == set()


@pytest.mark.parametrize("indented", [False, True])
def test_json_whose_names_are_unicode_is_harmless_too(place, tmp_path, indented):
    """A byte that is not UTF-8 has all that is not ASCII escaped, and hides what else would come through."""
    model, video = tmp_path / "model", tmp_path / f"{UNICODE_NAME}.mp4"
    shutil.copytree(place.model, model)
    shutil.copy(place.video, video)
    words = ["info", model] if indented else ["classify", video, "--model", model, "--no-cache"]
    code, out, err = call_hostile(*words, "--json")
    assert (code, find_unsafe(out), find_unsafe(err)) == (0, [], [])
    assert set(LABELS) <= list_texts(json.loads(out))


# What else a command is given where all else would do, so that it doesn't work for long; `export` may well succeed.
_BESIDE = {
    "demo": ["--video", NAME],
    "export": ["--batch-size", 1],
    "benchmark": ["--devices", 99],
    "plan": ["--keep", 7],
}


@pytest.mark.parametrize("text", [LABEL, NAME], ids=["label", "name"])
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_hostile_arguments_are_refused_in_harmless_lines(place, tmp_path, monkeypatch, name, text):
    """Each option in turn, with what else is needed; hardly one of these texts is a thing that there is."""
    monkeypatch.chdir(tmp_path)
    command = COMMANDS[name]
    is_argument = [isinstance(param, click.Argument) for param in command.params]
    options = [param for param, is_one in zip(command.params, is_argument) if not is_one and not param.is_flag]
    arguments = [text] * sum(is_argument)
    model = ["--model", place.model] if any(param.name == "model" for param in options) else []
    for param in options:
        given = {one.opts[0]: [text] * one.nargs for one in options if one.required or one is param}
        words = [word for option, values in given.items() for word in (option, *values)]
        line = [*name.split(), *([] if param.name == "model" else model), *_BESIDE.get(name, []), *words, *arguments]
        code, out, err = call_hostile(*complete(name, line))
        assert code in (1, 2) or name == "export", (param.name, out, err)
        assert [find_unsafe(written) for written in (out, err)] == [[], []], param.name
        assert all(line.startswith((b"error: ", b"note: ")) for line in err.splitlines()), (param.name, err)


@pytest.mark.parametrize("words", [(LABEL,), ("evaluate", LABEL), (f"--{LABEL}",), ("info", f"--{LABEL}")])
def test_hostile_commands_and_options_are_refused_in_one_harmless_line(words):
    code, out, err = call_hostile(*words)
    assert (code, out) == (2, b"")
    assert find_unsafe(err) == []
    assert err.count(b"\n") == 1


def test_a_process_on_a_terminal_and_one_in_a_pipe_print_harmless_bytes(place):
    """As users start it, with `main` and its traceback, logs and encodings around the commands."""
    words = ["-m", "vidtldr_jax", "info", str(place.model), "-v"]
    written = run_on_terminal(*words)
    assert "\u2502" in written  # a table was drawn
    assert find_unsafe(written, is_terminal=True) == []
    for more in (["--json"], ["--method", LABEL]):
        environment = os.environ | {"PYTHONPATH": ROOT}
        done = subprocess.run([sys.executable, *words, *more], capture_output=True, env=environment, check=False)
        assert [find_unsafe(stream) for stream in (done.stdout, done.stderr)] == [[], []]


RAISING = """
import sys, threading
from vidtldr_jax.cli.runtime import take_over_process

class Held:
    def __del__(self):
        fail()

def fail():
    raise ValueError(sys.argv[1])

take_over_process()
Held()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""


def test_what_threads_and_finalisers_raise_is_harmless():
    words = [sys.executable, "-c", RAISING, LABEL]
    done = subprocess.run(words, capture_output=True, env=os.environ | {"PYTHONPATH": ROOT}, check=False)
    assert (done.stdout, done.stderr.count(b"Traceback")) == (b"", 2)
    assert find_unsafe(done.stderr) == []


def test_a_config_that_plan_writes_runs_nothing_that_a_name_says(place, tmp_path, monkeypatch):
    """The model's name stands in the docstring of a file that `--config` runs."""
    monkeypatch.chdir(tmp_path)
    names = [f'm"""\nopen("{number}", "w")\n"""\\' for number in range(2)]
    shutil.copytree(place.model, names[0])
    words = ("plan", "--model", names[0], "--keep", 0.5, "--write-config", f"{names[1]}.py", "--no-cache")
    code, _, err = call_hostile(*words)
    assert code == 0, err
    config = run_config(f"{names[1]}.py")
    assert config["checkpoint"] == os.path.abspath(names[0])
    assert sorted(os.listdir()) == sorted([names[0], f"{names[1]}.py"])


def test_a_plot_takes_no_name_for_a_formula(place, tmp_path):
    model = tmp_path / "$\\frac{$"
    shutil.copytree(place.model, model)
    words = ("plan", "--model", model, "--keep", 0.5, "--calibrate", place.video, "--plot", tmp_path / "a.png")
    code, _, err = call_hostile(*words, "--no-cache")
    assert code == 0, err


def test_the_videos_that_were_chosen_are_listed_under_their_names(place, tmp_path):
    words = ("finetune", "--data", place.manifest, "--model", place.model, "--steps", 1, "--batch-size", 2, "--few", 1)
    code, _, err = call_hostile(*words, "--skip-unreadable", "--out", tmp_path / "run", "--no-cache")
    assert code == 1, err  # one of them can't be read
    found = read_manifest(tmp_path / "run" / "train.csv", class_names=[LABELS])
    videos = (place.video, place.home / "plain.mp4", place.broken)
    assert {(entry.path, entry.labels[0]) for entry in found} == {(video, n) for n, video in enumerate(videos)}


def test_a_run_in_a_folder_that_its_library_cannot_name_is_refused_in_one_line(place, tmp_path):
    words = ("finetune", "--data", place.manifest, "--model", place.model, "--steps", 1, "--out", tmp_path / NAME)
    code, _, err = call_hostile(*words, "--no-cache")
    assert code == 1
    assert b"a run lies in a folder whose path is UTF-8" in err
    assert err.count(b"\n") == 1
    assert not (tmp_path / NAME).exists()
