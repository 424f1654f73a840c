"""The group: help, nearest names, exit codes, one line per failure."""

import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

import vidtldr_jax
from vidtldr_jax.cli.main import cli


def list_commands(group, words=()):
    """Returns command -> what click knows of it; those of a group below have two words."""
    found = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= list_commands(command, (*words, name))
        else:
            found[" ".join((*words, name))] = command
    return found


COMMANDS = list_commands(cli)
ROOT = str(Path(vidtldr_jax.__file__).parents[1])


def run_process(*words, **environment):
    return run_python("-m", "vidtldr_jax", *words, **environment)


def run_python(*words, **environment):
    command = [sys.executable, *map(str, words)]
    everything = os.environ | {"PYTHONPATH": ROOT} | environment
    return subprocess.run(command, capture_output=True, text=True, env=everything, check=False)


def assert_one_error(result, message, *, exit_code=1):
    assert result.exit_code == exit_code, result.output
    assert isinstance(result.exception, SystemExit)
    errors = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("error: ")
    assert message in errors[0]


def test_the_commands_are_those_of_the_readme():
    evaluations = ["evaluate classification", "evaluate qa", "evaluate retrieval"]
    assert sorted(COMMANDS) == [
        "ask",
        "benchmark",
        "classify",
        "completion",
        "convert",
        "demo",
        "embed",
        *evaluations,
        "export",
        "finetune",
        "info",
        "plan",
        "schedules",
        "search",
        "visualize",
    ]
    readme = (Path(ROOT) / "README.md").read_text()
    assert [command for command in COMMANDS if f"`vidtldr {command}" not in readme] == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_has_an_example_that_names_only_options_that_there_are(call, command):
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    examples = [line.split() for line in result.stdout.splitlines() if line.startswith(f"    vidtldr {command}")]
    assert examples
    known = {option for parameter in COMMANDS[command].params for option in parameter.opts}
    assert {word for words in examples for word in words if word.startswith("--")} <= known
    assert "--json" in result.stdout


def test_an_unknown_command_is_answered_with_the_nearest(call):
    assert_one_error(call("clasify"), "there is no command 'clasify'; did you mean 'classify'?", exit_code=2)
    assert_one_error(call("evaluate", "clasification"), "did you mean 'classification'?", exit_code=2)
    assert_one_error(call("xyz"), "commands are ask, benchmark, classify, completion, convert, demo, ", exit_code=2)


def test_an_unknown_option_is_answered_with_the_nearest(call):
    assert_one_error(call("info", "--schedul", "3"), "--schedule", exit_code=2)


@pytest.mark.parametrize("schedule", ["abc", "-3", "1.5", "3x"])
def test_a_schedule_that_is_none_is_wrong_usage(call, schedule):
    assert_one_error(call("info", "umt-b16", f"--schedule={schedule}"), schedule, exit_code=2)


def test_verbose_shows_the_traceback_and_the_next_call_is_quiet_again(call):
    assert "Traceback" in call("info", "nowhere", "-v").stderr
    assert "Traceback" not in call("info", "nowhere").stderr
    assert logging.getLogger("vidtldr_jax").level == logging.ERROR


def test_the_module_runs_as_a_program_and_keeps_stdout_for_the_answer():
    result = run_process("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"vidtldr, version {vidtldr_jax.__version__}\n", "")
    result = run_process("info", "nowhere")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: a model is a checkpoint folder")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_answer_that_cannot_be_written_is_one_error(unbuffered):
    words = [sys.executable, "-m", "vidtldr_jax", "info", "umt-b16"]
    with open("/dev/full", "w") as full:
        environment = os.environ | {"PYTHONPATH": ROOT, "PYTHONUNBUFFERED": unbuffered}
        result = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: 'standard output': No space left on device")
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX closes streams so")
def test_streams_that_are_closed_are_no_error(tmp_path, model, clip):
    words = shlex.join([sys.executable, "-m", "vidtldr_jax", "classify", clip, "--model", model, "--no-cache"])
    environment = os.environ | {"PYTHONPATH": ROOT}
    done = subprocess.run(f"{words} >&-; {words} 2>&-", shell=True, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(os.fsencode(clip))


INTERRUPTED = """
import atexit, os, sys, time
from vidtldr_jax.cli import main

class Late:
    def __init__(self, act):
        self.act = act
    def __del__(self):
        self.act()

def interrupt():
    raise KeyboardInterrupt

def work(context):
    Late(interrupt)  # as Ctrl-C does in a callback of JAX
    time.sleep(60)

kept = Late(lambda: os.write(2, b"Python's own end"))
atexit.register(os.write, 2, b"atexit")
main.cli.invoke = work
sys.argv[1:] = ["info"]
main.main()
"""


def test_an_interrupt_is_not_swallowed_and_ends_the_process_before_python_does():
    words = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ROOT}, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "\nerror: interrupted\natexit")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_ends_the_program_quietly(unbuffered):
    words = [sys.executable, "-m", "vidtldr_jax", "info", "umt-b16"]
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONPATH": ROOT, "PYTHONUNBUFFERED": unbuffered}
    result = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")
