"""Values that are one of a few names: what a wrong one is answered with, and what the shell completes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from vidtldr_jax.trust.nearest import suggest


def is_completing(ctx: click.Context | None) -> bool:
    """Tells whether a shell asks for completions: values that stand on the line already are then not looked at."""
    return ctx is not None and ctx.resilient_parsing


class PathType(click.ParamType):
    """A path, which is passed on as it is written.

    Attributes:
      name: what help shows.
      paths: what the shell completes: "file", or "dir" for folders alone.
    """

    def __init__(self, name: str, paths: str) -> None:
        self.name = name
        self.paths = paths

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        """Leaves it to the shell."""
        return [CompletionItem(incomplete, type=self.paths)]


FILE: Final = PathType("file", "file")
FOLDER: Final = PathType("folder", "dir")


class NameType(click.ParamType):
    """A name out of a list; `convert` answers a wrong one with the nearest.

    Attributes:
      names: the list, for completion.
      paths: what of the shell's own will do too: "file", "dir" or nothing.
    """

    name = "name"
    names: Sequence[str]
    paths: str | None = None

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        """Lists the names that begin so, behind what is the shell's own: bash forgets what comes before that."""
        items = [] if self.paths is None else [CompletionItem(incomplete, type=self.paths)]
        return items + [CompletionItem(name) for name in self.names if name.startswith(incomplete)]


class ChoiceType(click.Choice):
    """A choice whose error names the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the choice, or fails."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            known = [str(choice) for choice in self.choices]
            hint = suggest(str(value), known, otherwise="take one of them.", cutoff=0.5)
            self.fail(f"it is one of {', '.join(known)}; got {str(value)!r}; {hint}", param, ctx)
