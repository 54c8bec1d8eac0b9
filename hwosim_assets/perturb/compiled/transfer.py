"""The loops of loading and storing: what numpy looks through several times, looked through once.

Holds: whether the sum of the variances is known where ERR is, a variance without what is none, and ERR from the
variances, all over flat arrays of one floating type. Keep out which planes are given to them (``perturb.transfer``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.compiled.loop import loop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

__all__ = ["clean", "root_of_change", "root_of_sum", "summed"]


@loop()
def summed(err: Floats, poisson: Floats, read: Floats, flat: Floats | None) -> bool:
    """Return whether ERR is finite nowhere but where the sum of the variances is."""
    zero = err.dtype.type(0)
    lacking = 0
    for i in range(err.size):
        total = poisson[i] + read[i]
        if flat is not None:
            total += flat[i]
        # What is infinite or no number leaves no number of itself.
        lacking |= (err[i] - err[i] == zero) & (total - total != zero)
    return lacking == 0


@loop()
def clean(variance: Floats, cleaned: Floats) -> bool:
    """Write a variance with 0 for NaN, infinities and negative numbers; return whether it had none."""
    zero = variance.dtype.type(0)
    unclean = 0
    for i in range(variance.size):
        value = variance[i]
        good = (value >= zero) & (value - value == zero)
        unclean |= not good
        cleaned[i] = value if good & (value > zero) else zero  # 0 has no sign
    return unclean == 0


@loop()
def root_of_change(err: Floats, change: Floats) -> None:
    """Set ERR to the root of its square and what came to it, where that is a number."""
    zero = err.dtype.type(0)
    for i in range(err.size):
        square = err[i] * err[i] + change[i]
        square = zero if square < zero else square
        err[i] = np.sqrt(square) if square >= zero else err[i]


@loop()
def root_of_sum(err: Floats, poisson: Floats, read: Floats, flat: Floats | None) -> None:
    """Set ERR to the root of the sum of the variances, where that is a finite number."""
    zero = err.dtype.type(0)
    for i in range(err.size):
        total = poisson[i] + read[i]
        if flat is not None:
            total += flat[i]
        root = np.sqrt(total)
        err[i] = root if root - root == zero else err[i]
