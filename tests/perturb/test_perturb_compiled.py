"""Compiled loops make the bits that numpy makes.

Holds: the pixels of every effect with the loops forced on, and without numba; and each loop of the draws and effects
against the numpy code beside which it stands. Keep out the loops of the convolution and of loading and storing, which
have tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from unittest.mock import patch

import numpy as np
import pytest
from golden import GOLDEN, made
from hypothesis import given, settings
from hypothesis import strategies as st

from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.rng import TILE, Stream

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="numba (extra fast) is not installed")

#: What a process does first to use the loops on products of any size.
FORCED = """
import atexit, os, sys
from hwosim_assets.perturb import compiled
compiled.LEAST_PIXELS = 0
atexit.register(lambda: sys.modules.get("numba") or os._exit(3))
"""
HIDDEN = """
import sys
sys.modules["numba"] = None
from hwosim_assets.perturb import compiled
compiled.LEAST_PIXELS = 0
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_every_effect_makes_the_same_bits_with_the_loops(threads: int) -> None:
    assert made(threads, "", before=FORCED) == GOLDEN


def test_every_effect_works_where_numba_is_not_installed() -> None:
    assert made(1, "", before=HIDDEN) == GOLDEN


def both(make: Callable[[], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return what numpy makes and what the loops make."""
    with patch.object(compiled, "_wanted", False):
        plain = make()
    with patch.object(compiled, "_wanted", True):
        return plain, make()


def same_bits(plain: np.ndarray, looped: np.ndarray) -> bool:
    return plain.dtype == looped.dtype and plain.shape == looped.shape and plain.tobytes() == looped.tobytes()


# --------------------------------------------------------------------- draws

STARTS = st.integers(0, 4 * TILE) | st.sampled_from([TILE - 1, TILE, 3 * TILE - 17, (1 << 40) + 5])
COUNTS = st.integers(0, 3 * TILE // 2) | st.integers(0, 40)
SUBS = st.integers(0, 1 << 40)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), STARTS, COUNTS, SUBS)
def test_normal_deviates(plane: int, start: int, count: int, sub: int) -> None:
    stream = Stream(plane, "read_noise", "", "x", "SCI")
    assert same_bits(*both(lambda: stream.normal(plane, start, count, sub)))


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 500) | st.sampled_from([0.0, 1e-9, 0.1, 30.0, 500.0]), STARTS, COUNTS, SUBS)
def test_poisson_counts_of_one_mean(mean: float, start: int, count: int, sub: int) -> None:
    stream = Stream(1, "background", "", "x", "SCI")
    assert same_bits(*both(lambda: stream.poisson(mean, 5, start, count, sub)))


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1) | st.sampled_from([0.0, 1e-9, 2.0**-16, 0.5, 1.0]), STARTS, COUNTS, SUBS)
def test_pixels_that_a_probability_chooses(probability: float, start: int, count: int, sub: int) -> None:
    stream = Stream(1, "missing_values", "", "x", "SCI")
    assert same_bits(*both(lambda: stream.below(probability, 5, start, count, sub)))


def test_words_of_both_ends_are_among_those_drawn() -> None:
    plain, looped = both(lambda: Stream(1, "read_noise", "", "x", "SCI").normal(0, 0, 1 << 20))
    assert same_bits(plain, looped)
    assert np.count_nonzero(np.abs(plain) > 3.5) > 300
    assert plain.min() < -3.5
    assert plain.max() > 3.5
