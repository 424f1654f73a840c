"""Fields of configs: which values are numbers, and the faults that a config names together."""

from __future__ import annotations

import dataclasses

import pytest

from vidtldr_jax.trust.fields import (
    check_choices,
    check_counts,
    check_multiples,
    is_count,
    is_finite,
    list_fields,
    list_given,
    read_fields,
)


@dataclasses.dataclass(frozen=True)
class Sizes:
    rows: object = 4
    patch: object = 2
    kind: str = "a"
    mean: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Named:
    name: str


@pytest.mark.parametrize("value", [True, 0, -1, 1.0, "1", None])
def test_what_is_no_count(value):
    assert not is_count(value)
    assert check_counts(Sizes(rows=value), ["rows", "patch"]) == [f"rows = {value!r} is not a positive int"]


def test_a_count_begins_where_it_is_said_to():
    assert is_count(1)
    assert is_count(0, least=0)
    assert not is_count(False, least=0)
    assert not is_count(2, least=3)


def test_a_finite_number_fits_into_a_float():
    assert all(map(is_finite, (0, -1.5, 10**300)))
    assert not any(map(is_finite, (float("nan"), float("-inf"), 10**400, True, "1", None)))


def test_each_fault_names_its_field():
    assert check_choices(Sizes(kind="c"), {"kind": ("a", "b")}) == ["kind = 'c' is none of a, b"]
    assert check_multiples(Sizes(rows=5), [("rows", "patch")]) == ["rows = 5 is not a multiple of patch = 2"]
    assert check_multiples(Sizes(), [("rows", "patch")]) == []
    assert list_given(Sizes(), ["rows", "mean"]) == ["rows"]


def test_fields_survive_the_way_through_plain_data():
    assert list_fields(Sizes(mean=(0.5, 1.0))) == {"rows": 4, "patch": 2, "kind": "a", "mean": [0.5, 1.0]}
    assert read_fields(Sizes, {"rows": 6}) == Sizes(rows=6)


def test_unknown_and_missing_fields_are_named_together_with_their_place():
    with pytest.raises(
        ValueError, match=r"^unknown field 'nam' \(did you mean 'name'\?\); missing field 'name'; fix x"
    ):
        read_fields(Named, {"nam": 1}, place="x")
