"""`vidtldr schedules`: the schedules that the paper was published with."""

from __future__ import annotations

from typing import Any

import click

from vidtldr_jax.cli.choices import ChoiceType
from vidtldr_jax.cli.names import PUBLISHED_SIZES
from vidtldr_jax.cli.options import json_option, verbose_option
from vidtldr_jax.cli.output import print_json, print_line, print_table

_EPILOG = """\b
Examples:
  vidtldr schedules
  vidtldr schedules --size b16 --json
"""
_HEADER = ("data set", "model", "schedule", "tokens", "GMACs", "published")


@click.command(epilog=_EPILOG)
@click.option("--size", type=ChoiceType(PUBLISHED_SIZES), help="Only this size of the model.")
@json_option
@verbose_option
def schedules(size: str | None, as_json: bool) -> None:
    """Lists the published schedules.

    Of each data set and each size of UMT: tokens absorbed per layer, tokens before and after, and giga
    multiply-accumulates of the video encoder, as counted here and as published.
    """
    from vidtldr_jax.reduction.published import PLAIN_GMACS, PUBLISHED

    sizes = PUBLISHED_SIZES if size is None else (size,)
    rows = [_describe("none", one, (), PLAIN_GMACS[one], "") for one in sizes]
    rows += [_describe(one.data_set, one.size, one.r, one.gmacs, one.note) for one in PUBLISHED if one.size in sizes]
    rows.sort(key=lambda row: sizes.index(row["size"]))
    if as_json:
        print_json({"frames": 12, "image_size": 224, "schedules": rows})
        return
    print_table(_HEADER, [_write(row) for row in rows], title="12 frames of 224 x 224 pixels")
    for row in rows:
        if row["note"]:
            print_line(f"{row['data_set']} with {row['model']}: {row['note']}")


def _describe(data_set: str, size: str, r: tuple[int, ...], gmacs: float, note: str) -> dict[str, Any]:
    from vidtldr_jax.models.presets import get_preset
    from vidtldr_jax.reduction.cost import count_macs
    from vidtldr_jax.reduction.fitting import fit_schedule
    from vidtldr_jax.reduction.published import SIZES

    config = get_preset(SIZES[size])
    resolved = fit_schedule(config, list(r) or None)
    return {
        "data_set": data_set,
        "size": size,
        "model": SIZES[size],
        "schedule": resolved.text,
        "tokens_in": resolved.tokens[0],
        "tokens_out": resolved.tokens[-1],
        "gmacs": round(count_macs(config, resolved).gmacs, 1),
        "published_gmacs": gmacs,
        "note": note,
    }


def _write(row: dict[str, Any]) -> tuple[str, ...]:
    tokens = f"{row['tokens_in']} -> {row['tokens_out']}"
    numbers = f"{row['gmacs']:.1f}", f"{row['published_gmacs']:.1f}"
    return (row["data_set"], row["model"], row["schedule"], tokens, *numbers)
