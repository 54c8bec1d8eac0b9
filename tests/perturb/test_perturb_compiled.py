"""Compiled loops make the bits that numpy makes.

Holds: the pixels of every effect with the loops forced on, and without numba; and each loop of the draws and effects
against the numpy code beside which it stands. Keep out the loops of the convolution and of loading and storing, which
have tests of their own.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from golden import GOLDEN, made

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="numba (extra fast) is not installed")

#: What a process does first to use the loops on products of any size.
FORCED = "from hwosim_assets.perturb import compiled\ncompiled.LEAST_PIXELS = 0\n"
HIDDEN = "import sys\nsys.modules['numba'] = None\n"


@pytest.mark.parametrize("threads", [1, 2])
def test_every_effect_makes_the_same_bits_with_the_loops(threads: int) -> None:
    assert made(threads, "", before=FORCED) == GOLDEN


def test_every_effect_works_where_numba_is_not_installed() -> None:
    assert made(1, "", before=HIDDEN + FORCED) == GOLDEN
