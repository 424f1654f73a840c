"""A config is Python: whoever reads the help of a command that takes one learns it there."""

import click
from click.testing import CliRunner

from vidtldr_jax.cli.main import cli


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
