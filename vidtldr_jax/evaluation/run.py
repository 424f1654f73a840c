"""What evaluations have in common: files beside the result, what identifies a run, how clips are described."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import jax
import numpy as np

from vidtldr_jax import __version__
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.evaluation.arguments import ArgumentError
from vidtldr_jax.inference.checkpoint import WEIGHTS_NAME, flatten_params
from vidtldr_jax.inference.load import find_checkpoint
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.architectures import describe_config
from vidtldr_jax.trust.digests import hash_bytes, hash_file, hash_json
from vidtldr_jax.trust.harmless import dump_json
from vidtldr_jax.trust.kept_inputs import keep_inputs
from vidtldr_jax.trust.notes import name_what_is_safe
from vidtldr_jax.trust.whole_files import write_whole

PathLike = str | os.PathLike[str]


class Places(NamedTuple):
    """Files of an evaluation; None where nothing is kept.

    Attributes:
      result: the result, a JSON file.
      records: what is known so far.
      features: folder of what was encoded.
    """

    result: Path | None
    records: Path | None
    features: Path | None


class Room(NamedTuple):
    """Where things are while the work goes on, and whether they stay after a failure."""

    features: Path
    records: Path
    is_kept: bool


class Weights(NamedTuple):
    """Where the weights of a model are from.

    Attributes:
      checkpoint: folder, or None for a model that was made in memory.
      sha256: of the folder's weights file, or None.
      digest: what tells these weights from others in the description of a run.
    """

    checkpoint: str | None
    sha256: str | None
    digest: str | None


class RunFields(TypedDict):
    """What identifies any run: records and features of another one are not resumed."""

    version: str
    checkpoint_sha256: str | None
    architecture: dict[str, Any]
    dtype: str
    platform: str


def find_places(out: PathLike | None, inputs: Iterable[PathLike | None]) -> Places:
    """Return the files that belong to a result.

    Args:
      out: where the result goes, or None.
      inputs: what the evaluation reads.

    Returns:
      The places, next to each other.

    Raises:
      ArgumentError: `out` is no name of a JSON file.
      KeptInputError: a file that is read would be replaced.
    """
    if out is None:
        return Places(None, None, None)
    path = Path(out)
    if path.is_dir() or path.suffix != ".json":
        raise ArgumentError("out", f"is a file that ends in .json; {str(path)!r} is not; give another.")
    records = path.with_suffix(".records.jsonl")
    keep_inputs({"out": [path, records]}, [place for place in inputs if place is not None])
    return Places(path, records, path.with_suffix(".features"))


@contextlib.contextmanager
def find_room(places: Places, *, keep_features: bool) -> Iterator[Room]:
    """Give a place beside the result, or a temporary one; remove features at the end, if all went well."""
    if places.features is None or places.records is None:
        with tempfile.TemporaryDirectory(prefix="vidtldr-") as folder:
            yield Room(Path(folder) / "features", Path(folder) / "records.jsonl", is_kept=False)
        return
    yield Room(places.features, places.records, is_kept=True)
    if not keep_features:
        for kind in ("videos", "texts"):
            shutil.rmtree(places.features / kind, ignore_errors=True)
        with contextlib.suppress(OSError):  # somebody put something else there
            places.features.rmdir()


def identify_weights(model: VideoModel, checkpoint: PathLike | None, *, is_kept: bool) -> Weights:
    """Tell the weights of a model from others.

    Args:
      model: the model.
      checkpoint: the folder or name that it was loaded from, or None.
      is_kept: whether records are kept; only then the parameters of a model without a folder are hashed.

    Returns:
      `Weights`.

    Raises:
      OSError: the folder has no weights.
    """
    if checkpoint is not None:
        sha256 = hash_file(find_checkpoint(checkpoint) / WEIGHTS_NAME)
        return Weights(str(checkpoint), sha256, sha256)
    if not is_kept:
        return Weights(None, None, None)
    arrays = {path: np.asarray(value) for path, value in flatten_params(model.params).items()}
    parts = {path: [list(array.shape), str(array.dtype), hash_bytes(array.tobytes())] for path, array in arrays.items()}
    return Weights(None, None, f"parameters {hash_json(parts)}")


def describe_run(model: VideoModel, weights: Weights) -> RunFields:
    """Return what identifies a run, whatever it evaluates."""
    return {
        "version": __version__,
        "checkpoint_sha256": weights.digest,
        "architecture": describe_config(model.config),
        "dtype": str(model.dtype),
        "platform": jax.default_backend(),
    }


def describe_clips(recipe: Preprocessing) -> str:
    """Say in a few words what of a video is looked at."""
    within = "" if recipe.first_seconds is None else f" of the first {recipe.first_seconds:g} s"
    shape = "squashed to" if recipe.resize == "squash" else f"shortest edge {recipe.shortest_edge}, centre"
    size = f"{recipe.image_size} x {recipe.image_size}"
    return f"{recipe.num_frames} frames ({recipe.sampling}){within}, {shape} {size}, {recipe.kernel}"


def hash_text(text: str | None) -> str | None:
    """Return the SHA-256 of a text, None of none."""
    return None if text is None else hash_bytes(text.encode())


def write_result(places: Places, result: Mapping[str, Any]) -> None:
    """Write a result in one step, if there is a place for it.

    Raises:
      OSError: it can't be written; a note of the error says what is safe.
    """
    if places.result is not None:
        with name_what_is_safe(places.records, lambda: "all records"):
            write_whole(places.result, dump_json(result, indent=2) + "\n")
