"""The directive `command-line`: every command of the group, as its `--help` tells it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from vidtldr_jax.cli.main import cli

_HELP_WIDTH = 84  # letters that fit beside the list of pages


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive."""
    app.add_directive("command-line", CommandLine)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


class CommandLine(SphinxDirective):
    """A section for each command, in the order of the group."""

    def run(self) -> list[nodes.Node]:
        """Returns the sections."""
        parts = [text for path, command in list_commands(cli, ("vidtldr",)) for text in describe(path, command)]
        return self.parse_text_to_nodes("\n".join(parts), allow_section_headings=True)


def list_commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yields each command with the words that call it; groups come before what is in them."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from list_commands(command, (*path, name))


def describe(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    """Yields Markdown: a heading and what `--help` prints."""
    context = click.Context(command, info_name=" ".join(path), terminal_width=_HELP_WIDTH)
    yield f"## {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n"
