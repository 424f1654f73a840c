"""`vidtldr convert`: from somebody's checkpoint to a folder that every command reads, and back."""

from __future__ import annotations

import functools
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from vidtldr_jax.cli.choices import FILE, ChoiceType
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.kept_inputs import keep_inputs
from vidtldr_jax.cli.names import CONVERTED_DTYPES, CONVERTED_FAMILIES
from vidtldr_jax.cli.options import json_option, verbose_option
from vidtldr_jax.cli.output import format_bytes, print_json, print_line, print_note, print_table, show_progress

if TYPE_CHECKING:
    from checkpoints_convert.convert import ConversionReport
    from checkpoints_convert.plan import ConversionPlan
    from checkpoints_convert.verify import VerificationReport

log = logging.getLogger("vidtldr_jax")

_MOST_ENTRIES: Final = 10
_EPILOG = """\b
Examples:
  vidtldr convert vit_b16_k400.pth checkpoints/umt-b16-k400 --set frames=8
  vidtldr convert videomae-base-finetuned-kinetics checkpoints/videomae-b16 --verify
  vidtldr convert hf://google/vivit-b-16x2-kinetics400 checkpoints/vivit-b16x2 --dtype bfloat16
  vidtldr convert checkpoint_30 checkpoints/vivit --set frames=32 --set image_size=224
  vidtldr convert umt_msrvtt.pth checkpoints/umt-msrvtt --tokenizer hf://google-bert/bert-base-uncased
  vidtldr convert checkpoints/umt-b16-k400 back.safetensors --to torch
"""


class SettingType(click.ParamType):
    """A pair name=value."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Returns name and value, or fails."""
        name, equals, text = str(value).partition("=")
        if not equals or not name or not text:
            self.fail(f"a setting is name=value, such as heads=12; got {value!r}", param, ctx)
        return name, text


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what says how a source is read: --family, --weights, --set, --allow-missing, --ignore."""
    options = (
        click.option(
            "--family", type=ChoiceType(CONVERTED_FAMILIES), help="Kind of checkpoint.  [default: by the keys]",
        ),
        click.option(
            "--weights", metavar="TEXT",
            help="Which of several states of weights in a file, such as model_ema.  [default: model, state_dict, ...]",
        ),
        click.option(
            "--set", "settings", type=SettingType(), multiple=True,
            help="What the weights can't tell: heads=12, frames=16, image_size=224, mean=0.5,0.5,0.5. Repeatable.",
        ),
        click.option(
            "--allow-missing", multiple=True, metavar="PATTERN",
            help="Parameters that may have no source; they get initial values. * is anything. Repeatable.",
        ),
        click.option("--ignore", multiple=True, metavar="PATTERN", help="Keys of the source to leave out. Repeatable."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command(epilog=_EPILOG)
@click.argument("source", metavar="SOURCE", type=FILE)
@click.argument("destination", metavar="DESTINATION", type=click.Path(path_type=Path))
@source_options
@click.option("--dtype", type=ChoiceType(CONVERTED_DTYPES), help="Dtype of the stored parameters.  [default: float32]")
@click.option(
    "--tokenizer",
    type=FILE,
    metavar="FILE|FOLDER|hf://...",
    help="Tokenizer of a model that reads texts: BERT's vocab.txt or a tokenizer.json; kept beside the weights.",
)
@click.option(
    "--to",
    "target",
    type=ChoiceType(["jax", "torch"]),
    default="jax",
    show_default=True,
    help="torch: SOURCE is a checkpoint folder, DESTINATION a state dict for the original class.",
)
@click.option("--overwrite", is_flag=True, help="With --to torch: replace a file that is there.")
@click.option("--verify", is_flag=True, help="Compare with transformers' own class, layer by layer, on random input.")
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="Compare with a file of the original's input and output: video, and logits, tokens, embedding, hidden_states.",
)
@json_option
@verbose_option
def convert(
    source: str,
    destination: Path,
    family: str | None,
    weights: str | None,
    settings: tuple[tuple[str, str], ...],
    allow_missing: tuple[str, ...],
    ignore: tuple[str, ...],
    dtype: str | None,
    tokenizer: str | None,
    target: str,
    overwrite: bool,
    verify: bool,
    samples: Path | None,
    as_json: bool,
) -> None:
    """Converts a checkpoint: PyTorch, Hugging Face or Scenic weights in, a checkpoint folder out.

    SOURCE is a .pth, .pt, .bin, .safetensors, .npz or msgpack file, a folder of Hugging Face's or Scenic's, or
    hf://owner/name. Nothing in it is executed. DESTINATION appears complete or not at all.
    """
    from checkpoints_convert.convert import convert_checkpoint
    from vidtldr_jax.data.labels import describe_similar

    if target == "torch":
        options = {
            "--weights": weights,
            "--set": settings,
            "--allow-missing": allow_missing,
            "--ignore": ignore,
            "--dtype": dtype,
            "--tokenizer": tokenizer,
            "--verify": verify,
            "--samples": samples,
        }
        given = [name for name, value in options.items() if value]
        if given:
            raise click.UsageError(f"{', '.join(given)} belong to the way in; --to torch changes no number.")
        _export(source, destination, family, overwrite=overwrite, as_json=as_json)
        return
    if overwrite:
        raise click.UsageError(
            "--overwrite belongs to --to torch; a checkpoint folder of this project is replaced anyway."
        )
    log.info("converting %s into %s", source, destination.absolute())
    with show_progress("converting", total=100) as bar:
        report = convert_checkpoint(
            source,
            destination,
            family=family,
            weights=weights,
            settings=collect_settings(settings),
            dtype=dtype or "float32",
            tokenizer=tokenizer,
            allow_missing=allow_missing,
            ignore=ignore,
            check=functools.partial(_check_verifiable, source, samples) if verify or samples else None,
            progress=lambda done, total: bar.update(bar.task_ids[0], completed=100 * done // max(total, 1)),
        )
    for note in describe_similar(report.labels or ()):
        print_note(note)
    checked = _verify(source, report, samples) if verify or samples else None
    if as_json:
        print_json({**_describe(report), "verification": None if checked is None else _describe_check(checked)})
    else:
        _print_report(report)
        if checked is not None:
            _print_check(checked)
    if checked is not None and not checked.passed:
        raise CommandError(
            f"the converted model differs from {checked.compared_with}, first in {checked.first_different}; "
            f"{report.destination} was written, but don't rely on it; check --family and --set."
        )


def collect_settings(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Returns settings by name; one that comes twice is a usage error."""
    settings = dict(pairs)
    if len(settings) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise click.UsageError(f"a setting is given once; got {', '.join(twice)} twice.")
    return settings


def describe_entries(entry: str, others: Sequence[str]) -> str:
    """Says which state of weights was taken from a file with several, and how to take another."""
    more = f" and {len(others) - _MOST_ENTRIES:,} more" if len(others) > _MOST_ENTRIES else ""
    return (
        f"the weights are {entry!r} in the file, which also holds {', '.join(others[:_MOST_ENTRIES])}{more}; take it "
        f"with --weights {others[0]}"
    )


def describe_parts(keys: Sequence[str], used: Iterable[str]) -> str:
    """Says to which parts of a model keys belong that are left out, such as ": text (148), logit_scale".

    Args:
      keys: that are left out.
      used: keys that are not, whose parts are never named.

    Returns:
      The parts with most keys first; nothing for no keys.
    """
    kept = {part for key in used for part in _list_parts(key)}
    counts = Counter(next((part for part in _list_parts(key) if part not in kept), key) for key in keys)
    parts = [f"{part} ({count})" if count > 1 else part for part, count in counts.most_common(_MOST_ENTRIES)]
    more = f" and {len(counts) - len(parts):,} more" if len(counts) > len(parts) else ""
    return f": {', '.join(parts)}{more}" if parts else ""


def _list_parts(key: str) -> list[str]:
    return [key[: match.start()] for match in re.finditer(r"[./]|$", key)]


def _export(source: str, destination: Path, family: str | None, *, overwrite: bool, as_json: bool) -> None:
    from checkpoints_convert.export import export_checkpoint

    keep_inputs({"DESTINATION": [destination]}, [source])
    report = export_checkpoint(source, destination, family=family, overwrite=overwrite)
    if as_json:
        keys = {key: list(targets) for key, targets in report.keys.items()}
        facts = {"destination": str(report.destination), "family": report.family, "loads_into": report.loads_into}
        print_json({**facts, "keys": keys})
        return
    size = format_bytes(report.destination.stat().st_size)
    print_line(f"wrote {report.destination}: {len(report.keys)} keys as {report.family} names them, {size}")
    print_line(f"loads strictly into {report.loads_into}")


def _check_verifiable(source: str, samples: Path | None, plan: ConversionPlan) -> None:
    """Says before the work that there is nothing to compare with."""
    from checkpoints_convert.verify import check_verifiable

    check_verifiable(plan.family.name, plan.config, samples, source=source)


def _verify(source: str, report: ConversionReport, samples: Path | None) -> VerificationReport:
    from checkpoints_convert.verify import verify_checkpoint

    with show_progress("comparing with the original"):
        return verify_checkpoint(source, report.destination, samples=samples)


def _describe(report: ConversionReport) -> dict[str, Any]:
    return {
        "destination": str(report.destination),
        "source": report.source,
        "entry": report.entry,
        "other_entries": list(report.other_entries),
        "stripped": report.stripped,
        "family": report.family,
        "architecture": report.config.to_dict(),
        "preprocessing": report.preprocessing.to_dict(),
        "labels": report.labels,
        "num_parameters": report.num_parameters,
        "dtype": report.dtype,
        "tokenizer": report.tokenizer,
        "assignments": {key: list(targets) for key, targets in report.assignments.items()},
        "left_out": list(report.left_out),
        "ignored": list(report.ignored),
        "missing": list(report.fresh),
        "notes": list(report.notes),
        "origins": dict(report.origins),
    }


def _describe_check(check: VerificationReport) -> dict[str, Any]:
    return {
        "passed": check.passed,
        "compared_with": check.compared_with,
        "first_different": check.first_different,
        "rows": [
            {"name": row.name, "max_abs": row.max_abs, "max_rel": row.max_rel, "tolerance": row.tolerance}
            for row in check.rows
        ],
        "skipped": list(check.skipped),
    }


def _print_report(report: ConversionReport) -> None:
    from vidtldr_jax.models.umt_config import UMTConfig

    print_line(f"wrote {report.destination}: {report.num_parameters:,} parameters in {report.dtype}")
    left_out = f"{len(report.left_out)} left out{describe_parts(report.left_out, report.assignments)}"
    print_line(f"family {report.family}; {len(report.assignments)} keys used, {left_out}")
    _print_source(report)
    if report.tokenizer is not None:
        print_line(f"texts are read with {report.tokenizer}")
    elif isinstance(report.config, UMTConfig):
        print_note("the model reads texts and no --tokenizer was given; commands that need one will ask for it")
    _print_origins(report)
    for note in report.notes:
        print_note(note)
    if report.ignored:
        print_note(f"--ignore left out {len(report.ignored)} keys: {', '.join(report.ignored[:5])}")
    if report.fresh:
        print_note(
            f"--allow-missing gave initial values to {len(report.fresh)} parameters: {', '.join(report.fresh[:5])}; "
            "train them before you rely on the outputs"
        )


def _print_source(report: ConversionReport) -> None:
    """Says where in its file the model was found."""
    if report.stripped:
        print_line(f"names are read without {report.stripped!r}, which wrappers had added")
    if report.other_entries:
        print_note(describe_entries(report.entry, report.other_entries))
    elif report.entry:
        print_line(f"the weights are {report.entry!r} in the file")


def _print_origins(report: ConversionReport) -> None:
    """Says which facts come from where, a line for each place."""
    by_origin: dict[str, list[str]] = {}
    for name, origin in report.origins.items():
        by_origin.setdefault(origin, []).append(name)
    for origin, names in by_origin.items():
        print_line(f"from {origin}: {', '.join(names)}")


def _print_check(check: VerificationReport) -> None:
    rows = [
        (row.name, f"{row.max_abs:.2e}", f"{row.max_rel:.2e}", f"{row.tolerance:.2e}", "yes" if row.is_within else "NO")
        for row in check.rows
    ]
    print_line()
    print_table((f"compared with {check.compared_with}", "largest difference", "relative", "allowed", "agrees"), rows)
    if check.skipped:
        print_note(f"not compared: {', '.join(check.skipped)}")
