"""Exponents are slopes in log-log; long runs come less often."""

import pytest

from benchmarks.scaling import Point, fit_exponents, list_points, plan_runs


def test_the_smallest_size_belongs_to_both_axes():
    assert list_points([8, 16], [1, 4]) == [Point("both", 8, 1), Point("tokens", 16, 1), Point("batch", 8, 4)]


def test_long_runs_come_less_often_but_never_more_often_than_asked():
    assert plan_runs(100.0, 7) == (7, 1)
    assert plan_runs(1000.0, 7) == (3, 1)
    assert plan_runs(5000.0, 7) == (2, 0)
    assert plan_runs(1000.0, 1) == (1, 1)


def test_a_power_law_gets_its_exponent():
    def make_row(axis, form, tokens, batch):
        times = dict.fromkeys(("median_seconds", "median_cpu_seconds"), 0.3 * tokens**1.5 * batch)
        return {"axis": axis, "form": form, "tokens": tokens, "batch": batch, "gmacs": tokens**2 * batch} | times

    sizes = [("both", 100, 1), ("tokens", 200, 1), ("tokens", 400, 1), ("batch", 100, 4)]
    fits = fit_exponents([make_row(axis, form, n, b) for axis, n, b in sizes for form in ("plain", "merged")])
    assert [(fit["axis"], fit["form"], fit["points"]) for fit in fits] == [
        ("tokens", "plain", 3), ("tokens", "merged", 3), ("batch", "plain", 2), ("batch", "merged", 2),
    ]  # fmt: skip
    assert [fit["median_seconds"] for fit in fits] == pytest.approx([1.5, 1.5, 1, 1])
    assert [fit["gmacs"] for fit in fits] == pytest.approx([2, 2, 1, 1])
