"""Values that are one of a few names: what a wrong one is answered with, and what the shell completes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from vidtldr_jax.cli.nearest import suggest


class NameType(click.ParamType):
    """A name out of a list; `convert` answers a wrong one with the nearest.

    Attributes:
      names: the list, for completion.
    """

    name = "name"

    @property
    def names(self) -> Sequence[str]:
        """The list."""
        raise NotImplementedError


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
