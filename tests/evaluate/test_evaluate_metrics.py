"""Figures worked out by hand."""

from __future__ import annotations

import math

import pytest

from hwosim_assets.evaluate.metrics import (
    Counts,
    area_under_severity,
    corruption_error,
    half_score_severity,
    mean_defined,
    mean_under_corruption,
    relative_corruption_error,
    wilson,
)

GRID = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_precision_recall_and_f1() -> None:
    counts = Counts(6, 2, 4) + Counts(0, 0, 0, 3)
    assert (counts.recall, counts.precision, counts.blended) == (0.75, 0.6, 3)
    assert counts.f1 == pytest.approx(2 * 0.75 * 0.6 / 1.35)
    assert Counts(0, 3, 0).f1 == 0
    assert math.isnan(Counts(0, 3, 0).precision)
    assert math.isnan(Counts(0, 0, 5).f1)


def test_wilson_is_wilson_s() -> None:
    # (p + z2/2n +- z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n) with z = 1.959964
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert wilson(0, 10)[1] == pytest.approx(0.277533, abs=1e-6)
    assert all(math.isnan(bound) for bound in wilson(0, 0))


def test_area_is_the_mean_by_trapezia() -> None:
    assert area_under_severity(GRID, [0.8] * 6) == pytest.approx(1.0)
    assert area_under_severity(GRID, [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]) == pytest.approx(0.5)
    assert area_under_severity([0.0, 5.0], [0.5, 0.25]) == pytest.approx(0.75)
    assert math.isnan(area_under_severity(GRID[:-1], [1.0] * 5))
    assert math.isnan(area_under_severity(GRID, [0.0] * 6))
    assert math.isnan(area_under_severity(GRID, [math.nan, *[1.0] * 5]))


def test_half_of_the_score_is_interpolated() -> None:
    assert half_score_severity(GRID, [0.8, 0.8, 0.8, 0.6, 0.2, 0.0]) == pytest.approx(3.5)
    assert half_score_severity(GRID, [0.8, 0.8, 0.4, 0.8, 0.1, 0.1]) == pytest.approx(2.0)
    assert half_score_severity(GRID, [0.8] * 6) == math.inf
    assert math.isnan(half_score_severity(GRID, [0.0] * 6))
    assert math.isnan(half_score_severity(GRID, [0.8, math.nan, 0.1, 0.1, 0.1, 0.1]))


def test_corruption_errors_leave_out_severity_0() -> None:
    model, reference = [0.9, 0.7, 0.5], [1.0, 0.9, 0.8]
    assert corruption_error(GRID[:3], model, reference) == pytest.approx(0.8 / 0.3)
    assert relative_corruption_error(GRID[:3], model, reference) == pytest.approx(0.6 / 0.3)
    assert mean_under_corruption(GRID[:3], model) == pytest.approx(0.6)
    assert math.isnan(corruption_error(GRID[:3], model, [1.0] * 3))
    assert math.isnan(relative_corruption_error(GRID[:3], model, [0.5] * 3))


def test_a_severity_without_a_score_is_left_out_on_both_sides() -> None:
    assert corruption_error(GRID[:3], [math.nan, math.nan, 0.5], [math.nan, 0.1, 0.75]) == pytest.approx(2.0)
    assert mean_under_corruption(GRID[:3], [math.nan, math.nan, 0.5]) == 0.5
    assert mean_defined([1.0, math.nan, 2.0]) == 1.5
    assert math.isnan(mean_defined([]))
