"""The examples that help gives are command lines that their commands take."""

import re
import shlex
from pathlib import Path

import click
import pytest

from tests.cli.test_main import COMMANDS
from vidtldr_jax.cli.main import cli

GROUPS = {"": cli} | {name: cli.commands[name] for name in cli.commands if isinstance(cli.commands[name], click.Group)}
INNER = re.compile(r"\$\((vidtldr [^)]*)\)")


def list_examples(command):
    """Command lines of an epilog; those inside of others come first, and stand for a schedule there."""
    text = (command.epilog or "").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    inner = [found for line in lines for found in INNER.findall(line)]
    return [*inner, *(INNER.sub("100,40", line) for line in lines if line.startswith("vidtldr "))]


def parse(line):
    """Reads a command line as the program would, up to the work."""
    words = shlex.split(re.sub(r"\s>+\s.*", "", line))[1:]
    name = next(name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS)
    rest = words[len(name.split()) :]
    command = COMMANDS[name]
    known = {option: param.type for param in command.params for option in param.opts}
    for before, word in zip(["", *rest], rest):
        is_file = not getattr(known.get(before), "dir_okay", True)
        if "--" not in word and not is_file:
            Path(word).mkdir(parents=True, exist_ok=True)  # for what must be there to be a model
    with command.make_context(name, [*rest, *(["--no-cache"] if "--no-cache" in known else [])]):
        return name


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_example_of_a_command_is_one_that_it_takes(name):
    examples = list_examples(COMMANDS[name])
    assert name in [parse(line) for line in examples]


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_every_example_of_a_group_is_one_that_a_command_of_it_takes(name):
    examples = list_examples(GROUPS[name])
    assert len(examples) > 2
    assert all(parse(line).startswith(name) for line in examples)


def test_an_example_that_is_wrong_is_found():
    assert list_examples(click.Command("x", epilog="Examples:\n  vidtldr info \\\n   --jso\n")) == [
        "vidtldr info     --jso"
    ]
    with pytest.raises(click.NoSuchOption):
        parse("vidtldr info --jso")
    with pytest.raises(click.BadParameter):
        parse("vidtldr info --method none")
