"""The checkpoint folder: `model.safetensors` (flat parameter paths) and `config.json`. Nothing in it is executed.

A model that reads texts has its `tokenizer.json` beside them, in the format of the library tokenizers. config.json has
the digests of all, see `checkpoint_config`; they are compared while the files are read, once.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.checkpoint_config import (
    CONFIG_NAME,
    FAMILIES,
    TOKENIZER_NAME,
    WEIGHTS_NAME,
    check_labels,
    check_own_digest,
    has_our_fields,
    read_description,
    write_description,
)
from vidtldr_jax.inference.checkpoint_files import check_finite, read_tokenizer_text, read_weights
from vidtldr_jax.inference.errors import CheckpointError
from vidtldr_jax.inference.params import (
    LazyArray,
    check_params,
    find_param_shapes,
    flatten_params,
    make_initial_params,
    make_lazy,
)
from vidtldr_jax.inference.weights import write_safetensors
from vidtldr_jax.models.architectures import Config
from vidtldr_jax.trust.digests import hash_bytes, is_checking
from vidtldr_jax.trust.json_files import JsonError, read_json
from vidtldr_jax.trust.limits import LimitError
from vidtldr_jax.trust.notes import tell_note
from vidtldr_jax.trust.recovery import recover_and_tell
from vidtldr_jax.trust.whole_files import replace_folder

__all__ = [
    "CONFIG_NAME",
    "FAMILIES",
    "TOKENIZER_NAME",
    "WEIGHTS_NAME",
    "Checkpoint",
    "CheckpointError",
    "LazyArray",
    "check_params",
    "find_param_shapes",
    "flatten_params",
    "is_checkpoint",
    "make_initial_params",
    "make_parent",
    "read_checkpoint",
    "save_checkpoint",
]


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
    """Write a checkpoint folder in one step, with the digests of its files; it is on the disk when this returns.

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
      CheckpointError: parameters don't fit the architecture or are not finite, the labels' number is another, the
        family is unknown, the config is larger than the limits allow, or the place is taken by something that is no
        checkpoint folder.
      OSError: the folder can't be written; it names the path, and what was there is unchanged.
    """
    destination = Path(folder).absolute()
    recover_and_tell(destination)
    flat = {path: make_lazy(value) for path, value in flatten_params(params).items()}
    check_params(flat, config)
    check_labels(labels, config)
    if family not in FAMILIES:
        raise CheckpointError(f"families are {', '.join(FAMILIES)}; got {family!r}; choose one.")
    if os.path.lexists(destination) and not _is_replaceable(destination):
        raise CheckpointError(
            f"{destination} exists and is no checkpoint folder of this project, or has other files in it; nothing was "
            "written; choose another place or move it away."
        )
    describe = functools.partial(
        write_description, family=family, config=config, preprocessing=preprocessing, labels=labels, source=source or {}
    )
    describe(digests={})  # what can't be described is refused before the weights are written
    make_parent(destination)
    entries = {path: value._replace(read=_read_finite(path, value, destination)) for path, value in flat.items()}
    with replace_folder(destination) as aside:
        digests = {WEIGHTS_NAME: write_safetensors(aside / WEIGHTS_NAME, entries, progress=progress)}
        if tokenizer is not None:
            data = tokenizer.encode("utf-8")
            (aside / TOKENIZER_NAME).write_bytes(data)
            digests[TOKENIZER_NAME] = hash_bytes(data)
        (aside / CONFIG_NAME).write_bytes(describe(digests=digests).encode("utf-8"))
    return destination


def make_parent(place: Path) -> None:
    """Make the folder that something is to be written in.

    Args:
      place: what is to be written.

    Raises:
      CheckpointError: a part of the path is a file.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise CheckpointError(
            f"what is written lies in a folder; a part of {place.parent} is a file; choose another place."
        ) from error


def read_checkpoint(folder: str | os.PathLike[str], *, verify: bool | None = None) -> Checkpoint:
    """Read a checkpoint folder and check it against its digests and its own architecture.

    Args:
      folder: what `save_checkpoint` wrote. One of a version before digests is read with a note.
      verify: compare the files with their digests; None does unless the environment has `VIDTLDR_CHECK_DIGESTS=0`.

    Returns:
      A `Checkpoint`.

    Raises:
      CheckpointError: a file is missing, damaged or changed, a field is unknown or of another type, parameters don't
        fit the architecture or are not finite, or more is asked for than the limits allow.
    """
    place = Path(folder)
    recover_and_tell(place)
    if not place.is_dir():
        raise CheckpointError(
            f"a checkpoint is a folder with {WEIGHTS_NAME} and {CONFIG_NAME}; there is no folder {place}; convert the "
            "weights first, or give the name of a shipped model."
        )
    is_verifying = _is_checking() if verify is None else verify
    description = read_description(place)
    digests: Mapping[str, str | None] = (description.digests or {}) if is_verifying else {}
    if is_verifying:
        check_own_digest(description, place)
    params = read_weights(place / WEIGHTS_NAME, description.config, digest=digests.get(WEIGHTS_NAME))
    tokenizer = read_tokenizer_text(
        place / TOKENIZER_NAME, digest=digests.get(TOKENIZER_NAME), is_expected=TOKENIZER_NAME in digests
    )
    unchecked = [name for name in list_files(tokenizer) if digests.get(name) is None]
    if is_verifying and unchecked:
        tell_note(describe_unchecked(place, unchecked, is_older=description.digests is None))
    return Checkpoint(
        params,
        description.family,
        description.config,
        description.preprocessing,
        description.labels,
        description.source,
        tokenizer,
    )


def list_files(tokenizer: str | None) -> list[str]:
    """Return the names of a folder's files, with or without a tokenizer."""
    return [CONFIG_NAME, WEIGHTS_NAME, *(() if tokenizer is None else (TOKENIZER_NAME,))]


def describe_unchecked(place: Path, names: Sequence[str], *, is_older: bool) -> str:
    """Say that files could not be compared with a digest.

    Args:
      place: the checkpoint folder.
      names: of the files.
      is_older: whether the folder is of a version before digests.

    Returns:
      One line.
    """
    if is_older:
        return f"{place} is of a version before digests, so damage may go unseen; convert it again to have it checked"
    verb = "has" if len(names) == 1 else "have"
    return f"{', '.join(names)} in {place} {verb} no digest in {CONFIG_NAME}, so damage may go unseen"


def is_checkpoint(folder: Path) -> bool:
    """Tell whether a folder's config.json is of this project's format, whatever its weights."""
    try:
        return has_our_fields(read_json(folder / CONFIG_NAME))
    except (OSError, JsonError, LimitError):
        return False


def _is_checking() -> bool:
    try:
        return is_checking()
    except ValueError as error:
        raise CheckpointError(f"{error}.") from error


def _read_finite(name: str, value: LazyArray, destination: Path) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        values = value.read()
        check_finite({name: values}, destination)
        return values

    return read


def _is_replaceable(destination: Path) -> bool:
    """Tell whether a place is an empty folder, or a checkpoint folder of ours with nothing else in it."""
    if not destination.is_dir():
        return False
    names = {path.name for path in destination.iterdir()}
    return not names or (names - {TOKENIZER_NAME} == {WEIGHTS_NAME, CONFIG_NAME} and is_checkpoint(destination))
