"""Completion by click's own scripts: what bash, zsh and fish get."""

import os
import stat
import subprocess
import sys

import click
import pytest
from click.shell_completion import get_completion_class

from tests.cli.test_main import COMMANDS, ROOT, assert_one_error
from vidtldr_jax.cli.choices import NameType, PathType
from vidtldr_jax.cli.completion import SHELLS
from vidtldr_jax.cli.convert import SettingType
from vidtldr_jax.cli.main import cli
from vidtldr_jax.cli.names import METHODS, PRESETS, SHIPPED_MODELS
from vidtldr_jax.cli.options import ScheduleType

# Runs the script's function on words as bash takes them apart, as pressing the tab key does; what bash itself completes
# is then what compopt was told.
DRIVER = """
eval "$(vidtldr completion bash)"
complete -p vidtldr
compopt() { COMPREPLY+=("$2"); }
while IFS= read -r line; do
    COMP_WORDS=() COMPREPLY=()
    IFS='|' read -ra COMP_WORDS <<< "$line|"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _vidtldr_completion vidtldr "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    echo "${COMPREPLY[*]}"
done
"""
BASH = {
    "vidtldr|cl": "classify",
    "vidtldr|evaluate|": "classification qa retrieval",
    "vidtldr|classify|--mo": "--model",
    r"vidtldr|-v|classify|a\ clip.mp4|--method|tome": "tome tome_mean_keys",
    "vidtldr|classify|--model|": "dirnames moving-objects moving-objects-retrieval",
    "vidtldr|classify|--model|=": "dirnames moving-objects moving-objects-retrieval",
    "vidtldr|classify|cl": "default",
    "vidtldr|info|umt-b": "default umt-b16",
    "vidtldr|plan|--preset|umt": "umt-b16 umt-l16",
    "vidtldr|convert|--dtype|b": "bfloat16",
    "vidtldr|convert|check": "default",
    "vidtldr|embed|--out|": "dirnames",
    "vidtldr|evaluate|retrieval|--config|sets/": "default",
    "vidtldr|classify|--batch-size|": "",
}


@pytest.fixture
def complete(monkeypatch):
    """Returns what the program answers to a shell's script."""

    def run(shell, line, incomplete):
        for name, value in (("COMP_WORDS", line), ("COMP_CWORD", incomplete)):
            monkeypatch.setenv(name, value)
        return get_completion_class(shell)(cli, {}, "vidtldr", "_VIDTLDR_COMPLETE").complete()

    return run


def test_bash_completes_commands_options_names_and_paths(tmp_path):
    program = tmp_path / "bin" / "vidtldr"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vidtldr_jax "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": ROOT}
    result = subprocess.run(
        ["bash", "--norc", "-c", DRIVER],
        input="\n".join(BASH) + "\n",
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    registered, *found = result.stdout.split("\n")
    assert registered == "complete -o nosort -F _vidtldr_completion vidtldr"
    assert dict(zip(BASH, found)) == BASH


def test_zsh_and_fish_get_the_same(complete):
    assert complete("zsh", "vidtldr classify --dtype b", "3").split("\n") == ["plain", "bfloat16", "_"]
    assert complete("fish", "vidtldr classify --dtype b", "b") == "plain,bfloat16"
    assert complete("fish", "vidtldr evaluate qa --model mov", "mov").split("\n") == [
        "dir,mov",
        *(f"plain,{name}" for name in SHIPPED_MODELS),
    ]


def test_values_that_stand_on_the_line_already_are_not_looked_at(complete, tmp_path):
    line = "vidtldr classify --model nowhere --method tom --schedule 1,x --no-c"
    assert complete("zsh", line, "8").split("\n")[1::3] == ["--no-cache"]
    assert complete("zsh", "vidtldr plan --preset umt-x --qu", "4").split("\n")[1::3] == ["--quiet"]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_alone_and_help_has_the_line_that_installs_it(call, call_json, shell):
    script = call("completion", shell).stdout
    assert "_VIDTLDR_COMPLETE" in script
    assert call_json("completion", shell) == {"shell": shell, "script": script}
    assert f"vidtldr completion {shell}" in call("completion", "--help").stdout


def test_another_shell_is_wrong_usage(call):
    assert_one_error(call("completion", "bsh"), "got 'bsh'; did you mean 'bash'?", exit_code=2)


def list_values():
    for name, command in COMMANDS.items():
        for param in command.params:
            if not getattr(param, "is_flag", False):
                yield f"{name} {param.opts[-1]}", param


def test_it_is_known_how_to_complete_every_value():
    known = (click.Choice, click.Path, NameType, PathType)
    free = (click.types.IntParamType, click.types.FloatParamType, ScheduleType, SettingType)
    texts = {"TEXT", "QUESTION", "PATTERN"}
    values = dict(list_values())
    assert len(values) > 150
    faults = [
        place
        for place, param in values.items()
        if not isinstance(param.type, (*known, *free)) and param.metavar not in texts
    ]
    assert faults == [], "take FILE, FOLDER or a NameType"


def test_models_presets_and_methods_are_completed_wherever_they_can_be_given():
    known = {"--preset": set(PRESETS), "--method": set(METHODS), "--model": set(SHIPPED_MODELS)}
    options = [(place, param) for place, param in list_values() if param.opts[-1] in known]
    assert len(options) > 20
    assert [place for place, param in options if set(param.type.names) != known[param.opts[-1]]] == []
