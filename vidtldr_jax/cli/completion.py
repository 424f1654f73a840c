"""`vidtldr completion`: the script with which a shell completes commands, options and values."""

from __future__ import annotations

from typing import Final

import click

from vidtldr_jax.cli.choices import ChoiceType
from vidtldr_jax.cli.options import json_option, verbose_option
from vidtldr_jax.cli.output import print_json, print_line
from vidtldr_jax.cli.shells import SHELLS, write_script

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
@click.argument("shell", type=ChoiceType(SHELLS))
@json_option
@verbose_option
def completion(shell: str, as_json: bool) -> None:
    """Prints the script that completes commands, options and values in bash, zsh or fish.

    Values are models, presets, methods, dtypes and other choices, files and folders, and, behind the colon of a config
    such as configs/retrieval.py:, data sets and sizes. zsh needs its own completion on: autoload -U compinit; compinit.
    """
    script = write_script(shell)
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        for line in script.removesuffix("\n").split("\n"):
            print_line(line)
