"""A model as a TensorFlow SavedModel, which TensorFlow alone runs: its Python, TensorFlow Serving, C++.

    export_savedmodel(load_model("moving-objects", schedule="100,40"), "saved_model")

    serve = tf.saved_model.load("saved_model").signatures["serving_default"]   # elsewhere, without JAX
    logits = serve(video=video)["logits"]

assets.extra/description.json has the digest of each file; docs/export.md compares them before the folder is loaded. The
program is one operation, XlaCallModule, whose content is StableHLO; the weights are variables. Needs TensorFlow
(the extra "savedmodel") to write and to run.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from vidtldr_jax.export.description import describe_program, describe_shapes, find_longest_text, fix_batch
from vidtldr_jax.export.files import (
    FOLDER_MARK,
    FOLDER_SIDECAR,
    list_files,
    make_run_name,
    sign_description,
)
from vidtldr_jax.export.program import Input, InputDtype, Output, make_program
from vidtldr_jax.inference.checkpoint import make_parent
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.trust.digests import hash_file
from vidtldr_jax.trust.harmless import dump_json
from vidtldr_jax.trust.recovery import recover_and_tell
from vidtldr_jax.trust.whole_files import replace_folder

SIGNATURE: Final = "serving_default"
DESCRIPTION: Final = FOLDER_SIDECAR


def export_savedmodel(
    model: VideoModel,
    folder: str | os.PathLike[str],
    *,
    output: Output | Sequence[Output] | None = None,
    input_dtype: InputDtype = "float32",
    batch_size: int | None = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a SavedModel in one step; it is on the disk when this returns.

    Args:
      model: on one device.
      folder: where to.
      output: as for `export_model`; what comes out is a dict by name.
      input_dtype: of the video.
      batch_size: the only one that will do; None takes any.
      platforms: which the program runs on.
      overwrite: replace a SavedModel that is there.

    Returns:
      What goes in and what comes out, as plain data, which lies in the folder too.

    Raises:
      ValueError: something does not fit the model, something is there, or TensorFlow is missing or too old to read what
        this JAX writes, which is tried.
      CheckpointError: a part of the path is a file.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError("TensorFlow is needed; pip install 'vidtldr-jax[savedmodel]'.")
    place = Path(folder).absolute()
    recover_and_tell(place)
    is_ours = any((place / name).is_file() for name in (FOLDER_MARK, DESCRIPTION))
    if os.path.lexists(place) and not (overwrite and is_ours):
        raise ValueError(
            f"nothing but a SavedModel is overwritten, and only where that is asked for; {place} "
            "exists; give another place, or --overwrite."
        )
    made = make_program(model, output=output, input_dtype=input_dtype, platforms=platforms)
    inputs = fix_batch(made.inputs, batch_size)
    longest = find_longest_text(model)
    shapes = jax.tree.leaves(jax.eval_shape(made.run, made.weights, *describe_shapes(inputs, longest=longest)))
    how = {"kind": "savedmodel", "weights": "inside", "platforms": list(platforms), "signature": SIGNATURE}
    description = describe_program(model, made, inputs, shapes) | how
    make_parent(place)
    with replace_folder(place) as aside:
        _save(aside, made.run, made.weights, description, longest=longest)
        _try(aside, inputs)
        files = {name: hash_file(path) for name, path in list_files(aside)}
        description = sign_description({"run": make_run_name(), "files": files} | description)
        sidecar = aside / DESCRIPTION
        sidecar.parent.mkdir(exist_ok=True)
        sidecar.write_bytes(f"{dump_json(description, indent=2)}\n".encode())
    return description


def _save(
    folder: Path, run: Any, weights: dict[str, np.ndarray], description: dict[str, Any], *, longest: int | None
) -> None:
    import tensorflow as tf
    from jax.experimental import jax2tf

    inputs = description["inputs"]
    names = [found["name"] for found in description["outputs"]]
    in_graph = jax2tf.convert(
        jax.jit(run),
        polymorphic_shapes=[None, *(f"({', '.join(str(size) for size in item['shape'])})" for item in inputs)],
        polymorphic_constraints=[f"n <= {longest}"] if "n" in inputs[0]["shape"] else (),
        with_gradient=False,
        native_serialization_platforms=tuple(description["platforms"]),
    )
    module = tf.Module()
    module.weights = [tf.Variable(value, trainable=False) for value in weights.values()]
    specs = [
        tf.TensorSpec([None if isinstance(size, str) else size for size in item["shape"]], item["dtype"], item["name"])
        for item in inputs
    ]

    @tf.function(autograph=False, jit_compile=True, input_signature=specs)
    def serve(*arguments: Any) -> dict[str, Any]:
        found = in_graph(dict(zip(weights, module.weights)), *arguments)
        return found if isinstance(found, dict) else {names[0]: found}

    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: serve})


def _try(folder: Path, inputs: Sequence[Input]) -> None:
    """Runs a SavedModel on zeros: TensorFlow reads what was written only where it is about as new as JAX."""
    import tensorflow as tf

    sizes = {"b": 1, "n": 1}
    zeros = {
        item.name: tf.zeros([sizes.get(str(size), size) for size in item.shape], tf.as_dtype(item.dtype))
        for item in inputs
    }
    try:
        tf.saved_model.load(str(folder)).signatures[SIGNATURE](**zeros)
    except tf.errors.InvalidArgumentError as error:
        if "Cannot deserialize" not in str(error):
            raise
        raise ValueError(
            "TensorFlow must be about as new as JAX to read its programs; TensorFlow "
            f"{tf.__version__} can't read those of JAX {jax.__version__}; install a newer TensorFlow or an older JAX "
            "(2.21 reads those of 0.10)."
        ) from error
