"""Finds out what an architecture is: from settings, the checkpoint's config, its weights, and published shapes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from checkpoints_convert.errors import ConversionError, show_value
from checkpoints_convert.families import Family
from checkpoints_convert.families.published import PublishedModel
from checkpoints_convert.inert import read_fields
from checkpoints_convert.rules import find_layer, matches, strip_prefix
from vidtldr_jax.trust.fields import is_count
from vidtldr_jax.trust.nearest import find_nearest

Shapes = Mapping[str, tuple[int, ...]]

_ALIASES: Final = {"heads": "num_heads", "frames": "num_frames", "size": "image_size"}
_SETTABLE: Final = ("num_heads", "num_frames", "image_size", "gelu", "norm_eps", "pool_norm_eps")
_EPSILONS: Final = ("norm_eps", "pool_norm_eps", "text_norm_eps")
_HOW_TO_GIVE: Final = {
    "num_heads": "heads=12",
    "num_frames": "frames=16",
    "image_size": "image_size=224",
    "gelu": "gelu=exact or gelu=tanh",
    "norm_eps": "norm_eps=1e-6",
    "text_heads": "text_heads=12",
    "attention": "attention=spacetime or attention=factorized_dot_product",
    "attention_order": "attention_order=time_space or attention_order=space_time",
    "encoding": "encoding=per_frame or encoding=joint",
    "mean": "mean=0.485,0.456,0.406",
    "std": "std=0.229,0.224,0.225",
    "sampling": (
        "sampling=starts, middle, uniform, dense or windows; the processor's file takes as many frames as a video has "
        "at its fps"
    ),
    "resize": "resize=shortest_edge or resize=squash",
}
_LARGEST_COUNT: Final = 2**24
_COUNTS: Final = (
    *("num_heads", "num_frames", "image_size", "patch_size", "tubelet_size", "num_channels", "num_positions"),
    *("dim", "depth", "mlp_dim", "num_classes"),
)


class Fact(NamedTuple):
    """One thing known about the architecture.

    Attributes:
      value: plain data.
      origin: where it comes from, for the report and for messages.
    """

    value: Any
    origin: str


def name_settings(
    settings: Mapping[str, Any] | None, others: Sequence[str], *, family: Family | None = None
) -> dict[str, Any]:
    """Checks the names of settings and spells them out.

    Args:
      settings: as the caller gave them; heads, frames and size stand for num_heads, num_frames and image_size.
      others: names that are allowed beside the facts of an architecture.
      family: the kind of checkpoint, which may have facts of its own.

    Returns:
      Full name -> value.

    Raises:
      ConversionError: names that aren't known; all of them, each with the nearest.
    """
    given = dict(settings or {})
    if not all(isinstance(name, str) for name in given):
        raise ConversionError("settings have names of text; got others; fix them.")
    twice = [name for name, full in _ALIASES.items() if name in given and full in given]
    if twice:
        raise ConversionError(f"a setting is given once; got {', '.join(twice)} under two names; drop one of each.")
    named = {_ALIASES.get(name, name): value for name, value in given.items()}
    known = [*_SETTABLE, *(family.settable if family else ()), *others]
    strange = [name for name in named if name not in known]
    near = find_nearest(strange, [*known, *_ALIASES])
    faults = [f"{show_value(name)}" + (f" (nearest: {near[name]})" if name in near else "") for name in strange]
    if faults:
        raise ConversionError.collect(
            f"settings are {', '.join(known)}", faults, "the weights tell the rest; drop or rename these"
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
    settable = (*_SETTABLE, *family.settable)
    facts = {name: Fact(value, "settings") for name, value in settings.items() if name in settable}
    for origin, found in (
        ("the checkpoint's config", _read_config(family, _find_root(family, config))),
        ("the weights", _measure(family, shapes)),
        ("the family", family.constants),
    ):
        facts |= {name: Fact(value, origin) for name, value in found.items() if name not in facts}
    counts = {*_COUNTS, *family.lengths, *family.counts, *family.first_layers}
    _check_numbers(facts, counts, first_layers=set(family.first_layers), most_layers=len(shapes))
    for name, value in _fit_positions(facts).items():
        facts.setdefault(name, Fact(value, "the position table"))
    for name, value in _find_published(family, facts).items():
        facts.setdefault(name, Fact(value, "published models of this shape"))
    return facts


def list_missing(
    facts: Mapping[str, Fact], names: Sequence[str], *, hints: Mapping[str, str] | None = None
) -> list[str]:
    """Lists the facts that nobody told, each with a way to give it.

    Args:
      facts: what `find_facts` found.
      names: what is needed.
      hints: ways to give that are special to the family.

    Returns:
      One line for each.
    """
    ways = {**_HOW_TO_GIVE, **(hints or {})}
    absent = [name for name in dict.fromkeys(names) if name not in facts]
    return [f"{name} (give {ways.get(name, f'{name}=...')})" for name in absent]


def _find_root(family: Family, config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Returns the part of a config that is about the family's model: what lies beside it is about another one."""
    inner = read_fields((config or {}).get(family.config_root))
    return (config or {}) if inner is None else inner


def _check_numbers(
    facts: Mapping[str, Fact], counts: Collection[str], *, first_layers: Collection[str], most_layers: int
) -> None:
    faults = []
    for name, (value, origin) in facts.items():
        least = 0 if name in first_layers else 1
        if name in counts and not is_count(value, least=least):
            faults.append(f"{name} from {origin} is {show_value(value)}, not a whole number of at least {least}")
        elif name in counts and value > _LARGEST_COUNT:
            faults.append(f"{name} from {origin} is {show_value(value)}, above {_LARGEST_COUNT}")
        elif (name.endswith("depth") or name in first_layers) and value > most_layers:
            faults.append(f"{name} from {origin} is {value}, and there are only {most_layers} keys")
        elif name in _EPSILONS and (not isinstance(value, float) or not 0 < value < 1):
            faults.append(f"{name} from {origin} is {show_value(value)}, not a number between 0 and 1")
    if faults:
        raise ConversionError.collect("numbers are within their limits", faults, "fix them")


def _read_config(family: Family, config: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    faults = []
    for name, alternatives in family.config_names.items():
        paths = (alternatives,) if isinstance(alternatives, str) else alternatives
        theirs, value = next(
            ((path, value) for path in paths if (value := _look_up(config, path)) is not None), ("", None)
        )
        if value is None:
            continue
        if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
            value = value[0] if value[0] == value[1] else value  # a square given as rows and columns
        values = family.config_values.get(name)
        if values is None:
            found[name] = value
        elif isinstance(value, str | bool) and value in values:
            found[name] = values[value]
        else:
            faults.append(f"{theirs} = {show_value(value)} is none of {', '.join(map(repr, values))}")
    if faults:
        raise ConversionError.collect(
            "the checkpoint's config asks for what is not built", faults, "convert another checkpoint"
        )
    return found


def _look_up(config: Any, path: str) -> Any:
    """Follows a dotted name into nested configs, which may be objects of classes that are not installed."""
    for part in path.split("."):
        fields = read_fields(config)
        config = None if fields is None else fields.get(part)
    return config


def _measure(family: Family, shapes: Shapes) -> dict[str, Any]:
    """Reads facts off the keys and shapes of the weights; a fact that no key tells is absent."""
    bare = {strip_prefix(key, family.prefixes): shape for key, shape in shapes.items()}
    blocks = tuple({rule.source for rule in family.rules if "{i}" in rule.source})
    found: dict[str, Any] = {name: _find_length(bare, places) for name, places in family.lengths.items()}
    for name, patterns in {"depth": blocks, **family.counts}.items():
        found[name] = max((layer + 1 for layer in _list_layers(bare, patterns)), default=None)
    for name, patterns in family.first_layers.items():
        found[name] = min(_list_layers(bare, patterns), default=None)
    for name, patterns in family.presence.items():
        found[name] = any(_has_key(bare, pattern) for pattern in patterns)
    for name, options in family.choices.items():
        found[name] = next((value for pattern, value in options if _has_key(bare, pattern)), None)
    return {name: value for name, value in found.items() if value is not None}


def _find_length(shapes: Shapes, places: Iterable[tuple[str, int]]) -> int | None:
    """Returns the length that most shapes have at these places, of which each is a pattern of keys and an axis."""
    lengths: Counter[int] = Counter()
    for pattern, axis in places:
        lengths.update(shape[axis] for _, shape in _match(shapes, pattern) if axis < len(shape))
    return lengths.most_common(1)[0][0] if lengths else None


def _list_layers(shapes: Shapes, patterns: Iterable[str]) -> list[int]:
    return [layer for pattern in patterns for layer, _ in _match(shapes, pattern)]


def _has_key(shapes: Shapes, pattern: str) -> bool:
    return any(matches(key, pattern) for key in shapes)


def _match(shapes: Shapes, pattern: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yields layer and shape of each key that a pattern describes."""
    for key, shape in shapes.items():
        layer = find_layer(key, pattern)
        if layer is not None:
            yield layer, shape


def _fit_positions(facts: Mapping[str, Fact]) -> dict[str, int]:
    """Gets frames from image size, or the other way round, by the number of positions in a learned table."""
    known = {name: fact.value for name, fact in facts.items()}
    if {"num_moments", "num_frame_positions", "tubelet_size", "patch_size"} <= known.keys():
        extra = known.get("num_extra_positions", 0)
        side = math.isqrt(max(known["num_frame_positions"] - extra, 0))
        frames = (known["num_moments"] - extra) * known["tubelet_size"]
        return {"num_frames": frames, "image_size": side * known["patch_size"]}
    if {"num_frame_positions", "patch_size"} <= known.keys():
        side = math.isqrt(max(known["num_frame_positions"] - known.get("num_extra_positions", 0), 0))
        return {"image_size": side * known["patch_size"]}
    if not {"num_positions", "tubelet_size", "patch_size"} <= known.keys():
        return {}
    tubelet, patch = known["tubelet_size"], known["patch_size"]
    positions = known["num_positions"] - known.get("num_extra_positions", 0)
    if "image_size" in known and "num_frames" not in known:
        per_frame = (known["image_size"] // patch) ** 2
        return {"num_frames": positions // per_frame * tubelet} if per_frame and positions % per_frame == 0 else {}
    if "num_frames" in known and "image_size" not in known:
        frames = known["num_frames"] // tubelet
        side = math.isqrt(positions // frames) if frames else 0
        return {"image_size": side * patch} if side and side * side * frames == positions else {}
    return {}


def find_disputed(family: Family, facts: Mapping[str, Fact]) -> list[str]:
    """Lists what published models of a shape disagree on, so that it is for the user to say.

    Args:
      family: the kind of checkpoint.
      facts: what `find_facts` found.

    Returns:
      Names of facts that nobody told.
    """
    fitting = _list_fitting(family, {name: fact.value for name, fact in facts.items()})
    names = dict.fromkeys(name for model in fitting for name in model.follows)
    return [name for name in names if name not in facts and len({model.follows.get(name) for model in fitting}) > 1]


def _list_fitting(family: Family, known: Mapping[str, Any]) -> list[PublishedModel]:
    """Lists the published models that it can be: shapes are equal, and nothing that is known is against it."""
    return [
        model
        for model in family.published
        if all(known.get(name) == value for name, value in model.shape.items())
        and all(
            _equals(known.get(name, value), value) for name, value in (*model.marks.items(), *model.follows.items())
        )
    ]


def _equals(known: Any, published: Any) -> bool:
    return (tuple(known) if isinstance(known, list) else known) == published


def _find_published(family: Family, facts: Mapping[str, Fact]) -> dict[str, Any]:
    known = {name: fact.value for name, fact in facts.items()}
    fitting = _list_fitting(family, known)
    disputed = {
        name for model in fitting for name, value in model.follows.items() if fitting[0].follows.get(name) != value
    }
    found = {name: value for name, value in (fitting[0].follows if fitting else {}).items() if name not in disputed}
    for clip in family.known_inputs if fitting else ():
        patches = clip.num_frames // clip.tubelet_size * (clip.image_size // known["patch_size"]) ** 2
        tokens = patches + known.get("num_extra_positions", 0)
        if clip.tubelet_size == known.get("tubelet_size") and known.get("num_positions") in (None, tokens):
            return {**found, "num_frames": clip.num_frames, "image_size": clip.image_size}
    return found
