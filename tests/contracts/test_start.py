"""Neither help nor completion waits for anything but click: each is asked in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from vidtldr_jax.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent.parent
# Runs the command line, then tells what was imported of anything but Python, click, and the rooms that are light.
PROGRAM = """
import sys
before = set(sys.modules)
from vidtldr_jax.cli.main import main
try:
    main()
except SystemExit:
    pass
light = ("vidtldr_jax.cli", "vidtldr_jax.trust", "click")
names = {
    name for name in set(sys.modules) - before
    if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith(light) and name != "vidtldr_jax"
}
import json
print(json.dumps(sorted(names)), file=sys.stderr)
"""
PARAMETERS = "--method tome --schedule 100,40 --model moving-objects --preset umt-b16 --dtype float32"


def list_words(group, words=()):
    """Returns the words of every command and every group."""
    found = [words]
    for name, command in group.commands.items():
        below = (*words, name)
        found += list_words(command, below) if isinstance(command, click.Group) else [below]
    return found


def run(*words, **environment):
    """Returns what was printed and what was imported."""
    everything = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-c", PROGRAM, *words]
    result = subprocess.run(command, capture_output=True, text=True, env=everything, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout, json.loads(result.stderr.splitlines()[-1])


def complete(*words):
    return run(_VIDTLDR_COMPLETE="bash_complete", COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1))


@pytest.mark.parametrize("words", list_words(cli), ids=" ".join)
def test_help_and_completion_of_every_command_import_only_click(words):
    shown, loaded = run(*words, "--help")
    assert f"Usage: vidtldr {' '.join(words)}".rstrip() in shown
    assert loaded == []
    shown, loaded = complete("vidtldr", *words, "--h")
    assert "plain,--help" in shown.splitlines()
    assert loaded == []


@pytest.mark.parametrize(
    "words", [["--version"], ["completion", "zsh"], ["clasify"], ["classify", "--modle", "x"], ["embed"]], ids=" ".join
)
def test_a_slip_is_answered_at_once(words):
    assert run(*words)[1] == []


def test_what_stands_on_the_line_already_is_not_imported_for():
    for name in ("classify", "benchmark"):
        shown, loaded = complete("vidtldr", name, *PARAMETERS.split(), "--j")
        assert shown == "plain,--json\n"
        assert loaded == []
