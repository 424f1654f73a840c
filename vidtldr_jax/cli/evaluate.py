"""`vidtldr evaluate`: how well a model does on a data set, with and without merging."""

from __future__ import annotations

from typing import Final

import click

from vidtldr_jax.cli.group import CommandGroup, LazyCommands

_EPILOG: Final = """\b
Examples:
  vidtldr evaluate classification --manifest val.csv --schedule 100,40 --compare-plain
  vidtldr evaluate retrieval --model checkpoints/umt-b16-msrvtt --annotation msrvtt_ret_test1k.json --videos MSRVTT
  vidtldr evaluate qa --config configs/qa.py:msvd,b16 --model checkpoints/umt-b16-msvd-qa \\
      --annotation msvd_qa_test.json --answers msvd_qa_answer_list.json --videos MSVD
"""
_COMMANDS: Final = LazyCommands("vidtldr_jax.cli.evaluate_", ("classification", "retrieval", "qa"))


@click.group(cls=CommandGroup, commands=_COMMANDS, epilog=_EPILOG)
def evaluate() -> None:
    """Measures a model on a data set."""
