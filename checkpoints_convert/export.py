"""The way back: from a checkpoint folder to a state dict that the original class loads strictly.

report = export_checkpoint("checkpoints/umt-b16-k400", "vit_b16_k400.safetensors")
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy

from checkpoints_convert.errors import ConversionError
from checkpoints_convert.families import FAMILIES, Family
from checkpoints_convert.rules import INVERSES, Rule, find_layer, is_left_out
from vidtldr_jax.inference.checkpoint import Checkpoint, read_checkpoint

_TORCH_SUFFIXES: Final = (".pth", ".pt", ".bin")
_SUFFIXES: Final = (*_TORCH_SUFFIXES, ".safetensors")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export did.

    Attributes:
      destination: the file.
      family: whose names the keys have.
      keys: key -> the parameters it was made from; empty for a constant of the original class.
    """

    destination: Path
    family: str
    keys: Mapping[str, tuple[str, ...]]


def export_checkpoint(
    folder: str | os.PathLike[str], destination: str | os.PathLike[str], *, family: str | None = None
) -> ExportReport:
    """Writes a state dict with the original's names and axes; numbers are not changed.

    Args:
      folder: a checkpoint folder.
      destination: a .safetensors file, or a .pth, .pt or .bin file, which needs torch. It appears complete or not at
        all.
      family: a key of `FAMILIES`; None takes the one that the folder was converted from.

    Returns:
      An `ExportReport`.

    Raises:
      ConversionError: the family is unknown or knows no way back, a parameter has no key, or the place or the kind of
        file doesn't suit.
      CheckpointError: the folder can't be read.
    """
    place = Path(destination).absolute()
    if place.suffix not in _SUFFIXES:
        raise ConversionError(
            f"export_checkpoint: a state dict is a file that ends in {', '.join(_SUFFIXES)}; {place.name!r} came; name "
            "such a file."
        )
    if place.is_dir():
        raise ConversionError(f"export_checkpoint: {place} is a folder; name another file.")
    stored = read_checkpoint(folder)
    chosen = _find_family(stored, family)
    state, keys = make_state_dict(stored.params, stored.config, chosen)
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        _write(state, aside / place.name)
        (aside / place.name).chmod(0o644)
        (aside / place.name).replace(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return ExportReport(destination=place, family=chosen.name, keys=keys)


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
            f"make_state_dict: every parameter goes back to a key of {family.title}", lost, "choose another family"
        )
    for pattern, make in family.buffers.items():
        key = _add_prefix(pattern, family, has_head=_has_head(config))
        state[key] = make(config)
        keys[key] = ()
    return state, keys


def _find_family(stored: Checkpoint, name: str | None) -> Family:
    chosen = name or stored.source.get("family")
    if chosen not in FAMILIES:
        raise ConversionError(
            f"export_checkpoint: families are {', '.join(FAMILIES)}; this checkpoint says {chosen!r}; give one of "
            "these."
        )
    family = FAMILIES[chosen]
    if not family.is_exportable:
        raise ConversionError(
            f"export_checkpoint: {family.title} has no PyTorch original; give a family that has one, of the same "
            "architecture."
        )
    return family


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
        safetensors.numpy.save_file(dict(state), path, metadata={"format": "pt"})
        return
    try:
        import torch
    except ImportError as error:
        raise ConversionError(
            f"export_checkpoint: {path.suffix} files are written by torch, which is not installed; install torch, or "
            "name a .safetensors file."
        ) from error
    tensors = {}
    for key, values in state.items():
        if values.dtype.name == "bfloat16":
            tensors[key] = torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
        else:
            tensors[key] = torch.from_numpy(values)
    torch.save(tensors, path)
