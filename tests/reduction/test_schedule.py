"""Schedules: every way to write one, what comes of it, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from vidtldr_jax.reduction import ResolvedSchedule, format_schedule, parse_schedule, resolve_r, resolve_schedule

FORMS = 'write "600,200,100" (layer by layer), "0.25,0.25" (ratios), "60x12" (60 in each of 12 layers), or none'


@pytest.mark.parametrize(
    ("written", "entries"),
    [
        (None, ()),
        ("", ()),
        ("none", ()),
        (" None ", ()),
        ([], ()),
        ("600,200,100", (600, 200, 100)),
        (" 600 , 200 ,100, ", (600, 200, 100)),
        ("[600, 200]", (600, 200)),
        ("(600, 200)", (600, 200)),
        ("0.25,0.25", (0.25, 0.25)),
        (".5", (0.5,)),
        ("60x3", (60, 60, 60)),
        ("60X2,0.1*2", (60, 60, 0.1, 0.1)),
        ("0,0,5", (0, 0, 5)),
        ("5.0", (5,)),
        ("60x0,7", (7,)),
        (600, (600,)),
        (0.25, (0.25,)),
        (0, (0,)),
        ([600, 0.5], (600, 0.5)),
        ((3, 2), (3, 2)),
        (np.array([3, 2]), (3, 2)),
        (np.array([3.0, 0.5]), (3, 0.5)),
        (jnp.array([3, 2]), (3, 2)),
        (np.int64(4), (4,)),
        (np.float64(0.5), (0.5,)),
        (iter([3, 2]), (3, 2)),
    ],
)
def test_every_way_of_writing_is_read(written, entries):
    parsed = parse_schedule(written)
    assert parsed == entries
    assert [type(e) for e in parsed] == [type(e) for e in entries]


def test_counts_are_resolved_layer_by_layer():
    resolved = resolve_schedule("600,200,100", num_tokens=2352, num_layers=12)
    assert resolved.r == (600, 200, 100) + (0,) * 9
    assert resolved.tokens == (2352, 1752, 1552) + (1452,) * 10
    assert resolved.requested == (600, 200, 100)
    assert resolved.clamps == ()
    assert not resolved.is_plain
    assert resolved.text == "600,200,100"
    assert resolved.describe() == "r = 600,200,100: 2352 -> 1452 tokens over 12 layers"


def test_ratios_count_the_tokens_that_the_layer_gets_and_are_truncated():
    resolved = resolve_schedule("0.3,0.3,0.3", num_tokens=50, num_layers=3)
    assert resolved.r == (15, 10, 7)  # of 50, 35 and 25: 15, 10.5, 7.5
    assert resolved.tokens == (50, 35, 25, 18)


def test_protected_tokens_count_in_the_total_but_not_in_ratios_and_halves():
    resolved = resolve_schedule([0.5, 100], num_tokens=11, num_layers=2, num_protected=1)
    assert resolved.r == (5, 2)
    assert resolved.tokens == (11, 6, 4)
    assert resolved.clamps == ("layer 1: r = 100 clamped to 2, half of 5 tokens",)


def test_a_clamp_is_said():
    resolved = resolve_schedule("50,0,0.9", num_tokens=21, num_layers=4)
    assert resolved.r == (10, 0, 5, 0)
    assert resolved.tokens == (21, 11, 11, 6, 6)
    assert resolved.clamps == (
        "layer 0: r = 50 clamped to 10, half of 21 tokens",
        "layer 2: r = 0.9 clamped to 5, half of 11 tokens",
    )
    assert resolved.describe() == (
        "r = 10,0,5: 21 -> 6 tokens over 4 layers; layer 0: r = 50 clamped to 10, half of 21 tokens; "
        "layer 2: r = 0.9 clamped to 5, half of 11 tokens"
    )


@pytest.mark.parametrize("written", [None, "none", "0,0", [0] * 4])
def test_no_merging_is_plain(written):
    resolved = resolve_schedule(written, num_tokens=8, num_layers=4)
    assert resolved.is_plain
    assert resolved.r == (0, 0, 0, 0)
    assert resolved.tokens == (8,) * 5
    assert resolved.text == "none"
    assert resolved.describe() == "no merging, 8 tokens in all 4 layers"


def test_a_resolved_schedule_can_be_resolved_for_another_model():
    small = resolve_schedule("50,4", num_tokens=20, num_layers=2)
    large = resolve_schedule(small, num_tokens=200, num_layers=3)
    assert isinstance(small, ResolvedSchedule)
    assert small.r == (10, 4)
    assert large.r == (50, 4, 0)


@pytest.mark.parametrize(
    ("r", "num_tokens", "expected"),
    [
        (0, 10, (0, None)),
        (5, 10, (5, None)),
        (6, 10, (5, 5)),
        (0.5, 11, (5, None)),
        (0.51, 11, (5, None)),
        (0.6, 10, (5, 5)),
        (1, 1, (0, 0)),
        (0.29, 100, (28, None)),
    ],
)
def test_one_entry_is_resolved_with_its_limit(r, num_tokens, expected):
    # 0.29 * 100 is 28.999999999999996 in floating point: truncated as the original truncates it.
    assert resolve_r(r, num_tokens) == expected


@pytest.mark.parametrize(("entries", "text"), [((), "none"), ((0, 0), "none"), ((0, 5, 0), "0,5"), ((0.5, 3), "0.5,3")])
def test_a_written_schedule_is_read_back(entries, text):
    assert format_schedule(entries) == text
    assert parse_schedule(text) == parse_schedule(text if text != "none" else None)
    assert parse_schedule(text) == entries[: len(parse_schedule(text))]


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("600;200", "entries are numbers; got '600;200' in '600;200'"),
        ("600,,200", "entries are numbers; got '' in '600,,200'"),
        ("all", "entries are numbers; got 'all' in 'all'"),
        ("60x", "entries are numbers; got '60x' in '60x'"),
        ("60x-2", "entries are numbers; got '60x-2' in '60x-2'"),
        (["a"], "entries are numbers; got 'a' in ['a']"),
        ([True], "entries are numbers; got True in [True]"),
        ([None, 3], "entries are numbers; got None in [None, 3]"),
        ("-5", "an entry is a whole number from 0 on, or a ratio above 0 and below 1; got -5.0 in '-5'"),
        ("1.5", "an entry is a whole number from 0 on, or a ratio above 0 and below 1; got 1.5 in '1.5'"),
        (-0.5, "an entry is a whole number from 0 on, or a ratio above 0 and below 1; got -0.5 in -0.5"),
        ([float("inf")], "an entry is a whole number from 0 on, or a ratio above 0 and below 1; got inf in [inf]"),
        ([float("nan")], "an entry is a whole number from 0 on, or a ratio above 0 and below 1; got nan in [nan]"),
    ],
)
def test_a_wrong_entry_is_named(written, fault):
    with pytest.raises(ValueError) as error:
        parse_schedule(written)
    assert str(error.value) == f"{fault}; {FORMS}."


@pytest.mark.parametrize(("written", "shown"), [(True, "True"), (object(), "an object")])
def test_another_type_is_refused(written, shown):
    with pytest.raises(TypeError) as error:
        parse_schedule(written)
    assert str(error.value) == f"a schedule is a text, numbers or None; got {shown}; {FORMS}."


def test_more_entries_than_layers_are_refused():
    with pytest.raises(ValueError) as error:
        resolve_schedule("5x4", num_tokens=100, num_layers=3)
    assert str(error.value) == ("at most 3 entries for 3 layers; got 4 (5,5,5,5); leave out the entries past layer 2.")


def test_what_a_layer_can_lose_depends_on_the_method():
    sizes = {"num_tokens": 21, "num_layers": 3, "num_protected": 1}
    merging, pruning = (resolve_schedule("15,0,0.9", **sizes, method=name) for name in ("tome", "evit"))
    assert (merging.r, pruning.r) == ((10, 0, 5), (15, 0, 4))
    assert merging.clamps[0] == "layer 0: r = 15 clamped to 10, half of 20 tokens"
    assert pruning.clamps == ()
    assert resolve_schedule("50", **sizes, method="evit").clamps == (
        "layer 0: r = 50 clamped to 19, all but one of 20 tokens",
    )
    assert pruning.describe() == "evit; r = 15,0,4: 21 -> 2 tokens over 3 layers"
    assert (pruning.title, resolve_schedule(None, **sizes, method="evit").title) == ("15,0,4 by evit", "none")
    assert resolve_schedule("15", **sizes).title == "10"


def test_an_early_method_takes_out_at_once_what_the_layers_would_have_lost():
    sizes = {"num_tokens": 41, "num_layers": 3, "num_protected": 1, "num_first": 10}
    resolved = resolve_schedule("0.25,0.5,3", **sizes, method="rlt")  # 10, then 15 of 30, then 3
    assert (resolved.r, resolved.tokens) == ((28, 0, 0), (41, 13, 13, 13))
    assert resolved.attended == (13, 13, 13)
    assert resolved.describe() == "rlt; r = 28: 41 -> 13 tokens before 3 layers"
    with pytest.raises(ValueError, match="a moment earlier; got one of one moment"):
        resolve_schedule("1", **{**sizes, "num_first": 40}, method="rlt")


def test_a_resolved_schedule_brings_its_method():
    first = resolve_schedule("5", num_tokens=20, num_layers=2, method="tome")
    assert resolve_schedule(first, num_tokens=40, num_layers=2).method.name == "tome"
    assert resolve_schedule(first, num_tokens=40, num_layers=2, method="evit").method.name == "evit"
    assert resolve_schedule(first, num_tokens=20, num_layers=2).attended == (20, 15)
