"""The order in which pixels are looked at for the noise budget is the stable one, whatever the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hwosim_assets.perturb.budget import _order

SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False)
TIED = st.sampled_from([-2.5, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, 3e38])


@pytest.mark.parametrize("numbers", [SINGLE, TIED, SINGLE | TIED, st.floats(allow_nan=False, allow_infinity=False)])
@given(st.data())
def test_order_of_numbers_is_the_stable_one(numbers: st.SearchStrategy[float], data: st.DataObject) -> None:
    values: Any = data.draw(arrays(np.float64, st.integers(0, 60), elements=numbers))
    np.testing.assert_array_equal(_order(values), np.argsort(values, kind="stable"))
