"""Fields of a description, such as a config: which values are numbers, what is wrong with them, from and to JSON."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeGuard, TypeVar

from vidtldr_jax.trust.faults import join_faults
from vidtldr_jax.trust.nearest import describe_unknown_fields

Description = TypeVar("Description", bound=Any)


def is_count(value: object, *, least: int = 1) -> TypeGuard[int]:
    """Return whether a value is an int of at least `least`; a boolean is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number, not too large for a float; a boolean is none."""
    # A comparison also takes an int that is too long for a float, and is False for NaN.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def check_counts(description: object, names: Iterable[str]) -> list[str]:
    """Return a fault for each of these fields that is not a positive int."""
    values = {name: getattr(description, name) for name in names}
    return [f"{name} = {value!r} is not a positive int" for name, value in values.items() if not is_count(value)]


def list_given(description: object, names: Iterable[str]) -> list[str]:
    """Return those of these fields that are not None."""
    return [name for name in names if getattr(description, name) is not None]


def check_choices(description: object, choices: Mapping[str, Iterable[str]]) -> list[str]:
    """Return a fault for each of these fields that is none of its choices."""
    values = {name: getattr(description, name) for name in choices}
    return [
        f"{name} = {value!r} is none of {', '.join(choices[name])}"
        for name, value in values.items()
        if value not in choices[name]
    ]


def check_multiples(description: object, pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return a fault for each pair of fields (whole, part) whose whole is not a multiple of its part."""
    values = {pair: (getattr(description, pair[0]), getattr(description, pair[1])) for pair in pairs}
    return [
        f"{whole} = {size} is not a multiple of {part} = {step}"
        for (whole, part), (size, step) in values.items()
        if size % step
    ]


def list_fields(description: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as plain data for JSON."""
    fields = dataclasses.asdict(description)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def read_fields(
    kind: type[Description], fields: Mapping[str, Any], *, place: str = "the architecture in config.json"
) -> Description:
    """Make a frozen description from plain data.

    Args:
      kind: its dataclass.
      fields: name -> value.
      place: where the fields are from, for messages.

    Returns:
      The description.

    Raises:
      ValueError: unknown or missing fields, all named together, or values that don't fit.
    """
    known = {field.name: field for field in dataclasses.fields(kind)}
    faults = describe_unknown_fields(fields, known)
    faults += [
        f"missing field {name!r}"
        for name, field in known.items()
        if name not in fields and field.default is dataclasses.MISSING
    ]
    if faults:
        raise ValueError(f"{join_faults(faults)}; fix {place}.")
    return kind(**fields)


class PlainFields:
    """Base of a config, a dataclass, that is stored as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data for JSON."""
        return list_fields(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Make a config from plain data.

        Args:
          fields: what `to_dict` returned.

        Returns:
          The config.

        Raises:
          ValueError: unknown or missing fields, all named together, or values that don't fit.
        """
        return read_fields(cls, fields)
