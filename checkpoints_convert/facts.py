"""Finds out what an architecture is: from settings, the checkpoint's config, its weights, and published shapes."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from checkpoints_convert.errors import ConversionError
from checkpoints_convert.families import Family
from checkpoints_convert.rules import find_layer, strip_prefix
from vidtldr_jax.models.presets import PRESETS

Shapes = Mapping[str, tuple[int, ...]]

_ALIASES: Final = {"heads": "num_heads", "frames": "num_frames", "size": "image_size"}
_SETTABLE: Final = ("num_heads", "num_frames", "image_size", "gelu", "norm_eps", "pool_norm_eps")
_HOW_TO_GIVE: Final = {
    "num_heads": "heads=12",
    "num_frames": "frames=16",
    "image_size": "image_size=224",
    "gelu": "gelu=exact",
    "norm_eps": "norm_eps=1e-6",
    "mean": "mean=0.485,0.456,0.406",
    "std": "std=0.229,0.224,0.225",
}
_COUNTS: Final = (
    *("num_heads", "num_frames", "image_size", "patch_size", "tubelet_size", "num_channels", "num_positions"),
    *("dim", "depth", "mlp_dim", "num_classes"),
)
_LAYER_SHAPE: Final = ("dim", "depth", "mlp_dim", "patch_size")


class Fact(NamedTuple):
    """One thing known about the architecture.

    Attributes:
      value: plain data.
      origin: where it comes from, for the report and for messages.
    """

    value: Any
    origin: str


def name_settings(settings: Mapping[str, Any] | None, others: Sequence[str]) -> dict[str, Any]:
    """Checks the names of settings and spells them out.

    Args:
      settings: as the caller gave them; heads, frames and size stand for num_heads, num_frames and image_size.
      others: names that are allowed beside the facts of an architecture.

    Returns:
      Full name -> value.

    Raises:
      ConversionError: names that aren't known; all of them, each with the nearest.
    """
    named = {_ALIASES.get(name, name): value for name, value in (settings or {}).items()}
    known = [*_SETTABLE, *others]
    faults = []
    for name in named:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *_ALIASES], n=1)
            faults.append(f"{name!r}" + (f" (nearest: {near[0]})" if near else ""))
    if faults:
        raise ConversionError.collect(
            f"name_settings: settings are {', '.join(known)}", faults, "the weights tell the rest; drop or rename these"
        )
    return named


def find_facts(
    family: Family, shapes: Shapes, *, config: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> dict[str, Fact]:
    """Collects what is known about the architecture.

    The first of these that knows a fact gives it: settings, the checkpoint's config, the weights, the family,
    published models of the same shape.

    Args:
      family: the kind of checkpoint.
      shapes: shape of every key.
      config: the checkpoint's own config, or None.
      settings: what the caller says, by full name.

    Returns:
      Fact -> value and origin. What nobody knows is absent.

    Raises:
      ConversionError: the config has values that are not built.
    """
    facts = {name: Fact(value, "settings") for name, value in settings.items() if name in _SETTABLE}
    for origin, found in (
        ("the checkpoint's config", _read_config(family, config or {})),
        ("the weights", _measure(family, shapes)),
        ("the family", family.constants),
    ):
        facts |= {name: Fact(value, origin) for name, value in found.items() if name not in facts}
    _check_counts(facts, most_layers=len(shapes))
    for name, value in _fit_positions(facts).items():
        facts.setdefault(name, Fact(value, "the position table"))
    for name, value in _find_published(family, facts).items():
        facts.setdefault(name, Fact(value, "published models of this shape"))
    return facts


def check_known(facts: Mapping[str, Fact], names: Sequence[str], *, unknown: Sequence[str] = ()) -> None:
    """Refuses to go on while facts are missing.

    Args:
      facts: what `find_facts` found.
      names: what is needed.
      unknown: keys that no rule knows; they may be why, so the message names them too.

    Raises:
      ConversionError: some are missing; each is named with a way to give it.
    """
    missing = [f"{name} (give {_HOW_TO_GIVE.get(name, f'{name}=...')})" for name in names if name not in facts]
    if missing:
        missing += [f"unknown key {key}" for key in unknown]
        raise ConversionError.collect(
            "convert_checkpoint: neither the weights nor a config tell", missing, "give them as settings"
        )


def _check_counts(facts: Mapping[str, Fact], *, most_layers: int) -> None:
    faults = [
        f"{name} from {fact.origin} is a {type(fact.value).__name__}, or not above 0"
        for name, fact in facts.items()
        if name in _COUNTS and (not isinstance(fact.value, int) or isinstance(fact.value, bool) or fact.value < 1)
    ]
    depth = facts.get("depth")
    if not faults and depth is not None and depth.value > most_layers:
        faults.append(f"depth from {depth.origin} is {depth.value}, and there are only {most_layers} keys")
    if faults:
        raise ConversionError.collect("find_facts: these are positive whole numbers", faults, "mend them")


def _read_config(family: Family, config: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    faults = []
    for name, theirs in family.config_names.items():
        value = config.get(theirs)
        if value is None:
            continue
        if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
            value = value[0]  # a square given as rows and columns
        values = family.config_values.get(name)
        if values is None:
            found[name] = value
        elif isinstance(value, str | bool) and value in values:
            found[name] = values[value]
        else:
            faults.append(f"{theirs} = {str(value)[:40]} is none of {', '.join(map(repr, values))}")
    if faults:
        raise ConversionError.collect(
            "find_facts: the checkpoint's config asks for what is not built", faults, "convert another checkpoint"
        )
    return found


def _measure(family: Family, shapes: Shapes) -> dict[str, Any]:
    bare = {strip_prefix(key, family.prefixes): shape for key, shape in shapes.items()}
    found: dict[str, Any] = {}
    for name, places in family.lengths.items():
        lengths = Counter(
            shape[axis] for pattern, axis in places for _, shape in _match(bare, pattern) if axis < len(shape)
        )
        if lengths:
            found[name] = lengths.most_common(1)[0][0]
    blocks = {rule.source for rule in family.rules if "{i}" in rule.source}
    layers = [layer for pattern in blocks for layer, _ in _match(bare, pattern)]
    if layers:
        found["depth"] = max(layers) + 1
    for name, patterns in family.presence.items():
        found[name] = any(True for pattern in patterns for _ in _match(bare, pattern))
    for name, options in family.choices.items():
        found[name] = next(value for pattern, value in options if any(True for _ in _match(bare, pattern)))
    return found


def _match(shapes: Shapes, pattern: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    for key, shape in shapes.items():
        layer = find_layer(key, pattern)
        if layer is not None:
            yield layer, shape


def _fit_positions(facts: Mapping[str, Fact]) -> dict[str, int]:
    """Gets frames from image size, or the other way round, by the number of positions in a learned table."""
    known = {name: fact.value for name, fact in facts.items()}
    if not {"num_positions", "tubelet_size", "patch_size"} <= known.keys():
        return {}
    positions, tubelet, patch = known["num_positions"], known["tubelet_size"], known["patch_size"]
    if "image_size" in known and "num_frames" not in known:
        per_frame = (known["image_size"] // patch) ** 2
        return {"num_frames": positions // per_frame * tubelet} if per_frame and positions % per_frame == 0 else {}
    if "num_frames" in known and "image_size" not in known:
        frames = known["num_frames"] // tubelet
        side = math.isqrt(positions // frames) if frames else 0
        return {"image_size": side * patch} if side and side * side * frames == positions else {}
    return {}


def _find_published(family: Family, facts: Mapping[str, Fact]) -> dict[str, Any]:
    known = {name: fact.value for name, fact in facts.items()}
    layers = tuple(known.get(name) for name in _LAYER_SHAPE)
    same = [preset for preset in PRESETS.values() if tuple(getattr(preset, name) for name in _LAYER_SHAPE) == layers]
    found: dict[str, Any] = {}
    if not same:
        return found
    heads = {preset.num_heads for preset in same}
    if len(heads) == 1:
        found["num_heads"] = heads.pop()
    for frames, size, tubelet in family.known_inputs:
        tokens = frames // tubelet * (size // known["patch_size"]) ** 2
        if tubelet == known.get("tubelet_size") and known.get("num_positions") in (None, tokens):
            return {**found, "num_frames": frames, "image_size": size}
    return found
