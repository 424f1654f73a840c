"""`vidtldr completion`: the script with which a shell completes commands, options and values."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from vidtldr_jax.cli.choices import ChoiceType
from vidtldr_jax.cli.options import json_option, verbose_option
from vidtldr_jax.cli.output import print_json, print_line

SHELLS: Final[dict[str, type[ShellComplete]]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_PROGRAM: Final = "vidtldr"
_VARIABLE: Final = f"_{_PROGRAM}_complete".upper()  # only the scripts set it; its name is click's
_EPILOG: Final = """\b
Examples, each the one line that installs it for good; a new shell then completes:
  echo 'eval "$(vidtldr completion bash)"' >> ~/.bashrc
  echo 'eval "$(vidtldr completion zsh)"' >> ~/.zshrc
  vidtldr completion fish > ~/.config/fish/completions/vidtldr.fish

\b
Only in this shell:
  eval "$(vidtldr completion bash)"
"""


@click.command(epilog=_EPILOG)
@click.argument("shell", type=ChoiceType(tuple(SHELLS)))
@json_option
@verbose_option
def completion(shell: str, as_json: bool) -> None:
    """Prints the script that completes commands, options and values in bash, zsh or fish.

    Values are models, presets, methods, dtypes and other choices, files and folders. zsh needs its own completion on:
    autoload -U compinit; compinit.
    """
    script = SHELLS[shell](click.Command(_PROGRAM), {}, _PROGRAM, _VARIABLE).source()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        for line in script.removesuffix("\n").split("\n"):
            print_line(line)
