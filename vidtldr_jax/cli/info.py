"""`vidtldr info`: what a model is and what a schedule makes of it."""

from __future__ import annotations

from typing import Any

import click

from vidtldr_jax.cli.convert import collect_settings, source_options
from vidtldr_jax.cli.options import (
    DEFAULT_MODEL,
    ModelType,
    check_model_name,
    json_option,
    method_option,
    schedule_option,
    verbose_option,
)

_EPILOG = """\b
Examples:
  vidtldr info
  vidtldr info umt-b16 --schedule 600,200,100
  vidtldr info checkpoints/mine --json
  vidtldr info vit_b16_k400.pth --set frames=8
  vidtldr info checkpoints/mine --check
"""


class _PlaceType(ModelType):
    """What --check takes need not be a model, and may be there in part alone."""

    paths = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name unchanged."""
        return str(value)


@click.command(epilog=_EPILOG)
@click.argument(
    "model", type=_PlaceType(with_presets=True), default=DEFAULT_MODEL, metavar="[FOLDER|NAME|PRESET|SOURCE]"
)
@click.option(
    "--check",
    is_flag=True,
    help="Compare a checkpoint, an index, a run or an export with its own digests; exit code 1 where it is damaged.",
)
@schedule_option("Without it: no merging.")
@method_option
@source_options
@json_option
@verbose_option
def info(
    model: str,
    check: bool,
    schedule: str | None,
    method: str | None,
    family: str | None,
    weights: str | None,
    settings: tuple[tuple[str, str], ...],
    allow_missing: tuple[str, ...],
    ignore: tuple[str, ...],
    as_json: bool,
) -> None:
    """Shows a model: architecture, tokens per layer, GMACs by part, preprocessing, labels, source.

    MODEL is a checkpoint folder, a shipped model (moving-objects, the default) or a preset such as umt-b16: an
    architecture without weights. Of a SOURCE that is not converted yet (all that `vidtldr convert` takes) it shows what
    a conversion would do and what is missing, and writes nothing. With --check, MODEL is a checkpoint, an
    index, a run or an export, and nothing but its files is looked at.
    """
    from vidtldr_jax.cli.info_check import show_check
    from vidtldr_jax.cli.model_info import show_model
    from vidtldr_jax.cli.source_info import is_source, show_source

    if check:
        if schedule or method or family or weights or settings or allow_missing or ignore:
            raise click.UsageError("--check looks at files alone; leave the other options out.")
        show_check(model, as_json=as_json)
        return
    check_model_name(model, with_presets=True)
    if is_source(model):
        if schedule is not None:
            raise click.UsageError("--schedule belongs to a model; convert the source first.")
        show_source(
            model,
            weights=weights,
            family=family,
            settings=collect_settings(settings),
            allow_missing=allow_missing,
            ignore=ignore,
            as_json=as_json,
        )
        return
    if family or settings or allow_missing or ignore:
        raise click.UsageError("--family, --set, --allow-missing and --ignore belong to a source, not to a model.")
    show_model(model, schedule=schedule, method=method, as_json=as_json)
