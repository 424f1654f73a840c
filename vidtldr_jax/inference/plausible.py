"""Whether numbers from a file are of a size that models have, before memory or time is spent on them."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Final

from vidtldr_jax.data.preprocessing import NUM_COLOURS, Preprocessing
from vidtldr_jax.trust.json_files import JsonError, check_type
from vidtldr_jax.trust.limits import check_limit

# Field of a description -> the limit that its number has.
_LIMITS: Final = {
    "depth": "depth",
    "temporal_depth": "depth",
    "dim": "channels",
    "mlp_dim": "channels",
    "temporal_mlp_dim": "channels",
    "context_dim": "channels",
    "embed_dim": "channels",
    "representation_dim": "channels",
    "num_token_types": "channels",
    "num_classes": "classes",
    "vocab_size": "token_id",
    "max_positions": "tokens",
    "num_clips": "clips",
    "stride": "frames",
    "num_frames": "frames",
}
_SMALLEST: Final = {"max_positions": 2}  # a text has a first and a last word
_EPSILONS: Final = ("norm_eps", "pool_norm_eps")
_LARGEST_COLOUR: Final = 1e6
_SMALLEST_STD: Final = 1e-6


def find_type_faults(kind: type[Any], fields: Mapping[str, Any], place: str) -> list[str]:
    """Compare values with the types that a dataclass declares; names that are unknown or missing are left to it.

    Args:
      kind: the dataclass.
      fields: name -> plain data.
      place: of the fields in the file, such as "architecture".

    Returns:
      One line for each value of another type.
    """
    hints = typing.get_type_hints(kind)
    faults = []
    for field in dataclasses.fields(kind):
        if field.name in fields:
            faults += _find_faults(hints[field.name], fields[field.name], f"{place}.{field.name}")
    return faults


def _find_faults(hint: Any, value: Any, place: str) -> list[str]:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    inner = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)
    if inner is not None and isinstance(value, Mapping):
        return find_type_faults(typing.cast("type[Any]", inner), value, place)
    if inner is not None:
        is_absent = value is None and type(None) in kinds
        return [] if is_absent else [f"{place} is an object with fields, not {type(value).__name__}"]
    try:
        check_type(value, hint)
    except JsonError as error:
        return [f"{place}: {error}"]
    return []


def check_architecture(config: Any, place: str = "architecture") -> None:
    """Refuse an architecture larger than any that models have; each limit can be raised.

    Args:
      config: a frozen description.
      place: of its fields, for the message.

    Raises:
      LimitError: a number is above its limit.
      ValueError: an epsilon or a grid of positions can't be one.
    """
    _check_fields(config, place)
    if hasattr(config, "num_tokens"):
        pixels = config.num_frames * config.image_size**2
        check_limit("clip_pixels", pixels, f"a clip of num_frames x image_size x image_size in {place}")
        tokens = config.num_tokens * config.count_sequences(config.num_frames)
        check_limit("tokens", tokens, f"a clip of {place}")
        if getattr(config, "positions", "learned") == "sincos":
            check_limit("table", tokens * config.dim, f"tokens x dim in {place}")
    grid = getattr(config, "position_grid", None)
    if grid is not None:
        if min(grid) < 1:
            raise ValueError(f"{place}.position_grid has at least one patch along each axis; got {list(grid)}; fix it")
        check_limit("tokens", math.prod(grid), f"{place}.position_grid")
        check_limit("table", math.prod(grid) * config.dim, f"{place}.position_grid x dim")


def _check_fields(config: Any, place: str) -> None:
    for field in dataclasses.fields(config):
        value, where = getattr(config, field.name), f"{place}.{field.name}"
        if dataclasses.is_dataclass(value):
            check_architecture(value, where)
        elif field.name in _LIMITS and value is not None:
            check_limit(_LIMITS[field.name], value, where)
            if value < _SMALLEST.get(field.name, 0):
                raise ValueError(f"{where} is at least {_SMALLEST[field.name]}; got {value}; fix it")
        elif field.name == "num_channels" and value != NUM_COLOURS:
            raise ValueError(
                f"{where} is {NUM_COLOURS}, for red, green and blue, as videos are read; got {value!r}; use a model of "
                "colour videos"
            )
        elif field.name in _EPSILONS and value is not None and not value <= 1:
            raise ValueError(f"{where} is at most 1; got {value!r}; fix it")


def check_preprocessing(recipe: Preprocessing, place: str = "preprocessing") -> None:
    """Refuse preprocessing of more pixels or clips than videos have.

    Args:
      recipe: how clips are made.
      place: of its fields, for the message.

    Raises:
      LimitError: a number is above its limit.
      ValueError: a mean or standard deviation is none of colours.
    """
    _check_fields(recipe, place)
    side = max(recipe.image_size, recipe.shortest_edge or 0)
    check_limit(
        "clip_pixels", recipe.num_frames * side**2, f"a clip of num_frames x image_size x image_size in {place}"
    )
    if max(map(abs, recipe.mean)) > _LARGEST_COLOUR or not all(
        _SMALLEST_STD <= std <= _LARGEST_COLOUR for std in recipe.std
    ):
        raise ValueError(
            f"{place}.mean is within +-{_LARGEST_COLOUR:g} and {place}.std from {_SMALLEST_STD:g} to "
            f"{_LARGEST_COLOUR:g}; got {list(recipe.mean)} and {list(recipe.std)}; fix them"
        )
