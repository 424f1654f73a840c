"""The way back: from a checkpoint folder to a state dict that the original class loads strictly.

report = export_checkpoint("checkpoints/umt-b16-k400", "vit_b16_k400.safetensors")
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from checkpoints_convert.errors import ConversionError
from checkpoints_convert.families import FAMILIES, Family
from checkpoints_convert.rules import INVERSES, Rule, find_layer, is_left_out
from vidtldr_jax.inference.checkpoint import Checkpoint, make_parent, read_checkpoint
from vidtldr_jax.inference.weights import write_safetensors
from vidtldr_jax.trust.whole_files import write_aside

_TORCH_SUFFIXES: Final = (".pth", ".pt", ".bin")
_SUFFIXES: Final = (*_TORCH_SUFFIXES, ".safetensors")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export did.

    Attributes:
      destination: the file.
      family: whose names the keys have.
      loads_into: the original's class that loads the file strictly.
      keys: key -> the parameters it was made from; empty for a constant of the original class.
    """

    destination: Path
    family: str
    loads_into: str
    keys: Mapping[str, tuple[str, ...]]


def export_checkpoint(
    folder: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    family: str | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Writes a state dict with the original's names and axes; numbers are not changed.

    Args:
      folder: a checkpoint folder.
      destination: a .safetensors file, or a .pth, .pt or .bin file, which needs torch. It appears complete or not at
        all, and is on the disk when this returns.
      family: a key of `FAMILIES`; None takes the one that the folder was converted from.
      overwrite: replace a file that is there.

    Returns:
      An `ExportReport`.

    Raises:
      ConversionError: the family is unknown or knows no way back, a parameter has no key, the place or the kind of
        file doesn't suit, or there is such a file already.
      CheckpointError: the folder can't be read, or a part of the destination's path is a file.
    """
    place = Path(destination).absolute()
    if place.suffix not in _SUFFIXES:
        raise ConversionError(
            f"a state dict is a file that ends in {', '.join(_SUFFIXES)}; got {place.name!r}; name such a file."
        )
    if place.is_dir():
        raise ConversionError(f"{place} is a folder; name another file.")
    if place.resolve().parent == Path(folder).resolve():
        raise ConversionError(
            f"a checkpoint folder holds its own files alone; {place} lies in {folder}; name a file in another folder."
        )
    if os.path.lexists(place) and not overwrite:
        raise ConversionError(
            f"a state dict is written to a new file; {place} exists; give another place, or --overwrite."
        )
    stored = read_checkpoint(folder)
    chosen = _find_family(stored, family)
    state, keys = make_state_dict(stored.params, stored.config, chosen)
    make_parent(place)
    with write_aside(place) as aside:
        _write(state, aside)
    loads_into = chosen.original_classes[0 if _has_head(stored.config) else 1] or chosen.original_classes[0]
    return ExportReport(destination=place, family=chosen.name, loads_into=loads_into, keys=keys)


def make_state_dict(
    params: Mapping[str, np.ndarray], config: Any, family: Family
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Turns parameters back into the original's arrays.

    Args:
      params: flat parameter path -> array.
      config: the architecture.
      family: whose names the keys get.

    Returns:
      Key -> array, and key -> the parameters that it was made from.

    Raises:
      ConversionError: parameters have no key in this family, or a rule has no way back; all of them are named.
    """
    state: dict[str, np.ndarray] = {}
    keys: dict[str, tuple[str, ...]] = {}
    used: set[str] = set()
    for rule in family.rules:
        for layer in _find_layers(rule, params):
            targets = tuple(target.replace("{i}", layer) for target in rule.targets)
            if rule.transform not in INVERSES or used & set(targets) or not params.keys() >= set(targets):
                continue
            key = _add_prefix(rule.source.replace("{i}", layer), family, has_head=_has_head(config))
            values = INVERSES[rule.transform]([params[target] for target in targets])
            state[key] = np.ascontiguousarray(values).reshape(values.shape)  # a scalar stays one
            keys[key] = targets
            used |= set(targets)
    lost = [path for path in params if path not in used]
    if lost:
        raise ConversionError.collect(
            f"every parameter goes back to a key of {family.title}", lost, "choose another family"
        )
    for key, other in family.copies.items():
        state[key], keys[key] = state[other].copy(), keys[other]
    for pattern, make in family.buffers.items():
        key = _add_prefix(pattern, family, has_head=_has_head(config))
        state[key] = make(config)
        keys[key] = ()
    return state, keys


def _find_family(stored: Checkpoint, name: str | None) -> Family:
    recorded = stored.source.get("family")
    chosen = name or recorded
    if chosen not in FAMILIES:
        raise ConversionError(
            f"families are {', '.join(FAMILIES)}; this checkpoint says {chosen!r}; give one of these."
        )
    family = FAMILIES[chosen]
    if family.why_no_way_back:
        raise ConversionError(f"of {family.title} nothing comes back: {family.why_no_way_back}; give another family.")
    faults = _find_other_constants(stored.config, family) if chosen != recorded else []
    if faults:
        raise ConversionError.collect(
            f"what is fixed in {family.title} is the same here",
            faults,
            "give its own family",
        )
    return family


def _find_other_constants(config: Any, family: Family) -> list[str]:
    """Lists what a family has fixed and this model has otherwise; its class would give other numbers."""
    ours = {name: getattr(config, name) for name in family.constants if hasattr(config, name)}
    if ours.get("pool_norm_eps", 0.0) is None:
        ours["pool_norm_eps"] = config.norm_eps
    if not getattr(config, "pool_norm", True):
        ours.pop("pool_norm_eps", None)
    return [
        f"{name} is {value} here and {family.constants[name]} there"
        for name, value in ours.items()
        if value != family.constants[name]
    ]


def _find_layers(rule: Rule, params: Mapping[str, Any]) -> Iterator[str]:
    """Yields the layers' numbers, as text, for which the rule's first parameter is there."""
    pattern = rule.targets[0]
    if "{i}" not in pattern:
        if pattern in params:
            yield ""
        return
    layers = (find_layer(path, pattern) for path in params)
    yield from (str(layer) for layer in sorted(layer for layer in layers if layer is not None))


def _has_head(config: Any) -> bool:
    return config.num_classes is not None or config.embed_dim is not None


def _add_prefix(key: str, family: Family, *, has_head: bool) -> str:
    if not family.export_prefix or (family.is_prefixed_with_head_only and not has_head):
        return key
    return key if is_left_out(key, family.export_bare) else family.export_prefix + key


def _write(state: Mapping[str, np.ndarray], path: Path) -> None:
    if path.suffix not in _TORCH_SUFFIXES:
        entries = {
            key: (values.shape, values.dtype, functools.partial(np.asarray, values)) for key, values in state.items()
        }
        write_safetensors(path, entries, metadata={"format": "pt"})
        return
    try:
        import torch
    except ImportError as error:
        raise ConversionError(
            f"{path.suffix} files are written by torch, which is not installed; install torch, or "
            "name a .safetensors file."
        ) from error
    tensors = {}
    for key, values in state.items():
        if values.dtype.name == "bfloat16":
            tensors[key] = torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
        else:
            tensors[key] = torch.from_numpy(values)
    with path.open("wb") as file:
        writer = _Writer(file)
        try:
            torch.save(tensors, writer)
        except RuntimeError as error:
            raise writer.error or error from error


class _Writer:
    """A file that remembers why it could not be written: torch tells an error of its own instead."""

    def __init__(self, file: IO[bytes]) -> None:
        """Take the file to write to."""
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes."""
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Write what the file holds back."""
        self._file.flush()
