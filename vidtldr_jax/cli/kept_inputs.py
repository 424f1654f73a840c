"""Outputs of a command that would replace its inputs are a mistake in the command line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from vidtldr_jax.trust import kept_inputs


def keep_inputs(outputs: Mapping[str, Iterable[Path]], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse to write over what is read, see `trust.kept_inputs.keep_inputs`.

    Args:
      outputs: option -> the files that are written for it.
      inputs: files that are read, and folders whose files are.

    Raises:
      click.UsageError: a file would be written over, or two options name one file.
      NotRegularError: an output is a device, a FIFO or a socket.
    """
    try:
        kept_inputs.keep_inputs(outputs, inputs)
    except kept_inputs.KeptInputError as error:
        raise click.UsageError(str(error)) from error
