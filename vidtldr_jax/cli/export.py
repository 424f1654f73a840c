"""`vidtldr export`: a model as a file that runs without this package."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from vidtldr_jax.cli.choices import ChoiceType, NameType
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.kept_inputs import keep_inputs
from vidtldr_jax.cli.names import DEFAULT_PLATFORMS, EXPORTED_OUTPUTS, PLATFORMS
from vidtldr_jax.cli.options import (
    dtype_option,
    json_option,
    method_option,
    model_option,
    open_model,
    schedule_option,
    verbose_option,
)
from vidtldr_jax.cli.output import (
    format_bytes,
    format_macs,
    format_seconds,
    print_json,
    print_line,
    print_note,
    show_progress,
)
from vidtldr_jax.trust.nearest import suggest

if TYPE_CHECKING:
    from vidtldr_jax.export.check import ExportCheck
    from vidtldr_jax.inference.model import VideoModel

_EPILOG: Final = """\b
Examples:
  vidtldr export --model checkpoints/umt-b16-k400 --schedule 600,200,100 --out model.stablehlo
  vidtldr export --model checkpoints/umt-b16-msrvtt --output embedding --input uint8 --out video.stablehlo --verify
  vidtldr export --model checkpoints/umt-b16-msrvtt --output text_embedding --out text.stablehlo
  vidtldr export --schedule 100,40 --platforms cpu --batch-size 8 --dtype bfloat16 --out batch8.stablehlo
  vidtldr export --schedule 100,40 --format savedmodel --out saved_model
"""


class NamesType(NameType):
    """Names out of a list, with commas between them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Returns the names, or fails."""
        if isinstance(value, tuple):
            return value
        given = tuple(name.strip() for name in str(value).split(","))
        unknown = [name for name in given if name not in self.names]
        if unknown:
            hint = suggest(unknown[0], self.names, otherwise="take some of them.")
            self.fail(f"names are {', '.join(self.names)}; got {unknown[0]!r}; {hint}", param, ctx)
        if len(set(given)) < len(given):
            self.fail(f"each name is given once; got {value!r}", param, ctx)
        return given


class _Written(NamedTuple):
    """What was written: its description, all of its files' bytes, and how it was checked."""

    description: dict[str, Any]
    num_bytes: int
    check: ExportCheck | None


@click.command(epilog=_EPILOG)
@model_option
@schedule_option("Without it: no merging.")
@method_option
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="The file to write; for savedmodel a folder.",
)
@click.option(
    "--output",
    "outputs",
    type=NamesType(EXPORTED_OUTPUTS),
    metavar="NAMES",
    help=f"What comes out, of {', '.join(EXPORTED_OUTPUTS)}; several come as a dict.  "
    "[default: the first that the model has]",
)
@click.option(
    "--input",
    "input_dtype",
    type=ChoiceType(["float32", "uint8"]),
    default="float32",
    show_default=True,
    help="Input: normalised frames, or pixels (uint8), which the program normalises.",
)
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Fixed batch size.  [default: any]")
@dtype_option
@click.option(
    "--platforms",
    type=NamesType(PLATFORMS),
    default=",".join(DEFAULT_PLATFORMS),
    show_default=True,
    metavar="NAMES",
    help=f"Where it runs, of {', '.join(PLATFORMS)}; they need not be here.",
)
@click.option(
    "--weights",
    type=ChoiceType(["inside", "beside"]),
    default="inside",
    show_default=True,
    help="beside: in a safetensors file, which the caller gives as first argument; for more than 2 GiB.",
)
@click.option(
    "--format",
    "kind",
    type=ChoiceType(["stablehlo", "savedmodel"]),
    default="stablehlo",
    show_default=True,
    help="savedmodel: TensorFlow's folder, which needs TensorFlow on both sides and no JAX to run.",
)
@click.option("--verify", is_flag=True, help="Run what was written on random clips and compare with the model.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@json_option
@verbose_option
def export(
    model: str,
    schedule: str | None,
    method: str | None,
    out: Path,
    outputs: tuple[str, ...] | None,
    input_dtype: str,
    batch_size: int | None,
    dtype: str,
    platforms: tuple[str, ...],
    weights: str,
    kind: str,
    verify: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Writes a model, merging included, as one file that JAX runs without this package.

    The file is StableHLO, made by jax.export, with the weights in it; PATH.json says what goes in and what comes out.
    It appears whole or not at all. No Python and nothing of this machine is in it: attention is in plain XLA, head by
    head on CPUs, by blocks of rows elsewhere.
    """
    from vidtldr_jax.export.check import check_export, check_platforms
    from vidtldr_jax.export.files import SIDECAR_SUFFIX, WEIGHTS_SUFFIX

    is_merging = schedule is not None or method is not None
    if kind == "savedmodel" and weights == "beside":
        raise click.UsageError("a SavedModel keeps its weights in files of its own; leave --weights out.")
    if outputs == ("text_embedding",) and is_merging:
        raise click.UsageError("a text encoder merges nothing; leave --schedule and --method out.")
    if not out.name:
        raise click.UsageError(f"--out names a file or a folder to write; got {str(out)!r}; give another.")
    if kind == "stablehlo":
        beside = [out.with_name(out.name + suffix) for suffix in (SIDECAR_SUFFIX, WEIGHTS_SUFFIX)]
        keep_inputs({"--out": [out, *beside]}, [model])
    loaded = open_model(model, schedule=schedule, method=method, dtype=dtype)
    output: Any = outputs if outputs is None or len(outputs) > 1 else outputs[0]
    options: dict[str, Any] = {
        "output": output, "input_dtype": input_dtype, "batch_size": batch_size, "platforms": platforms,
    }  # fmt: skip
    start = time.perf_counter()
    try:
        if verify:
            check_platforms(platforms)
        with show_progress(f"writing {out}"):
            description = _write(kind, loaded, out, weights=weights, overwrite=overwrite, **options)
        seconds = time.perf_counter() - start
        written = _Written(description, _count_bytes(out), None)
        if verify:
            with show_progress("comparing with the model"):
                written = written._replace(check=check_export(loaded, out))
    except ValueError as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json(_describe(out, written, seconds))
    else:
        _print(out, loaded, written, seconds)
    if written.check is not None and not written.check.is_within:
        raise CommandError(
            f"what was written gives other numbers than the model, by {written.check.largest:.1e} with "
            f"{written.check.allowed:.1e} allowed; {out} is there, but don't rely on it."
        )


def _write(kind: str, model: VideoModel, out: Path, *, weights: str, overwrite: bool, **options: Any) -> dict[str, Any]:
    """Writes a model in one of the formats, and returns the description that lies beside it."""
    from vidtldr_jax.export.savedmodel import export_savedmodel
    from vidtldr_jax.export.stablehlo import export_model, save_export

    if kind == "savedmodel":
        return export_savedmodel(model, out, overwrite=overwrite, **options)
    exported = export_model(model, weights=weights, **options)  # type: ignore[arg-type]
    save_export(exported, out, overwrite=overwrite)
    return exported.description


def _count_bytes(out: Path) -> int:
    if out.is_dir():
        return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    files = [out, *(out.with_name(out.name + suffix) for suffix in (".json", ".safetensors"))]
    return sum(file.stat().st_size for file in files if file.exists())


def _describe(out: Path, written: _Written, seconds: float) -> dict[str, Any]:
    check = written.check
    found = None if check is None else {**check._asdict(), "passed": check.is_within}
    return {
        "out": str(out),
        "total_bytes": written.num_bytes,
        "seconds": seconds,
        **written.description,
        "check": found,
    }


def _print(out: Path, model: VideoModel, written: _Written, seconds: float) -> None:
    from vidtldr_jax.reduction.cost import count_macs

    description, check = written.description, written.check
    print_line(f"wrote {out}: {format_bytes(written.num_bytes)} in {format_seconds(seconds)}")
    for title, arrays in (("in", description["inputs"]), ("out", description["outputs"])):
        for array in arrays:
            shape = ", ".join(str(size) for size in array["shape"])
            meaning = f": {array['meaning']}" if "meaning" in array else ""
            print_line(f"  {title:<3} {array['name']} {array['dtype']} [{shape}]{meaning}")
    print_line(f"runs on {', '.join(description['platforms'])}, computes in {description['dtype']}")
    if description["schedule"] is not None:
        gmacs = count_macs(model.config, model.schedule).gmacs
        print_line(f"({model.schedule.describe()}; {format_macs(gmacs * 1e9)} GMACs per clip)")
    if description["weights"] == "beside":
        print_note(f"the weights lie in {out.name}.safetensors; the program takes them as its first argument")
    if check is not None:
        print_line(
            f"compared with the model on {check.device}, batches of {', '.join(map(str, check.batch_sizes))}: "
            f"differs by {check.largest:.1e} at most, {check.allowed:.1e} is allowed"
        )
