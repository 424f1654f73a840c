"""A config is Python: whoever reads the help of a command that takes one learns it there."""

import ast
from pathlib import Path

import click
from click.testing import CliRunner

from vidtldr_jax.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent.parent


def list_commands(group=cli, words=()):
    """Yields (words, command) of every command that is no group."""
    for name in group.commands:
        command = group.commands[name]
        if isinstance(command, click.Group):
            yield from list_commands(command, (*words, name))
        else:
            yield (*words, name), command


def test_the_help_of_each_command_with_a_config_says_that_it_is_run():
    takers = [words for words, command in list_commands() if any("--config" in param.opts for param in command.params)]
    assert len(takers) >= 4
    for words in takers:
        text = " ".join(CliRunner().invoke(cli, [*words, "--help"]).stdout.split())
        assert "The file is run as Python: give only one that you trust." in text, words


def test_the_programs_for_scenic_say_it_too():
    """Their help is that of absl, which prints a program's docstring."""
    for name in ("main", "evaluate"):
        text = (ROOT / "vidtldr_jax" / "scenic_adapter" / f"{name}.py").read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(text)) or ""
        assert "--config=" in docstring
        assert "run as Python: give only one that you trust." in " ".join(docstring.split()), name


def test_no_other_option_takes_a_python_file_to_read():
    """`--write-config` writes one; another option that reads one must say the same."""
    found = {
        option
        for _, command in list_commands()
        for param in command.params
        if ".py" in (param.metavar or "")
        for option in param.opts
    }
    assert found == {"--config", "--write-config"}
