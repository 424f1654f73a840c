"""From somebody's checkpoint to a folder that `load_model` reads.

report = convert_checkpoint("vit_b16_k400.pth", "checkpoints/umt-b16-k400", settings={"frames": 8})
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from checkpoints_convert.check import find_faults, plan_assignments
from checkpoints_convert.errors import ConversionError
from checkpoints_convert.facts import Fact, check_known, find_facts, name_settings
from checkpoints_convert.families import FAMILIES, Family
from checkpoints_convert.rules import Assignment, apply_transform
from checkpoints_convert.sources import Source, open_source
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.checkpoint import find_param_shapes, save_checkpoint
from vidtldr_jax.models.config import VideoViTConfig

# Raised when the same source gives other parameters, another config or other preprocessing.
CONVERTER_VERSION: Final = 1

_REQUIRED: Final = (
    "num_frames",
    "image_size",
    "patch_size",
    "tubelet_size",
    "dim",
    "depth",
    "num_heads",
    "mlp_dim",
    "gelu",
    "norm_eps",
)
# Facts that say how others are found and are no fields of the architecture.
_ONLY_FACTS: Final = frozenset({"num_positions"})
_PREPROCESSING_FIELDS: Final = tuple(
    field.name for field in dataclasses.fields(Preprocessing) if field.name not in ("num_frames", "image_size")
)
# Below this share of known keys a source is not of the family, and faults key by key would say nothing.
_KNOWN_SHARE: Final = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """What a conversion did.

    Attributes:
      destination: the checkpoint folder.
      family: which rules were used.
      source: the source's name.
      config: the architecture.
      preprocessing: how clips are made for it.
      labels: names of the classes, or None.
      assignments: source key -> the parameters that it fills.
      left_out: source keys that no parameter needs, each named in the family's list.
      origins: fact about the architecture -> where it comes from.
      num_parameters: numbers in all parameters together.
    """

    destination: Path
    family: str
    source: str
    config: VideoViTConfig
    preprocessing: Preprocessing
    labels: list[str] | None
    assignments: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    origins: Mapping[str, str]
    num_parameters: int


def convert_checkpoint(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    family: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> ConversionReport:
    """Converts a checkpoint, or says everything that is wrong with it.

    Args:
      source: a .pth, .pt, .bin or .safetensors file, or a Hugging Face folder. Nothing in it is executed.
      destination: the checkpoint folder to write; it appears complete or not at all.
      family: a key of `FAMILIES`; None finds it by the keys.
      settings: facts that the weights can't tell (heads, frames, image_size, gelu, norm_eps, labels, and the fields of
        `Preprocessing`); text is read as JSON or as a comma list. They go before what the checkpoint's own config says.

    Returns:
      A `ConversionReport`.

    Raises:
      ConversionError: the source can't be read or is refused, facts are missing, or keys and parameters don't match
        one to one; the message names all faults of a kind.
      CheckpointError: the destination is taken by something else.
    """
    opened = open_source(Path(source))
    chosen = _choose_family(opened, family)
    given = name_settings(_read_texts(settings), [*_PREPROCESSING_FIELDS, "labels"])
    assignments, left_out, unknown = plan_assignments(
        list(opened.tensors), chosen.rules, prefixes=chosen.prefixes, leave_out=chosen.leave_out
    )
    used = {assignment.key: opened.tensors[assignment.key].shape for assignment in assignments}
    facts = find_facts(chosen, used, config=opened.config, settings=given)
    values = {name: fact.value for name, fact in facts.items()}
    fields, origin = chosen.read_preprocessing(values, opened.preprocessor)
    fields |= {name: value for name, value in given.items() if name in _PREPROCESSING_FIELDS}
    recipe = {name: Fact(value, origin) for name, value in fields.items()}
    check_known({**facts, **recipe}, (*_REQUIRED, "mean", "std"), unknown=unknown)

    config = _build_config(values)
    faults = find_faults(
        assignments, unknown, source_shapes=used, target_shapes=find_param_shapes(config), rules=chosen.rules
    )
    faults += _find_odd_dtypes(opened, assignments)
    if faults:
        raise ConversionError.collect(
            f"convert_checkpoint: every key of a {chosen.title} fills parameters and every parameter is filled once",
            faults,
            "get the original file, or give the family and settings that fit it; nothing was written",
        )
    preprocessing = _build_preprocessing(config, fields)
    labels = _find_labels(opened, given, config)
    params = _read_params(opened, assignments)
    record = {
        "name": opened.name,
        "sha256": dict(opened.digests),
        "family": chosen.name,
        "converter_version": CONVERTER_VERSION,
        "left_out": left_out,
        "settings": given,
        "preprocessing_from": origin,
    }
    written = save_checkpoint(
        destination,
        params=params,
        family=chosen.saved_as.get(config.tubelet_size) or chosen.saved_as[None],
        config=config,
        preprocessing=preprocessing,
        labels=labels,
        source=record,
    )
    return ConversionReport(
        destination=written,
        family=chosen.name,
        source=opened.name,
        config=config,
        preprocessing=preprocessing,
        labels=labels,
        assignments={assignment.key: assignment.targets for assignment in assignments},
        left_out=tuple(left_out),
        origins={name: fact.origin for name, fact in {**facts, **recipe}.items()},
        num_parameters=sum(array.size for array in params.values()),
    )


def _choose_family(source: Source, name: str | None) -> Family:
    if name is not None:
        if name not in FAMILIES:
            raise ConversionError(f"convert_checkpoint: families are {', '.join(FAMILIES)}; {name!r} came; choose one.")
        return FAMILIES[name]
    shares = {}
    for family in FAMILIES.values():
        _, _, unknown = plan_assignments(
            list(source.tensors), family.rules, prefixes=family.prefixes, leave_out=family.leave_out
        )
        shares[family.name] = 1 - len(unknown) / max(len(source.tensors), 1)
    fitting = sorted((share, name) for name, share in shares.items() if share > _KNOWN_SHARE)
    if len(fitting) == 1 or (fitting and fitting[-1][0] > fitting[-2][0]):
        return FAMILIES[fitting[-1][1]]
    examples = ", ".join(list(source.tensors)[:4])
    counts = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    raise ConversionError(
        f"convert_checkpoint: the family is told by the keys; of {source.name} the families know: {counts}; its keys "
        f"are like {examples}; name the family, or convert one of these kinds."
    )


def _read_texts(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Reads values that came as text: numbers, lists with commas, words."""
    return {name: _read_text(value) if isinstance(value, str) else value for name, value in (settings or {}).items()}


def _read_text(text: str) -> Any:
    for form in (text, f"[{text}]"):
        try:
            return json.loads(form)
        except ValueError:
            continue
    return [part.strip() for part in text.split(",")] if "," in text else text


def _build_config(values: Mapping[str, Any]) -> VideoViTConfig:
    fields = {name: value for name, value in values.items() if name not in _ONLY_FACTS}
    try:
        config = VideoViTConfig(**fields)
        # A fixed table was made for this grid; other clips get it interpolated, as the originals do.
        config = dataclasses.replace(config, position_grid=config.grid)
    except ValueError as error:
        raise ConversionError(f"convert_checkpoint: {error}") from error
    positions = values.get("num_positions", config.num_tokens)
    if positions != config.num_tokens:
        raise ConversionError(
            f"convert_checkpoint: {config.num_frames} frames of {config.image_size} x {config.image_size} are "
            f"{config.num_tokens} tokens; the position table in the weights has {positions}; give other settings for "
            "frames or image_size."
        )
    return config


def _build_preprocessing(config: VideoViTConfig, fields: Mapping[str, Any]) -> Preprocessing:
    try:
        return Preprocessing(num_frames=config.num_frames, image_size=config.image_size, **fields)
    except ValueError as error:
        raise ConversionError(f"convert_checkpoint: {error}") from error


def _find_labels(source: Source, given: Mapping[str, Any], config: VideoViTConfig) -> list[str] | None:
    labels = given.get("labels")
    if labels is None:
        by_number = (source.config or {}).get("id2label")
        if not isinstance(by_number, Mapping) or config.num_classes is None:
            return None
        labels = [by_number.get(str(number)) for number in range(config.num_classes)]
        if labels == [f"LABEL_{number}" for number in range(config.num_classes)]:
            return None  # what transformers writes where nobody gave names
    if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
        raise ConversionError(
            f"convert_checkpoint: labels are a text for each class; {str(labels)[:100]} came; mend them."
        )
    if len(labels) != config.num_classes:
        raise ConversionError(
            f"convert_checkpoint: one label for each of {config.num_classes} classes; {len(labels)} came; mend them."
        )
    return list(labels)


def _find_odd_dtypes(source: Source, assignments: list[Assignment]) -> list[str]:
    dtypes = {assignment.key: source.tensors[assignment.key].dtype for assignment in assignments}
    return [
        f"{key} has dtype {dtype}, and parameters are floating-point numbers"
        for key, dtype in dtypes.items()
        if not jnp.issubdtype(dtype, jnp.floating)
    ]


def _read_params(source: Source, assignments: list[Assignment]) -> dict[str, np.ndarray]:
    params: dict[str, np.ndarray] = {}
    for assignment in assignments:
        values = np.asarray(source.tensors[assignment.key].read())
        made = apply_transform(assignment, values)
        params |= {target: np.ascontiguousarray(array, dtype=np.float32) for target, array in made.items()}
    return params
