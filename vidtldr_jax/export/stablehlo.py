"""A model as one file that JAX alone runs: StableHLO with the weights in it.

    save_export(export_model(load_model("moving-objects", schedule="100,40")), "model.stablehlo")

    data = Path("model.stablehlo").read_bytes()                              # elsewhere, without this package
    described = json.loads(Path("model.stablehlo.json").read_bytes())
    if hashlib.sha256(data).hexdigest() != described["sha256"]:
        raise SystemExit("model.stablehlo is damaged, or of another run than its sidecar; export again")
    program = jax.export.deserialize(data)
    logits = program.call(video)                                             # [B, num_classes]

`model.stablehlo.json` beside it says what goes in and what comes out, and has the digests of all files. Needs
flatbuffers (the extra "export").
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import jax
import numpy as np
from jax import export

from vidtldr_jax.export.description import describe_program, describe_shapes, find_longest_text, fix_batch
from vidtldr_jax.export.files import (
    SIDECAR_SUFFIX,
    WEIGHTS_SUFFIX,
    ExportError,
    make_run_name,
    read_sidecar,
    sign_description,
)
from vidtldr_jax.export.program import InputDtype, Output, make_program
from vidtldr_jax.inference.checkpoint import make_parent
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.weights import write_safetensors
from vidtldr_jax.trust.digests import hash_bytes
from vidtldr_jax.trust.harmless import dump_json
from vidtldr_jax.trust.whole_files import replace_files

DEFAULT_PLATFORMS: Final = ("cpu", "cuda", "tpu")
WeightsPlace = Literal["inside", "beside"]

# A FlatBuffer, which is what JAX writes, addresses 2 GiB; the program itself needs some of it.
_MOST_BYTES_INSIDE: Final = 2**31 - 2**25
# What JAX raises where a program asks how large a dimension is; older ones have it elsewhere.
_NAME: Final = "InconclusiveDimensionOperation"
_ASKS_FOR_SIZE: Final = (jax.errors if hasattr(jax.errors, _NAME) else jax.core).InconclusiveDimensionOperation


class ExportedModel(NamedTuple):
    """A program that is ready to be written.

    Attributes:
      program: what `jax.export` made; `program.call(*inputs)`, or `program.call(weights, *inputs)`.
      description: what goes in, what comes out and how it was made, as plain data.
      weights: flat parameter path -> array where they lie beside the program, else empty.
    """

    program: export.Exported
    description: dict[str, Any]
    weights: dict[str, np.ndarray]


def export_model(
    model: VideoModel,
    *,
    output: Output | Sequence[Output] | None = None,
    input_dtype: InputDtype = "float32",
    batch_size: int | None = None,
    platforms: Sequence[str] = DEFAULT_PLATFORMS,
    weights: WeightsPlace = "inside",
) -> ExportedModel:
    """Lowers a model, schedule included, to StableHLO.

    Args:
      model: on one device.
      output: a name in `program.OUTPUTS` that the model has, or several, which come as a dict; None is the logits, or
        what comes nearest to them. "text_embedding" exports the text encoder.
      input_dtype: of the video, see `make_program`.
      batch_size: the only one that will do; None takes any.
      platforms: which the program runs on: "cpu", "cuda", "rocm", "tpu". They need not be here.
      weights: "inside" the program, or "beside" it, as its first argument.

    Returns:
      An `ExportedModel`.

    Raises:
      ValueError: something does not fit the model, the weights are too large for one file, the model's method can't be
        traced for any batch size, or flatbuffers is missing.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise ValueError("a program is written by flatbuffers; pip install 'vidtldr-jax[export]'.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is at least 1; got {batch_size}; leave it out to take any.")
    made = make_program(model, output=output, input_dtype=input_dtype, platforms=platforms)
    num_bytes = sum(value.nbytes for value in made.weights.values())
    if weights == "inside" and num_bytes > _MOST_BYTES_INSIDE:
        raise ValueError(
            f"one file takes up to {_MOST_BYTES_INSIDE / 2**30:.2f} GiB of weights; there are "
            f"{num_bytes / 2**30:.2f} GiB; put them beside the program, or compute in bfloat16."
        )
    inputs = fix_batch(made.inputs, batch_size)
    described = describe_shapes(inputs, longest=find_longest_text(model))
    run = jax.jit(functools.partial(made.run, made.weights) if weights == "inside" else made.run)
    first = () if weights == "inside" else ({name: _describe_array(value) for name, value in made.weights.items()},)
    try:
        program = export.export(run, platforms=tuple(platforms))(*first, *described)
    except _ASKS_FOR_SIZE as error:
        raise ValueError(
            f"a program for any batch size must not ask how large the batch is; {model.schedule.title} "
            "does; give a batch_size."
        ) from error
    how = {
        "kind": "stablehlo",
        "weights": weights,
        "platforms": list(program.platforms),
        "calling_convention": program.calling_convention_version,
    }
    description = describe_program(model, made, inputs, program.out_avals) | how
    return ExportedModel(program, description, {} if weights == "inside" else made.weights)


def save_export(exported: ExportedModel, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a program and what belongs to it; all is on the disk when this returns.

    The files take their names when all are complete. Where a process is killed in between, the digests in the sidecar
    don't fit the others, and the next export to the path, `check_export` or `vidtldr info --check` gives them theirs.

    Args:
      exported: what to write.
      path: of the program; its name with ".json" and, for weights that lie beside it, ".safetensors" are written too.
      overwrite: replace what is there.

    Returns:
      The path.

    Raises:
      ValueError: something is there.
      CheckpointError: a part of the path is a file.
      OSError: a file can't be written; it names the path.
    """
    place = Path(path).absolute()
    sidecar, beside = (place.with_name(place.name + suffix) for suffix in (SIDECAR_SUFFIX, WEIGHTS_SUFFIX))
    wanted = [*([beside] if exported.weights else []), sidecar, place]
    taken = [file.name for file in wanted if os.path.lexists(file)]
    if taken and (not overwrite or any(file.is_dir() for file in wanted)):
        raise ValueError(
            f"no folder is overwritten, and a file only where that is asked for; {', '.join(taken)} exists in "
            f"{place.parent}; give another place, or --overwrite."
        )
    outdated = None if exported.weights else _find_weights(place)
    data = exported.program.serialize()
    run = make_run_name()
    description = {"run": run, "file": place.name, "bytes": len(data), "sha256": hash_bytes(data)}
    make_parent(place)
    parts = [place, sidecar, *([beside] if exported.weights else [])]
    with replace_files(parts) as (place_aside, sidecar_aside, *more):
        for beside_aside in more:
            entries = {
                name: (value.shape, value.dtype, functools.partial(_identity, value))
                for name, value in exported.weights.items()
            }
            digest = write_safetensors(beside_aside, entries, metadata={"run": run})
            description |= {"weights_file": beside.name, "weights_sha256": digest}
        place_aside.write_bytes(data)
        text = dump_json(sign_description(description | exported.description), indent=2)
        sidecar_aside.write_bytes(f"{text}\n".encode())
    if outdated is not None:
        outdated.unlink(missing_ok=True)
    return place


def _find_weights(place: Path) -> Path | None:
    """Return the weights of the program that is replaced by one with its weights inside."""
    beside = place.with_name(place.name + WEIGHTS_SUFFIX)
    try:
        return beside if read_sidecar(place).get("weights_file") == beside.name else None
    except ExportError:
        return None


def _describe_array(value: np.ndarray) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(value.shape, value.dtype)


def _identity(value: np.ndarray) -> np.ndarray:
    return value
