"""What help and completion know of the commands without importing them, since most of them import JAX.

`outline.json` beside this file is written from the commands by `scripts/make_outline.py`; a test keeps them in step.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from vidtldr_jax.cli.choices import NameType
from vidtldr_jax.cli.config_words import list_arguments

OUTLINE: Final = Path(__file__).with_name("outline.json")
# Word in a metavar -> what the shell completes.
_PATHS: Final = {"FILE": "file", "VIDEO": "file", "SOURCE": "file", "DESTINATION": "file", "FOLDER": "dir"}
_CONFIG: Final = re.compile(r"FILE\.py\W+ARG")


def describe_command(command: click.Command) -> dict[str, Any]:
    """Returns what help and completion need of a command, as plain data.

    Args:
      command: a command, or a group with all of its commands.

    Returns:
      The first sentence of its help, its parameters, and, of a group, its commands.
    """
    outline: dict[str, Any] = {
        "help": command.get_short_help_str(limit=1000),
        "params": [_describe_parameter(param) for param in command.params],
    }
    if isinstance(command, click.Group):
        outline["commands"] = {name: describe_command(command.commands[name]) for name in sorted(command.commands)}
    return outline


def find_outline(ctx: click.Context, name: str) -> click.Command:
    """Returns the outline of a command: click's options and arguments, but nothing to run.

    Args:
      ctx: of the group.
      name: of the command.

    Returns:
      The outline; an empty one where there is none.
    """
    names = [name]
    while ctx.parent is not None:
        names.insert(0, str(ctx.info_name))
        ctx = ctx.parent
    found: dict[str, Any] = _read_outline()
    for one in names:
        found = found.get("commands", {}).get(one, {})
    return _make_command(name, found)


def find_paths(param: click.Parameter) -> str | None:
    """Returns which paths a parameter's metavar speaks of: "file" for all, "dir" for folders, None for none."""
    words = re.findall(r"[A-Z]+", param.metavar or "")
    kinds = {_PATHS[word] for word in words if word in _PATHS}
    return "file" if "file" in kinds else "dir" if kinds else None


@functools.cache
def _read_outline() -> dict[str, Any]:
    outline: dict[str, Any] = json.loads(OUTLINE.read_text(encoding="utf-8"))
    return outline


def _describe_parameter(param: click.Parameter) -> dict[str, Any]:
    kind = param.type
    names = kind.choices if isinstance(kind, click.Choice) else kind.names if isinstance(kind, NameType) else ()
    described: dict[str, Any] = {
        "opts": list(param.opts),
        "off": list(param.secondary_opts),
        "help": getattr(param, "help", None),
        "is_flag": getattr(param, "is_flag", False),
        "is_argument": isinstance(param, click.Argument),
        "multiple": param.multiple,
        "nargs": param.nargs,
        "names": [str(name) for name in names],
        "paths": find_paths(param),
        "is_config": bool(_CONFIG.search(param.metavar or "")),
    }
    usual = {"nargs": 1}
    return {key: value for key, value in described.items() if value and usual.get(key) != value}


def _make_command(name: str, outline: dict[str, Any]) -> click.Command:
    options: dict[str, Any] = {
        "help": outline.get("help"),
        "params": [_make_parameter(described) for described in outline.get("params", ())],
    }
    if "commands" not in outline:
        return click.Command(name, **options)
    commands = {inner: _make_command(inner, described) for inner, described in outline["commands"].items()}
    return click.Group(name, commands=commands, **options)


def _make_parameter(described: dict[str, Any]) -> click.Parameter:
    kind = _Outlined(described.get("names", ()), described.get("paths"), described.get("is_config", False))
    options: dict[str, Any] = {"nargs": described.get("nargs", 1)}
    if described.get("is_argument"):
        return click.Argument(described["opts"], type=kind, required=False, **options)
    options["help"] = described.get("help")
    if described.get("is_flag"):
        (*opts, last), off = described["opts"], "/".join(("", *described.get("off", ())))
        return click.Option([*opts, f"{last}{off}"], is_flag=True, **options)
    return click.Option(described["opts"], type=kind, multiple=described.get("multiple", False), **options)


class _Outlined(click.ParamType):
    """A value of which only its completion is known."""

    name = "value"

    def __init__(self, names: list[str], paths: str | None, is_config: bool) -> None:
        self.names = names
        self.paths = paths
        self.is_config = is_config

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Lists names, then files or folders; behind the colon of a config, its arguments."""
        place, colon, begun = incomplete.partition(".py:")
        if self.is_config and colon:
            found = list_arguments(Path(f"{place}.py").expanduser(), begun)
            return [CompletionItem(f"{place}.py:{argument}") for argument in found]
        items = [CompletionItem(name) for name in self.names if name.startswith(incomplete)]
        return items + ([CompletionItem(incomplete, type=self.paths)] if self.paths else [])
