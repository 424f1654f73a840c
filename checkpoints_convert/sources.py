"""Opens what people have: a torch, safetensors, msgpack or .npz file, a folder of Hugging Face's or Scenic's, a hub."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from checkpoints_convert.entries import State, choose_state, list_states
from checkpoints_convert.errors import ConversionError, show_error, show_value
from checkpoints_convert.inert import read_fields
from checkpoints_convert.msgpack_files import is_msgpack, read_msgpack_states
from checkpoints_convert.npz_files import is_npz, read_npz_states
from checkpoints_convert.safetensors_files import read_safetensors_file
from checkpoints_convert.tensors import LazyTensor
from checkpoints_convert.torch_files import ZIP_MAGIC, read_torch_file
from vidtldr_jax.inference.hub import SCHEME, HubError, HubPlace, download_file, list_files, parse_place
from vidtldr_jax.trust.digests import hash_file
from vidtldr_jax.trust.regular import NotRegularError, check_regular

_CONFIG_ENTRIES: Final = ("config", "args")
_FOLDER_WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_CONFIG_FILE: Final = "config.json"
# Of PEFT: transformers applies them to the weights in the same folder.
_ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
# Where transformers keeps what happens to pixels, in the order in which version 5 looks for it: inside a file for a
# whole processor, in one for videos, in one for images.
_PROCESSOR_FILES: Final = ("processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json")
_PROCESSOR_ENTRIES: Final = ("video_processor", "image_processor")
_STEP: Final = re.compile(r"checkpoint_\d+")
_ORBAX_FILES: Final = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "_sharding")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A checkpoint as it was read.

    Attributes:
      name: the file's or folder's name, or its address on a hub.
      place: where it lies.
      digests: file name -> SHA-256, of every file that holds weights.
      tensors: key -> tensor, in the file's order, read on demand.
      config: the checkpoint's own config as plain data, or None.
      preprocessor: what Hugging Face's file says of pixels, or None.
      processor_file: its name, "" where there is none.
      other_processor_files: names of further such files that say something else.
      entry: the part of the file that the weights are, such as "model"; "" for all of it.
      other_entries: further parts of the file that hold weights.
      stripped: what wrappers had put before or into the names and was taken off, "" for nothing.
      original_names: key -> its name in the file, of keys whose name was changed.
      left_out: keys of the file that a wrapper keeps for itself.
    """

    name: str
    place: Path
    digests: Mapping[str, str]
    tensors: Mapping[str, LazyTensor]
    config: Mapping[str, Any] | None = None
    preprocessor: Mapping[str, Any] | None = None
    processor_file: str = ""
    other_processor_files: tuple[str, ...] = ()
    entry: str = ""
    other_entries: tuple[str, ...] = ()
    stripped: str = ""
    original_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def open_source(source: str | os.PathLike[str], *, weights: str | None = None) -> Source:
    """Opens a checkpoint; nothing in it is executed.

    Args:
      source: a .pth, .pt, .bin, .safetensors, msgpack or .npz file, told apart by what is in it; a Hugging Face folder;
        a folder of Flax checkpoints (`checkpoint`, `checkpoint_N`, `*.msgpack`), of which the last step is taken; or
        hf://owner/name, with @revision or /file behind it.
      weights: which of several states of weights in a file, such as "model_ema"; None takes the usual one.

    Returns:
      A `Source` whose tensors are not read yet.

    Raises:
      ConversionError: there is no such place, or what is there is damaged, refused or not a checkpoint.
    """
    place = Path(source)
    try:
        if str(source).startswith(SCHEME):
            opened = _open_hub(str(source), weights)
        else:
            opened = _open_folder(place, weights) if place.is_dir() else _open_file(place, weights)
    except (OSError, UnicodeError) as error:
        raise ConversionError(
            f"{source} can't be read ({show_error(error)}); check the path and its rights."
        ) from error
    if not opened.tensors:
        raise ConversionError(
            f"a checkpoint has tensors; there is none in {source}; name the file that holds the weights."
        )
    return opened


def _open_hub(address: str, weights: str | None) -> Source:
    """Gets what is needed of a repository, then opens it like a folder."""
    try:
        place = parse_place(address)
        if place.file is not None:
            path = download_file(place, place.file)
        elif _download_if_there(place, _ADAPTER_FILES[0], is_needed=False) is not None:
            raise _refuse_adapters(address, _ADAPTER_FILES[:1])
        else:
            path = next((path for name in _FOLDER_WEIGHTS if (path := download_file(place, name)) is not None), None)
        if path is None:
            wanted = place.file or f"none of {', '.join(_FOLDER_WEIGHTS)}"
            there = ", ".join(list_files(place)[:10])
            raise ConversionError(
                f"{address} has {'no ' if place.file else ''}{wanted}; it has {there}; name the file that "
                "holds the weights behind the repository's name."
            )
        if place.file is not None:
            return dataclasses.replace(_open_file(path, weights), name=address)
        for name in (_CONFIG_FILE, *_PROCESSOR_FILES):
            _download_if_there(place, name, is_needed=name == _CONFIG_FILE)
        if path.suffix == ".json":
            for name in _name_shards(path):
                if download_file(place, name) is None:
                    raise ConversionError(f"{address} lists {name} but does not have it; tell its owner.")
    except HubError as error:
        raise ConversionError(str(error)) from error
    return dataclasses.replace(_open_folder(path.parent, weights), name=address)


def _download_if_there(place: HubPlace, name: str, *, is_needed: bool) -> Path | None:
    try:
        return download_file(place, name)
    except HubError:
        if is_needed:
            raise  # out of reach: nobody knows whether the repository has it
        return None


def _open_file(path: Path, weights: str | None) -> Source:
    try:
        check_regular(path)
    except NotRegularError as error:
        raise ConversionError(f"{error}.") from error
    except (OSError, ValueError):
        raise ConversionError(f"a source is a file or a folder; there is no {path}; check the path.") from None
    states, config = _read_states(path, needs_usual=weights is None)
    found = choose_state(states, weights, str(path))
    return Source(
        name=path.name,
        place=path,
        digests={path.name: hash_file(path)},
        tensors=found.tensors,
        config=config,
        entry=found.entry,
        other_entries=found.others,
    )


def _refuse_adapters(place: str | Path, names: Sequence[str]) -> ConversionError:
    """Returns the error for a folder whose weights are not the model's without the adapters beside them."""
    return ConversionError(
        f"weights are converted with adapters merged into them; {place} has {', '.join(names)}; merge them with PEFT's "
        "merge_and_unload() and save the model, or remove what is merged already."
    )


def _open_folder(folder: Path, weights: str | None) -> Source:
    adapters = [name for name in _ADAPTER_FILES if (folder / name).is_file()]
    if adapters:
        raise _refuse_adapters(folder, adapters)
    found = [folder / name for name in _FOLDER_WEIGHTS if (folder / name).is_file()]
    if not found:
        opened = _open_file(_find_flax_file(folder), weights)
        return dataclasses.replace(opened, name=f"{folder.resolve().name}/{opened.name}")
    config = read_json(folder / _CONFIG_FILE)
    if config is not None and {"format", "family", "architecture"} <= set(config):
        raise ConversionError(f"{folder} is converted already; load it as it is.")
    files = _list_shards(found[0]) if found[0].suffix == ".json" else [found[0]]
    is_sharded = found[0].suffix == ".json"
    states = (
        {"": _join_shards(found[0], files)} if is_sharded else _read_states(found[0], needs_usual=weights is None)[0]
    )
    chosen = choose_state(states, weights, str(folder))
    processors = _read_processors(folder)
    processor_file = next(iter(processors), "")
    preprocessor = processors.get(processor_file)
    return Source(
        name=folder.resolve().name,
        place=folder,
        digests={file.name: hash_file(file) for file in files},
        tensors=chosen.tensors,
        config=config,
        preprocessor=preprocessor,
        processor_file=processor_file,
        other_processor_files=tuple(name for name, fields in processors.items() if fields != preprocessor),
        entry=chosen.entry,
        other_entries=chosen.others,
    )


def _join_shards(index: Path, files: Sequence[Path]) -> State:
    parts = {file.name: _read_shard(file) for file in files}
    _check_index(index, parts)
    return {key: tensor for part in parts.values() for key, tensor in part.items()}


def _read_shard(file: Path) -> State:
    states, _ = _read_states(file)
    if "" not in states:
        raise ConversionError(
            f"a shard is a dict of tensors; {file} has them below {show_value(list(states))}; save the model again."
        )
    return states[""]


def _read_processors(folder: Path) -> dict[str, dict[str, Any]]:
    """Reads what files for processors say of pixels: name -> fields, the one that counts first."""
    found = {name: fields for name in _PROCESSOR_FILES if (fields := read_json(folder / name)) is not None}
    whole = found.pop(_PROCESSOR_FILES[0], {})
    inner = next((whole[entry] for entry in _PROCESSOR_ENTRIES if isinstance(whole.get(entry), dict)), None)
    return found if inner is None else {_PROCESSOR_FILES[0]: inner, **found}


def _find_flax_file(folder: Path) -> Path:
    """Finds the checkpoint of the last step in a folder of Scenic's or Flax's."""
    names = sorted(path.name for path in folder.iterdir())
    if any(name in _ORBAX_FILES for name in names):
        raise ConversionError(
            f"{folder} is an Orbax checkpoint, which is not read; restore it with orbax-checkpoint and "
            "save the parameters with flax.serialization.to_bytes or numpy.savez."
        )
    steps = {name: int(name.removeprefix("checkpoint_")) for name in names if _STEP.fullmatch(name)}
    last = max(steps, key=lambda name: steps[name], default=None)
    packed = [name for name in names if name == "checkpoint" or name.endswith(".msgpack")]
    chosen = last or (packed[0] if len(packed) == 1 else None)
    if chosen is None:
        raise ConversionError(
            f"a folder holds one of {', '.join(_FOLDER_WEIGHTS)}, checkpoint, checkpoint_N or one "
            f"*.msgpack; {folder} has {', '.join(names[:5]) or 'nothing'}; name the file itself."
        )
    if (folder / chosen).is_dir():
        return _find_flax_file(folder / chosen)
    return folder / chosen


def _list_shards(index: Path) -> list[Path]:
    names = _name_shards(index)
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ConversionError(
            f"the shards of {index.name} lie beside it; missing: {show_value(missing)}; get all the shards."
        )
    return [index.parent / name for name in names]


def _check_index(index: Path, parts: Mapping[str, Mapping[str, LazyTensor]]) -> None:
    """Compares the index with its shards: a key that one has and the other has not is a sign of mixed-up files."""
    listed = set(_read_index(index).items())
    there = {(key, name) for name, part in parts.items() for key in part}
    faults = [f"{show_value(key)} is not in {show_value(name)}" for key, name in sorted(listed - there)]
    faults += [
        f"{show_value(key)} is in {show_value(name)} and not listed there" for key, name in sorted(there - listed)
    ]
    if faults:
        raise ConversionError.collect(
            f"{index.name} lists every key with the shard that has it", faults, "get all the files again"
        )


def _name_shards(index: Path) -> list[str]:
    names = sorted(set(_read_index(index).values()))
    strange = [name for name in names if Path(name).name != name]
    if strange:
        raise ConversionError(
            f"the shards of {index.name} lie beside it; outside: {show_value(strange)}; get all the shards."
        )
    return names


def _read_index(index: Path) -> dict[str, str]:
    shards = (read_json(index) or {}).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise ConversionError(f"an index has a weight_map of file names; {index} has none; get it again.")
    return shards


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads an object from a JSON file.

    Args:
      path: the file.

    Returns:
      Its fields, or None where there is no such file.

    Raises:
      ConversionError: it is no JSON, or holds something else than an object.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{path} is not JSON ({show_error(error)}); get it again.") from error
    if not isinstance(value, dict):
        raise ConversionError(f"{path} holds an object; got {type(value).__name__}; get it again.")
    return value


def _read_states(path: Path, *, needs_usual: bool = True) -> tuple[dict[str, State], Mapping[str, Any] | None]:
    """Reads every state of weights in a file, by its place there, and the config beside them."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise ConversionError(f"a checkpoint has bytes; {path} is empty; get it again.")
    if head.startswith(b"version https://git-lfs"):
        raise ConversionError(f"{path} is a Git LFS pointer, not the weights; run `git lfs pull`.")
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return {"": read_safetensors_file(path)}, None
    if head.startswith(ZIP_MAGIC) and is_npz(path):
        return read_npz_states(path), None
    if is_msgpack(head):
        return read_msgpack_states(path), None
    if head.startswith((ZIP_MAGIC, b"\x80")):
        return _read_torch(path, needs_usual=needs_usual)
    raise ConversionError(
        f"a checkpoint is a torch file (zip or pickle), safetensors, Flax's msgpack or .npz; {path} "
        f"starts with {head[:8]!r} and is none of these; name the file that holds the weights."
    )


def _read_torch(path: Path, *, needs_usual: bool) -> tuple[dict[str, State], Mapping[str, Any] | None]:
    saved = read_torch_file(path)
    states = list_states(saved, str(path), needs_usual=needs_usual)
    fields = read_fields(saved) or {}
    configs = (read_fields(fields.get(name)) for name in _CONFIG_ENTRIES)
    return states, next((config for config in configs if config is not None), None)
