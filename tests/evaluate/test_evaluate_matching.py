"""Matching by hand: who belongs to whom, and who is wrong."""

from __future__ import annotations

import numpy as np

from hwosim_assets.evaluate.matching import match, match_pixels
from hwosim_assets.evaluate.metrics import Counts


def test_as_many_as_can_be_are_matched_and_not_the_nearest_first() -> None:
    # The one found at 1.0 is nearest to the injected at 1.2, which would leave the injected at 0 alone.
    matched = match([(0.0,), (1.2,)], [1.5, 1.5], [(1.0,), (2.6,)], [], 1.5)
    assert matched.pairs == ((0, 0), (1, 1))
    assert matched.counts == Counts(2, 0, 0, 0)


def test_of_many_ways_the_nearest_is_taken() -> None:
    assert match([(0.0, 0.0), (3.0, 0.0)], [9, 9], [(2.9, 0.0), (0.1, 0.0)], [], 9).pairs == ((0, 1), (1, 0))


def test_one_is_used_once() -> None:
    matched = match([(5.0, 5.0)], [2.0], [(5.0, 5.5), (5.0, 5.1), (5.0, 4.0)], [], 2.0)
    assert matched.pairs == ((0, 1),)
    assert matched.wrong == (0, 2)


def test_what_is_too_far_is_missed_and_wrong() -> None:
    matched = match([(5.0, 5.0)], [2.0], [(5.0, 7.01)], [], 2.0)
    assert (matched.pairs, matched.missed, matched.wrong) == ((), (0,), (0,))
    assert match([(5.0, 5.0)], [2.0], [(5.0, 7.0)], [], 2.0).counts == Counts(1, 0, 0, 0)


def test_what_stood_there_counts_neither_way() -> None:
    matched = match([(5.0, 5.0), (20.0, 20.0)], [2.0, 2.0], [(5.0, 6.0), (40.0, 40.0)], [(4.0, 5.0), (40.0, 41.0)], 2.0)
    assert (matched.pairs, matched.missed, matched.blended, matched.wrong) == ((), (1,), (0,), ())


def test_what_is_found_near_a_blended_one_counts_neither_way() -> None:
    assert match([(5.0,)], [2.0], [(6.5,)], [(4.0,)], 2.0).counts == Counts(0, 0, 0, 1)
    assert match([(5.0,)], [2.0], [(7.5,)], [(4.0,)], 2.0).counts == Counts(0, 0, 1, 1)


def test_nothing_found_and_nothing_there() -> None:
    assert match([], [], [], [], 2.0).counts == Counts()
    assert match([(1.0,)], [1.0], [], [], 1.0).counts == Counts(0, 1, 0, 0)
    assert match([], [], [(1.0,), (2.0,)], [(2.5,)], 1.0).wrong == (0,)


def test_each_injected_has_its_own_radius() -> None:
    assert match([(0.0,), (10.0,)], [1.0, 3.0], [(2.0,), (12.0,)], [], 1.0).pairs == ((1, 1),)


def test_a_hundred_thousand_found_ones_take_no_time_and_little_memory() -> None:
    found = [(float(place), 0.0) for place in range(100_000)]
    counts = match([(50.2, 0.0), (777.0, 0.0)], [2.0, 2.0], found, [], 2.0).counts
    assert counts == Counts(2, 0, 99_998, 0)


def test_pixels() -> None:
    truth = np.array([True, True, False, False, True, False])
    doubtful = np.array([False, False, False, False, True, True])
    found = np.array([True, False, True, False, True, True])
    assert match_pixels(truth, doubtful, found) == Counts(1, 1, 1, 1)
