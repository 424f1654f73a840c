"""Decides what a conversion would do, without reading a weight: family, architecture, which key goes where.

Everything that is wrong is collected, so that `info` can show it and `convert_checkpoint` can refuse with all of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import jax.numpy as jnp

from checkpoints_convert.check import find_faults, name_sources, plan_assignments
from checkpoints_convert.errors import ConversionError, show_value
from checkpoints_convert.facts import Fact, find_disputed, find_facts, list_missing, name_settings
from checkpoints_convert.families import Family
from checkpoints_convert.families.huggingface_processor import PROCESSOR_ORIGIN, list_notes
from checkpoints_convert.family_choice import choose_family, rate_keys
from checkpoints_convert.rules import Assignment, is_left_out, matches
from checkpoints_convert.settings import PREPROCESSING_FIELDS, read_texts
from checkpoints_convert.sources import Source
from checkpoints_convert.wrappers import unwrap_source
from vidtldr_jax.data.preprocessing import NUM_COLOURS, Preprocessing
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.trust.limits import get_limit

# 64 frames of 384 x 384 in patches of 16 are 36,864; a position table of many more would fill the memory.
_MOST_TOKENS: Final = 2**16


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConversionPlan:
    """What a conversion would do.

    Attributes:
      source: the checkpoint, without what wrappers added to its names.
      family: which rules are used.
      settings: what the caller said, by full name.
      facts: what is known about the architecture and the preprocessing, and from where.
      preprocessing_from: where the preprocessing comes from.
      config: the architecture, or None while facts are missing.
      preprocessing: how clips are made for it, or None while facts are missing.
      labels: names of the classes, or None.
      assignments: which key fills which parameters.
      left_out: keys that no parameter needs, each named in the family's list.
      ignored: keys that the caller's patterns leave out.
      fresh: parameters that no key fills and that the caller's patterns let through; they get initial values.
      missing: facts that nobody tells, each with a way to give it.
      faults: everything else that is wrong, one line each.
      notes: what a user should know of fields that nothing here follows, one line each.
    """

    source: Source
    family: Family
    settings: Mapping[str, Any]
    facts: Mapping[str, Fact]
    preprocessing_from: str
    config: Any
    preprocessing: Preprocessing | None
    labels: list[str] | None
    assignments: tuple[Assignment, ...]
    left_out: tuple[str, ...]
    ignored: tuple[str, ...]
    fresh: tuple[str, ...]
    missing: tuple[str, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()


def plan_conversion(
    source: Source,
    *,
    family: str | None = None,
    settings: Mapping[str, Any] | None = None,
    allow_missing: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> ConversionPlan:
    """Plans a conversion.

    Args:
      source: the opened checkpoint.
      family: a key of `FAMILIES`; None finds it by the keys.
      settings: facts that the weights can't tell; text is read as JSON or as a comma list.
      allow_missing: patterns of parameters, or of the keys they come from, that may have no source.
      ignore: patterns of keys to leave out.

    Returns:
      A `ConversionPlan`; nothing is wrong where `missing` and `faults` are empty.

    Raises:
      ConversionError: the family can't be told, settings have unknown names, the checkpoint's config asks for what is
        not built, a pattern fits nothing, or labels don't fit.
    """
    source = unwrap_source(source, lambda keys: rate_keys(keys, family), ignore)
    chosen = choose_family(source, family)
    given = name_settings(read_texts(settings), [*PREPROCESSING_FIELDS, "labels"], family=chosen)
    ignored = dict.fromkeys(
        key for key in source.tensors if any(is_left_out(name, ignore) for name in _list_names(source, key))
    )
    assignments, left_out, unknown = plan_assignments(
        [key for key in source.tensors if key not in ignored],
        chosen.rules,
        prefixes=chosen.prefixes,
        leave_out=chosen.leave_out,
    )
    used = {assignment.key: source.tensors[assignment.key].shape for assignment in assignments}
    facts = find_facts(chosen, used, config=source.config, settings=given)
    _check_colours(facts)
    values = {name: fact.value for name, fact in facts.items()}
    said = {name: value for name, value in given.items() if name in PREPROCESSING_FIELDS}
    clips = _find_clips(chosen, facts, said, source.preprocessor)
    facts = {name: fact for name, fact in facts.items() if name not in PREPROCESSING_FIELDS} | clips.facts
    missing = list_missing(facts, (*chosen.required, "mean", "std", "sampling", *clips.disputed), hints=chosen.hints)

    plan = ConversionPlan(
        source=source,
        family=chosen,
        settings=given,
        facts=facts,
        preprocessing_from=clips.origin,
        config=None,
        preprocessing=None,
        labels=None,
        assignments=tuple(assignments),
        left_out=(*left_out, *source.left_out),
        ignored=tuple(ignored),
        fresh=(),
        missing=tuple(missing),
        faults=tuple(f"unknown key {key}" for key in unknown),
        notes=tuple(_list_notes(source, clips.origin, said)),
    )
    if missing:
        return plan
    try:
        config = chosen.build_config(values)
        fields = {name: fact.value for name, fact in clips.facts.items()}
        preprocessing = Preprocessing(num_frames=config.num_frames, image_size=config.image_size, **fields)
        _check_size(config)
    except (ValueError, TypeError) as error:
        raise ConversionError(str(error)) from error
    targets = find_param_shapes(config)
    fresh = dict.fromkeys(_find_fresh(chosen, targets, assignments, allow_missing))
    _check_patterns(source, ignore=ignore, allow_missing=allow_missing, targets=targets, family=chosen)
    faults = find_faults(
        assignments,
        unknown,
        source_shapes=used,
        target_shapes={path: shape for path, shape in targets.items() if path not in fresh},
        rules=chosen.rules,
    )
    faults += _find_odd_dtypes(source, assignments)
    return dataclasses.replace(
        plan,
        config=config,
        preprocessing=preprocessing,
        labels=_find_labels(source, given, config),
        fresh=tuple(fresh),
        faults=tuple(faults),
    )


class _Clips(NamedTuple):
    """How clips are made.

    Attributes:
      facts: field of the preprocessing -> value, and where it is from.
      disputed: fields that published models of this shape differ in, so that the user has to tell.
      origin: where the fields are from that nobody told.
    """

    facts: dict[str, Fact]
    disputed: list[str]
    origin: str


def _find_clips(
    family: Family, facts: Mapping[str, Fact], said: Mapping[str, Any], preprocessor: Mapping[str, Any] | None
) -> _Clips:
    """Collects fields of the preprocessing: what the user says counts most, what the family or a file says least."""
    fields, origin = family.read_preprocessing({name: fact.value for name, fact in facts.items()}, preprocessor)
    found = {name: Fact(value, origin) for name, value in fields.items()}
    disputed = []
    if not preprocessor:
        disputed = [name for name in find_disputed(family, facts) if name in PREPROCESSING_FIELDS]
        found = {name: fact for name, fact in found.items() if name not in disputed}
        found |= {name: facts[name] for name in PREPROCESSING_FIELDS if name in facts}
    found |= {name: Fact(value, "settings") for name, value in said.items()}
    if "resize" in found and found["resize"].value == "squash" and "shortest_edge" not in said:
        found.pop("shortest_edge", None)  # belongs to the other way of resizing
    return _Clips(found, disputed, origin)


def _list_notes(source: Source, origin: str, given: Collection[str]) -> list[str]:
    """Lists what nothing here follows of a processor's file."""
    if source.preprocessor is None:
        return []
    if origin != PROCESSOR_ORIGIN:
        return [f"{source.processor_file} is not used: frames are made as in {origin}"]
    notes = list_notes(source.preprocessor)
    if "sampling" in given:
        notes = [note for note in notes if "do_sample_frames" not in note]
    if source.other_processor_files:
        others = ", ".join(source.other_processor_files)
        notes.append(f"frames are made as {source.processor_file} says; {others} says otherwise and is not used")
    most = get_limit("faults")
    return notes[:most] + ([f"... and {len(notes) - most:,} more notes of this kind"] if len(notes) > most else [])


def _check_colours(facts: Mapping[str, Fact]) -> None:
    channels = facts.get("num_channels")
    if channels is not None and channels.value != NUM_COLOURS:
        raise ConversionError(
            f"a model sees videos in {NUM_COLOURS} colours, red, green and blue; {channels.origin} of this one says "
            f"num_channels = {channels.value}; convert a model of colour videos."
        )


def _check_size(config: Any) -> None:
    tokens = config.num_tokens * config.count_sequences(config.num_frames)
    if tokens > _MOST_TOKENS:
        raise ConversionError(
            f"a clip has up to {_MOST_TOKENS} tokens; {config.num_frames} frames of "
            f"{config.image_size} x {config.image_size} are {tokens}; give other settings for frames or image_size."
        )


def _list_names(source: Source, key: str) -> tuple[str, ...]:
    """Returns a key's name, and the one that the file has for it."""
    return (key, source.original_names[key]) if key in source.original_names else (key,)


def _find_fresh(
    family: Family, targets: Mapping[str, tuple[int, ...]], assignments: Sequence[Assignment], patterns: Sequence[str]
) -> list[str]:
    """Lists the parameters that nothing fills and that may stay so."""
    filled = {target for assignment in assignments for target in assignment.targets}
    return [target for target in targets if target not in filled and any(_names(family, target, p) for p in patterns)]


def _names(family: Family, target: str, pattern: str) -> bool:
    """Tells whether a pattern fits a parameter or a key that it comes from, with or without a prefix."""
    sources = name_sources(target, family.rules)
    names = [target, *sources, *(prefix + key for prefix in family.prefixes for key in sources)]
    return any(matches(name, pattern) for name in names)


def _check_patterns(
    source: Source,
    *,
    ignore: Sequence[str],
    allow_missing: Sequence[str],
    targets: Mapping[str, tuple[int, ...]],
    family: Family,
) -> None:
    """Refuses patterns that fit nothing: they are misspelt."""
    file_names = [name for key in source.tensors for name in _list_names(source, key)]
    faults = [f"--ignore {p} fits no key" for p in ignore if not any(matches(name, p) for name in file_names)]
    faults += [
        f"--allow-missing {p} fits no parameter and no key that one comes from"
        for p in allow_missing
        if not any(_names(family, target, p) for target in targets)
    ]
    if faults:
        raise ConversionError.collect("a pattern fits whole names, and * stands for anything", faults, "fix or drop it")


def _find_labels(source: Source, given: Mapping[str, Any], config: Any) -> list[str] | None:
    labels = given.get("labels")
    if labels is None:
        by_number = (source.config or {}).get("id2label")
        if not isinstance(by_number, Mapping) or config.num_classes is None:
            return None
        labels = [by_number.get(str(number)) for number in range(max(config.num_classes, len(by_number)))]
        if labels == [f"LABEL_{number}" for number in range(len(labels))]:
            return None  # what transformers writes where nobody gave names
    if not isinstance(labels, list | tuple) or not all(_is_text(label) for label in labels):
        raise ConversionError(f"labels are a text for each class; got {show_value(labels)}; fix them.")
    if len(labels) != config.num_classes:
        count = config.num_classes or "no"
        raise ConversionError(f"one label for each of {count} classes; got {len(labels)}; fix them.")
    return list(labels)


def _is_text(label: Any) -> bool:
    """Tells whether a label is text that can be seen and written: half of a surrogate pair can't."""
    try:
        return isinstance(label, str) and bool(label.strip().encode())
    except UnicodeEncodeError:
        return False


def _find_odd_dtypes(source: Source, assignments: Sequence[Assignment]) -> list[str]:
    dtypes = {assignment.key: source.tensors[assignment.key].dtype for assignment in assignments}
    return [
        f"{key} has dtype {dtype}, and parameters are floating-point numbers"
        for key, dtype in dtypes.items()
        if not jnp.issubdtype(dtype, jnp.floating)
    ]
