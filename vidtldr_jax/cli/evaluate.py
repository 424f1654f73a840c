"""`vidtldr evaluate`: how well a model does on a data set, with and without merging."""

from __future__ import annotations

import click

from vidtldr_jax.cli.evaluate_classification import classification
from vidtldr_jax.cli.evaluate_qa import qa
from vidtldr_jax.cli.evaluate_retrieval import retrieval
from vidtldr_jax.cli.group import CommandGroup


@click.group(cls=CommandGroup)
def evaluate() -> None:
    """Measures a model on a data set."""


for _command in (classification, retrieval, qa):
    evaluate.add_command(_command)
