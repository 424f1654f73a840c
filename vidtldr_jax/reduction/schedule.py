"""Per-layer r: every way to write a schedule, resolved against a model into static token counts.

A schedule says how many tokens each layer loses: a count, or a ratio in (0, 1) of the tokens that the layer gets.
Layers that are not written lose none. How many a layer can lose depends on the method; one that acts before the first
layer takes out there what the layers would have lost together.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from vidtldr_jax.ops.checks import check_count, check_static, describe, is_number
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Method, get_method

ScheduleEntry: TypeAlias = int | float
_FORMS = 'write "600,200,100" (layer by layer), "0.25,0.25" (ratios), "60x12" (60 in each of 12 layers), or none'
_ITEM = re.compile(r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?:[xX*]\s*(?P<times>\d+))?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResolvedSchedule:
    """A schedule as it runs in one model.

    Attributes:
      requested: the entries as they were written, one per layer named.
      r: tokens that each layer loses, one per layer of the model; what an early method takes out stands at the first.
      tokens: tokens before the first layer and after each layer; one more than layers.
      clamps: a sentence for every layer in which less than was written is lost.
      method: how tokens are chosen.
    """

    requested: tuple[ScheduleEntry, ...]
    r: tuple[int, ...]
    tokens: tuple[int, ...]
    clamps: tuple[str, ...]
    method: Method = DEFAULT_METHOD

    @property
    def is_plain(self) -> bool:
        """Whether no layer loses anything."""
        return not any(self.r)

    @property
    def text(self) -> str:
        """The schedule as it is written on a command line; "none" where nothing is absorbed."""
        return format_schedule(self.r)

    @property
    def title(self) -> str:
        """The schedule with the method's name where it is another than vid-TLDR: two that are equal run the same."""
        return self.text if self.is_plain or self.method == DEFAULT_METHOD else f"{self.text} by {self.method.name}"

    def describe(self) -> str:
        """Says in one line what runs: r of the layers that absorb, tokens in and out, clamps."""
        if self.is_plain:
            return f"no merging, {self.tokens[0]} tokens in all {len(self.r)} layers"
        where = "before" if self.method.is_early else "over"
        line = f"r = {self.text}: {self.tokens[0]} -> {self.tokens[-1]} tokens {where} {len(self.r)} layers"
        name = [] if self.method == DEFAULT_METHOD else [self.method.name]
        return "; ".join([*name, line, *self.clamps])

    def to_dict(self) -> dict[str, Any]:
        """Return the schedule as plain data, clamps included."""
        return {
            "text": self.text,
            "method": self.method.name,
            "requested": list(self.requested),
            "r": list(self.r),
            "tokens": list(self.tokens),
            "clamps": list(self.clamps),
        }

    @property
    def attended(self) -> tuple[int, ...]:
        """Tokens that the attention of each layer sees, one per layer."""
        first = self.tokens[1:2] if self.method.is_early else self.tokens[:1]
        return (*first, *self.tokens[1:-1])


Schedule: TypeAlias = str | ScheduleEntry | Sequence[ScheduleEntry] | ResolvedSchedule | None


class ScheduleError(ValueError):
    """A schedule can't be read, or does not fit a model."""


def parse_schedule(schedule: Schedule) -> tuple[ScheduleEntry, ...]:
    """Reads any way of writing a schedule.

    Args:
      schedule: `"600,200,100"`, `"0.25,0.25"`, `"60x12"`, a mix of those, a list or tuple of numbers, one number (the
        first layer's), a schedule resolved before, or None, "" or "none" for no merging.

    Returns:
      One entry per layer that was written: an int is a count, a float is a ratio in (0, 1).

    Raises:
      ValueError: it is traced.
      ScheduleError: something is not a number, negative, or neither a whole number nor a ratio in (0, 1).
      TypeError: the schedule is of another type altogether.
    """
    check_static("schedule", schedule)
    if schedule is None:
        return ()
    if isinstance(schedule, ResolvedSchedule):
        return schedule.requested
    if isinstance(schedule, str):
        return tuple(entry for item in _split(schedule) for entry in _parse_item(item, schedule))
    if isinstance(schedule, bool):
        raise TypeError(f"a schedule is a text, numbers or None; got {schedule!r}; {_FORMS}.")
    if hasattr(schedule, "__float__") and getattr(schedule, "ndim", 0) == 0:
        return (_check_entry(schedule, schedule),)
    try:
        entries = list(schedule)  # type: ignore[arg-type]  # anything iterable will do
    except TypeError:
        raise TypeError(f"a schedule is a text, numbers or None; got {describe(schedule)}; {_FORMS}.") from None
    return tuple(_check_entry(entry, schedule) for entry in entries)


def resolve_schedule(
    schedule: Schedule,
    *,
    num_tokens: int,
    num_layers: int,
    num_protected: int = 0,
    method: str | Method | None = None,
    num_first: int = 0,
) -> ResolvedSchedule:
    """Turns a schedule into token counts for one model.

    Args:
      schedule: anything that `parse_schedule` reads.
      num_tokens: tokens before the first layer, protected ones included.
      num_layers: layers of the encoder.
      num_protected: leading tokens (CLS) that are never lost; ratios and halves count the others.
      method: how tokens are chosen, by name or as a `Method`; None is the one that the schedule was resolved for
        before, or vid-TLDR.
      num_first: unprotected tokens of a clip's first moment, which an early method always keeps.

    Returns:
      The resolved schedule. An r above what the method can take out of a layer (half of the tokens where they merge) is
      clamped to that, and said so in `clamps`. For an early method the entries are added up.

    Raises:
      ScheduleError: there are entries for more layers than the model has.
      ValueError: an unknown method, an early method where all tokens are of
        one moment, or anything `parse_schedule` refuses.
    """
    requested = parse_schedule(schedule)
    num_layers = check_count("num_layers", num_layers, least=1)
    num_protected = check_count("num_protected", num_protected, least=0)
    num_tokens = check_count("num_tokens", num_tokens, least=num_protected)
    num_first = check_count("num_first", num_first, least=0)
    if method is None:
        method = schedule.method if isinstance(schedule, ResolvedSchedule) else DEFAULT_METHOD
    method = get_method(method)
    if len(requested) > num_layers:
        raise ScheduleError(
            f"at most {num_layers} entries for {num_layers} layers; got {len(requested)} "
            f"({format_schedule(requested)}); leave out the entries past layer {num_layers - 1}."
        )
    entries: list[ScheduleEntry] = [*requested, *[0] * (num_layers - len(requested))]
    if method.is_early:
        entries = [_sum_entries(requested, num_tokens - num_protected), *[0] * (num_layers - 1)]
        if any(entries) and num_first >= num_tokens - num_protected:
            raise ValueError(
                f"{method.name} compares a patch with the one a moment earlier; got one of "
                "one moment (a model that encodes frame by frame, or a clip of one frame); take another method."
            )
    tokens, counts, clamps = [num_tokens], [], []
    for layer, entry in enumerate(entries):
        count = count_entry(entry, tokens[-1] - num_protected)
        limit, name = method.find_limit(tokens[-1] - num_protected, num_first)
        if count > limit:
            clamps.append(f"layer {layer}: r = {entry} clamped to {limit}, {name}")
        counts.append(min(count, limit))
        tokens.append(tokens[-1] - counts[-1])
    return ResolvedSchedule(
        requested=requested, r=tuple(counts), tokens=tuple(tokens), clamps=tuple(clamps), method=method
    )


def resolve_r(r: ScheduleEntry, num_tokens: int) -> tuple[int, int | None]:
    """Turns one entry into a count for one layer.

    Args:
      r: a count, or a ratio in (0, 1) of the tokens, truncated to an int.
      num_tokens: tokens that may be merged in this layer.

    Returns:
      The count, and the limit that clamped it (`num_tokens // 2`) or None if it was not clamped.

    Raises:
      ValueError: r is negative, or neither a whole number nor in (0, 1).
    """
    count = count_entry(r, num_tokens)
    limit = num_tokens // 2
    return (count, None) if count <= limit else (limit, limit)


def count_entry(r: ScheduleEntry, num_tokens: int) -> int:
    """Turns one entry into a count, whatever can be lost.

    Args:
      r: a count, or a ratio in (0, 1) of the tokens, truncated to an int.
      num_tokens: tokens that may be lost in this layer.

    Returns:
      The count.

    Raises:
      ValueError: r is negative, or neither a whole number nor in (0, 1).
    """
    num_tokens = check_count("num_tokens", num_tokens, least=0)
    entry = _check_entry(r, r)
    return int(entry * num_tokens) if isinstance(entry, float) else entry


def _sum_entries(entries: Sequence[ScheduleEntry], num_tokens: int) -> int:
    """Returns what the layers would lose together; a ratio is of what the entries before it leave."""
    left = num_tokens
    for entry in entries:
        left -= min(count_entry(entry, left), left)
    return num_tokens - left


def format_schedule(entries: Sequence[ScheduleEntry]) -> str:
    """Writes entries as `parse_schedule` reads them; zeros at the end are left out, no entries are "none"."""
    written = list(entries)
    while written and not written[-1]:
        written.pop()
    return ",".join(str(entry) for entry in written) or "none"


def _split(text: str) -> list[str]:
    stripped = text.strip().strip("[]()").strip()
    if stripped.lower() in ("", "none"):
        return []
    return [item.strip() for item in stripped.rstrip(",").split(",")]


def _parse_item(item: str, schedule: str) -> list[ScheduleEntry]:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ScheduleError(f"entries are numbers; got {item!r} in {schedule!r}; {_FORMS}.")
    return [_check_entry(float(match["number"]), schedule)] * int(match["times"] or 1)


def _check_entry(entry: object, schedule: object) -> ScheduleEntry:
    check_static("r", entry)
    if not is_number(entry):
        raise ScheduleError(f"entries are numbers; got {describe(entry)} in {describe(schedule)}; {_FORMS}.")
    number = float(entry)  # type: ignore[arg-type]  # NumPy and JAX scalars too
    if math.isfinite(number) and number >= 0 and number == int(number):
        return int(number)
    if 0 < number < 1:
        return number
    raise ScheduleError(
        f"an entry is a whole number from 0 on, or a ratio above 0 and below 1; "
        f"got {entry!r} in {describe(schedule)}; {_FORMS}."
    )
