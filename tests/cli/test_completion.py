"""Completion: what bash gets, what each shell's form needs, and that neither it nor help waits for JAX."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import get_completion_class

from tests.cli.hostile import LABEL
from tests.cli.test_main import COMMANDS, ROOT, assert_one_error, run_python
from vidtldr_jax.cli.choices import NameType
from vidtldr_jax.cli.config_words import list_arguments
from vidtldr_jax.cli.convert import SettingType
from vidtldr_jax.cli.main import cli
from vidtldr_jax.cli.options import ScheduleType
from vidtldr_jax.cli.outline import OUTLINE, describe_command, find_paths
from vidtldr_jax.cli.python_config import run_config
from vidtldr_jax.cli.shells import SHELLS, add_shells
from vidtldr_jax.inference.load import SHIPPED_MODELS
from vidtldr_jax.models.presets import PRESETS
from vidtldr_jax.reduction.methods import METHODS

CONFIGS = Path(ROOT) / "configs"
# Runs the script's function on words as bash takes them apart, as pressing the tab key does.
DRIVER = """
eval "$(vidtldr completion bash)"
complete -p vidtldr
compopt() { :; }
while IFS= read -r line; do
    COMP_WORDS=() COMPREPLY=()
    IFS='|' read -ra COMP_WORDS <<< "$line|"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    current=${COMP_WORDS[COMP_CWORD]}
    [[ $current == [:=] ]] && current=
    _vidtldr_completion vidtldr "$current" "${COMP_WORDS[COMP_CWORD - 1]}"
    echo "${COMPREPLY[*]}"
done
"""
BASH = {
    "vidtldr|cl": "classify",
    "vidtldr|evaluate|": "classification qa retrieval",
    "vidtldr|classify|--mo": "--model",
    "vidtldr|-v|classify|a clip.mp4|--method|tome": "tome tome_mean_keys",
    "vidtldr|classify|--model|": "moving-objects moving-objects-retrieval sets",
    "vidtldr|classify|--model|=|mov": "moving-objects moving-objects-retrieval",
    "vidtldr|classify|cl": "clip.mp4",
    "vidtldr|info|umt-b": "umt-b16",
    "vidtldr|plan|--preset|umt": "umt-b16 umt-l16",
    "vidtldr|convert|--dtype|b": "bfloat16",
    "vidtldr|evaluate|retrieval|--config|sets/": "sets/retrieval.py",
    "vidtldr|evaluate|retrieval|--config|sets/retrieval.py|:|msv": "msvd,b16 msvd,l16",
    "vidtldr|evaluate|retrieval|--config|=|sets/retrieval.py|:|msvd,l": "msvd,l16",
    "vidtldr|evaluate|retrieval|--config|sets/retrieval.py|:|msvd,l16,": "msvd,l16,zero_shot msvd,l16,plain",
    "vidtldr|classify|--batch-size|": "",
}


@pytest.fixture
def complete(monkeypatch):
    """Returns what the program answers to a shell's script."""

    def run(shell, line, incomplete):
        add_shells()
        for name, value in (("COMP_WORDS", line), ("COMP_CWORD", incomplete)):
            monkeypatch.setenv(name, value)
        return get_completion_class(shell)(cli, {}, "vidtldr", "_VIDTLDR_COMPLETE").complete()

    return run


def test_bash_completes_commands_options_names_files_and_the_words_of_a_config(tmp_path):
    program = tmp_path / "bin" / "vidtldr"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vidtldr_jax "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    place = tmp_path / "place"
    (place / "sets").mkdir(parents=True)
    (place / "sets" / "retrieval.py").write_text((CONFIGS / "retrieval.py").read_text())
    (place / "clip.mp4").touch()
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": ROOT}
    result = subprocess.run(
        ["bash", "--norc", "-c", DRIVER],
        input="\n".join(BASH) + "\n",
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    registered, *found = result.stdout.split("\n")
    assert registered == "complete -o nosort -F _vidtldr_completion vidtldr"
    assert dict(zip(BASH, found)) == BASH


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_get_an_option_and_its_value_in_one_word_and_nothing_is_cut(complete, shell):
    def list_values(line):
        incomplete = line.split(" ")[-1]
        answer = complete(shell, line, str(len(line.split(" ")) - 1) if shell == "zsh" else incomplete)
        if shell == "zsh":
            return answer.split("\n")[1::3]
        return [item.split("\t")[0].split(",", 1)[1] for item in answer.split("\n")]

    assert list_values("vidtldr classify --dtype=b") == ["--dtype=bfloat16"]
    assert list_values("vidtldr classify --dtype b") == ["bfloat16"]
    place = CONFIGS / "qa.py"
    assert list_values(f"vidtldr evaluate qa --config {place}:msvd,b") == [f"{place}:msvd,b16"]
    assert list_values(f"vidtldr evaluate qa --config={place}:msvd,b") == [f"--config={place}:msvd,b16"]


def test_fish_takes_whole_values_and_completes_paths_itself(call):
    script = call("completion", "fish").stdout
    assert 'string replace -f -r "^plain," ""' in script
    assert "--force-files --condition _vidtldr_completion_takes_paths" in script


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_alone_and_help_has_the_line_that_installs_it(call, call_json, shell):
    script = call("completion", shell).stdout
    assert "_VIDTLDR_COMPLETE" in script
    assert call_json("completion", shell) == {"shell": shell, "script": script}
    assert f"vidtldr completion {shell}" in call("completion", "--help").stdout


def test_another_shell_is_wrong_usage(call):
    assert_one_error(call("completion", "bsh"), "got 'bsh'; did you mean 'bash'?", exit_code=2)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["evaluate", "--help"],
        ["completion", "zsh"],
        ["clasify"],
        "vidtldr classify --me",
        "vidtldr evaluate qa --model ",
    ],
)
def test_neither_help_nor_completion_imports_jax(words):
    code = (
        "import sys; from vidtldr_jax.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "print(sorted({'jax', 'flax', 'numpy', 'av', 'rich'} & set(sys.modules)))"
    )
    asked = {}
    if isinstance(words, str):
        asked = {"_VIDTLDR_COMPLETE": "zsh_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        words = []
    result = run_python("-c", code, *words, **asked)
    assert result.returncode == 0, result.stderr
    *answer, loaded = result.stdout.splitlines()
    assert loaded == "[]"
    assert answer or "did you mean 'classify'?" in result.stderr


def test_the_outline_is_that_of_the_commands():
    assert json.loads(OUTLINE.read_text()) == describe_command(cli), "run python scripts/make_outline.py"


def list_values():
    for name, command in COMMANDS.items():
        for param in command.params:
            if not getattr(param, "is_flag", False):
                yield f"{name} {param.opts[-1]}", param


def test_it_is_known_how_to_complete_every_value():
    free = (click.types.IntParamType, click.types.FloatParamType, ScheduleType, SettingType)
    texts = {"TEXT", "QUESTION", "PATTERN"}
    faults = [
        place
        for place, param in list_values()
        if not isinstance(param.type, (click.Choice, NameType, *free))
        and param.metavar not in texts
        and find_paths(param) is None
    ]
    assert faults == [], "say FILE or FOLDER in the metavar, or take a NameType"


def test_models_presets_and_methods_are_completed_wherever_they_can_be_given():
    known = {"--preset": set(PRESETS), "--method": set(METHODS), "--model": set(SHIPPED_MODELS)}
    options = [(place, param) for place, param in list_values() if param.opts[-1] in known]
    assert len(options) > 20
    assert [place for place, param in options if set(param.type.names) != known[param.opts[-1]]] == []


@pytest.mark.parametrize("name", ["retrieval", "qa", "finetune"])
def test_every_argument_that_is_completed_is_one_that_the_config_takes(name):
    pytest.importorskip("ml_collections")
    path = CONFIGS / f"{name}.py"
    arguments = list_arguments(path, "")
    assert len(arguments) > 1
    options = list_arguments(path, f"{arguments[0]},")
    assert options
    for argument in (*arguments, *options):
        assert run_config(f"{path}:{argument}").get("task")


def test_all_data_sets_and_sizes_are_completed():
    for name, count in (("retrieval", 14), ("qa", 4)):
        arguments = list_arguments(CONFIGS / f"{name}.py", "")
        found = {}
        exec((CONFIGS / f"{name}.py").read_text(), found)
        assert {tuple(argument.split(",")) for argument in arguments} == set(found["RUNS"])
        assert len(arguments) == count


def test_a_config_is_read_and_not_run_and_one_that_says_nothing_is_no_error(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text('WORDS = {"DATASET": ("a", "b"), "OPTION": ("x", "y")}\nraise SystemExit("was run")\n')
    assert list_arguments(path, "") == ["a", "b"]
    assert list_arguments(path, "b,") == ["b,x", "b,y"]
    assert list_arguments(path, "b,x,") == ["b,x,y"]
    for text in ("", "WORDS = (", "WORDS = open('x')", "WORDS = 3", "WORDS = {1: 2}", "\0"):
        path.write_text(text)
        assert list_arguments(path, "") == list_arguments(tmp_path / "nowhere.py", "") == []


def test_words_of_a_config_that_would_drive_a_terminal_are_left_out(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(f"WORDS = {{'A': {['a', LABEL, chr(0x202E), 'b' + chr(10)]!r}, 'OPTION': ['x']}}\n")
    assert list_arguments(path, "") == ["a"]


def test_a_config_with_endless_ways_to_put_its_words_together_is_answered(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(f"WORDS = { ({str(number): [*'abcdefghij'] for number in range(30)})!r}\n")
    assert 0 < len(list_arguments(path, "")) <= 10_000
