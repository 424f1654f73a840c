"""The checkpoint folder: `model.safetensors` (flat parameter paths) and `config.json`. Nothing in it is executed.

config.json: `format`, `family`, `architecture`, `preprocessing`, `labels`, `source` (what it was made from). A model
that reads texts has its `tokenizer.json` beside them, in the format of the library tokenizers.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.weights import write_safetensors
from vidtldr_jax.models.architectures import Config, describe_config, init_variables, restore_config

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
TOKENIZER_NAME = "tokenizer.json"
FORMAT_VERSION = 1
FAMILIES = ("umt", "videomae", "video_vit", "vivit", "clip", "umt_retrieval", "umt_qa")
_KNOWN_FIELDS = ("format", "family", "architecture", "preprocessing", "labels", "source")


class CheckpointError(ValueError):
    """A checkpoint folder can't be read or written; the message is one line and says what to do."""


class LazyArray(NamedTuple):
    """A parameter that is read when it is written, so that one at a time is in memory.

    Attributes:
      shape: of the array.
      dtype: of the array.
      read: returns it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


class Checkpoint(NamedTuple):
    """What a checkpoint folder holds.

    Attributes:
      params: flat parameter path -> array, as stored.
      family: which kind of model it is.
      config: the architecture.
      preprocessing: how frames are sampled, resized and normalised.
      labels: names of the classes, or None.
      source: what it was made from, for the record.
      tokenizer: content of tokenizer.json, or None.
    """

    params: dict[str, np.ndarray]
    family: str
    config: Config
    preprocessing: Preprocessing
    labels: list[str] | None
    source: dict[str, Any]
    tokenizer: str | None = None


def save_checkpoint(
    folder: str | os.PathLike[str],
    *,
    params: Mapping[str, Any],
    config: Config,
    preprocessing: Preprocessing,
    family: str = "video_vit",
    labels: Sequence[str] | None = None,
    source: Mapping[str, Any] | None = None,
    tokenizer: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Writes a checkpoint folder in one step: beside its place first, then renamed.

    Args:
      folder: where to; an existing checkpoint folder of this project is replaced, anything else that exists is not.
      params: parameters, flat ("head/kernel") or nested: arrays, or each a `LazyArray`.
      config: the architecture.
      preprocessing: how frames are sampled, resized and normalised.
      family: one of `FAMILIES`.
      labels: names of the classes, in the order of the logits.
      source: plain data about the origin: file name, SHA-256, converter version.
      tokenizer: content of a tokenizer.json for the model's texts.
      progress: called with the number of bytes after each parameter that was written.

    Returns:
      The folder.

    Raises:
      CheckpointError: parameters don't fit the architecture (every fault is named), the labels' number is another, the
        family is unknown, or the place is taken by something that is no checkpoint folder.
    """
    destination = Path(folder).absolute()
    flat = {path: _make_lazy(value) for path, value in flatten_params(params).items()}
    check_params(flat, config, where="save_checkpoint")
    _check_labels(labels, config, where="save_checkpoint")
    if family not in FAMILIES:
        raise CheckpointError(f"save_checkpoint: families are {', '.join(FAMILIES)}; {family!r} came; choose one.")
    if destination.exists() and not _is_replaceable(destination):
        raise CheckpointError(
            f"save_checkpoint: {destination} exists and is no checkpoint folder of this project, or has other files in "
            "it; nothing was written; choose another place or move it away."
        )
    description = {
        "format": FORMAT_VERSION,
        "family": family,
        "architecture": describe_config(config),
        "preprocessing": preprocessing.to_dict(),
        "labels": None if labels is None else list(labels),
        "source": dict(source or {}),
    }
    make_parent(destination, where="save_checkpoint")
    aside = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        write_safetensors(aside / WEIGHTS_NAME, flat, progress=progress)
        (aside / WEIGHTS_NAME).chmod(0o644)  # written for its owner alone, like the folder
        text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False)
        (aside / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")
        if tokenizer is not None:
            (aside / TOKENIZER_NAME).write_text(tokenizer, encoding="utf-8")
        aside.chmod(0o755)
        _swap_in(aside, destination)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return destination


def make_parent(place: Path, *, where: str) -> None:
    """Makes the folder that something is to be written in.

    Args:
      place: what is to be written.
      where: who asks; the message starts with it.

    Raises:
      CheckpointError: a part of the path is a file.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{where}: what is written lies in a folder; a part of {place.parent} is a file; choose another place."
        ) from error


def read_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """Reads a checkpoint folder and checks it against its own architecture.

    Args:
      folder: what `save_checkpoint` wrote.

    Returns:
      A `Checkpoint`.

    Raises:
      CheckpointError: a file is missing or damaged, a field is unknown, or parameters don't fit the architecture.
    """
    place = Path(folder)
    description = _read_description(place)
    try:
        config = restore_config(description["architecture"])
        preprocessing = Preprocessing.from_dict(description["preprocessing"])
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"read_checkpoint: {place / CONFIG_NAME} does not fit this version: {error}") from error
    params = _read_weights(place / WEIGHTS_NAME)
    check_params(params, config, where="read_checkpoint")
    labels = description["labels"]
    _check_labels(labels, config, where="read_checkpoint")
    tokenizer = _read_tokenizer(place / TOKENIZER_NAME)
    return Checkpoint(params, description["family"], config, preprocessing, labels, description["source"], tokenizer)


def flatten_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Turns nested parameters into flat paths; flat ones stay as they are."""
    nested = traverse_util.unflatten_dict(dict(params), sep="/")
    return traverse_util.flatten_dict(nested, sep="/")


def _make_lazy(value: Any) -> LazyArray:
    if isinstance(value, LazyArray):
        return value
    array = np.asarray(value)
    return LazyArray(array.shape, array.dtype, lambda: array)


def find_param_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every parameter of an architecture without making one."""
    return dict(_trace_param_shapes(config))


@functools.lru_cache(maxsize=64)
def _trace_param_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    variables = jax.eval_shape(lambda key: init_variables(config, key), jax.random.key(0))
    return {path: leaf.shape for path, leaf in flatten_params(variables["params"]).items()}


def make_initial_params(config: Config, paths: Sequence[str], *, seed: int = 0) -> dict[str, np.ndarray]:
    """Makes initial values for some parameters; the others are not computed.

    Args:
      config: the architecture.
      paths: which parameters.
      seed: of the random numbers.

    Returns:
      Parameter path -> float32 array.
    """

    def init(key: jax.Array) -> dict[str, jax.Array]:
        params = flatten_params(init_variables(config, key)["params"])
        return {path: params[path] for path in paths}

    return {path: np.asarray(value) for path, value in jax.jit(init)(jax.random.key(seed)).items()}


def check_params(params: Mapping[str, Any], config: Config, *, where: str) -> None:
    """Checks parameters against an architecture, both ways.

    Args:
      params: flat parameter path -> array.
      config: the architecture.
      where: who asks; the message starts with it.

    Raises:
      CheckpointError: parameters are missing, unknown or of another shape; all of them are named.
    """
    shapes = find_param_shapes(config)
    faults = [f"missing {path} {shape}" for path, shape in shapes.items() if path not in params]
    for path, value in params.items():
        if path not in shapes:
            near = difflib.get_close_matches(path, shapes, n=1)
            faults.append(f"unknown {path}" + (f" (nearest: {near[0]})" if near else ""))
        elif tuple(value.shape) != shapes[path]:
            faults.append(f"{path} is {tuple(value.shape)}, not {shapes[path]}")
    if faults:
        raise CheckpointError(
            f"{where}: the parameters don't fit the architecture: {'; '.join(faults)}; convert the weights again or "
            "mend the architecture."
        )


def _check_labels(labels: Sequence[str] | None, config: Config, *, where: str) -> None:
    if labels is not None and len(labels) != config.num_classes:
        raise CheckpointError(
            f"{where}: one label for each of {config.num_classes} classes; {len(labels)} came; mend the labels."
        )


def _is_replaceable(destination: Path) -> bool:
    """Tells whether a place is an empty folder, or a checkpoint folder of ours with nothing else in it."""
    if not destination.is_dir():
        return False
    names = {path.name for path in destination.iterdir()}
    return not names or (names - {TOKENIZER_NAME} == {WEIGHTS_NAME, CONFIG_NAME} and is_checkpoint(destination))


def is_checkpoint(folder: Path) -> bool:
    """Tells whether a folder's config.json is of this project's format, whatever its weights."""
    try:
        description = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(description, dict) and {"format", "family", "architecture"} <= set(description)


def _swap_in(aside: Path, destination: Path) -> None:
    """Renames the new folder into place; an old one is moved out first and put back if that fails."""
    if not destination.exists():
        aside.rename(destination)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{destination.name}-old-", dir=destination.parent))
    backup = destination.rename(old / destination.name)
    try:
        aside.rename(destination)
    except OSError:
        backup.rename(destination)
        raise
    finally:
        if destination.exists():
            shutil.rmtree(old, ignore_errors=True)


def _read_description(place: Path) -> dict[str, Any]:
    if not place.is_dir():
        raise CheckpointError(
            f"read_checkpoint: a checkpoint is a folder with {WEIGHTS_NAME} and {CONFIG_NAME}; there is no folder "
            f"{place}; convert the weights first, or give the name of a shipped model."
        )
    path = place / CONFIG_NAME
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"read_checkpoint: {place} has no {CONFIG_NAME}; convert the weights first.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"read_checkpoint: {path} is not JSON ({error}); convert the weights again.") from error
    if not isinstance(description, dict) or set(description) != set(_KNOWN_FIELDS):
        found = sorted(description) if isinstance(description, dict) else type(description).__name__
        raise CheckpointError(
            f"read_checkpoint: {path} has the fields {', '.join(_KNOWN_FIELDS)}; {found} came; "
            "this is another program's config, or a damaged one; convert the weights first."
        )
    if description["format"] != FORMAT_VERSION:
        raise CheckpointError(
            f"read_checkpoint: format {FORMAT_VERSION} is read; {path} has {description['format']!r}; "
            "convert the weights with this version."
        )
    return description


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"read_checkpoint: {path.parent} has no {path.name}; convert the weights first."
        ) from None
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"read_checkpoint: {path} is damaged ({error}); convert the weights again.") from error


def _read_tokenizer(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"read_checkpoint: {path} is damaged ({error}); put the model's own there.") from error
