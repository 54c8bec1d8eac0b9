"""The loops of loading and storing: what numpy looks through several times, looked through once.

Holds: reading a variance, whether the sum of the variances is known where ERR is, and ERR from the variances, all over
flat arrays of one floating type. Keep out which planes are given to them (``perturb.transfer``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from hwosim_assets.perturb.compiled.loop import loop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

__all__ = ["read_valid", "read_words", "root_of_change", "root_of_sum", "summed"]

_0, _8, _24, _SECOND_BYTE, _THIRD_BYTE, _INFINITE, _MINUS_0 = (
    np.uint32(number) for number in (0, 8, 24, 0xFF00, 0xFF0000, 0x7F800000, 0x80000000)
)


@njit(inline="always")
def _turned(word: Any) -> Any:
    """Return a word with its bytes the other way round; numba makes 64 bits of two words of 32."""
    return np.uint32((word >> _24) | (word >> _8 & _SECOND_BYTE) | (word << _8 & _THIRD_BYTE) | (word << _24))


@loop()
def read_words(stored: Any, out: Any, flipped: Any) -> None:
    """Write big-endian words as native ones, with some bits flipped; all are uint32 arrays of one length."""
    for i in range(out.size):
        out[i] = np.uint32(_turned(stored[i]) ^ flipped)


@loop()
def read_valid(stored: Any, variance: Any, valid: Any) -> bool:
    """Read a variance, and write it once more with 0 for NaN, infinities and negative numbers.

    The bits of a float tell what it is: those of numbers from 0 on lie below infinity's.

    Parameters
    ----------
    stored : uint32 array, (pixels,)
        The bytes of big-endian floats.
    variance, valid : uint32 array, (pixels,)
        The bits of floats.

    Returns
    -------
    bool
        Whether both are the same, but for the sign of 0.
    """
    unlike = _0
    for i in range(stored.size):
        bits = _turned(stored[i])
        variance[i] = bits
        good = bits < _INFINITE
        valid[i] = bits if good else _0
        unlike |= np.uint32(not (good | (bits == _MINUS_0)))
    return bool(unlike == _0)


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
def root_of_change(err: Floats, change: Floats) -> None:
    """Set ERR to the root of its square and what came to it, where that is a number."""
    zero = err.dtype.type(0)
    for i in range(err.size):
        square = err[i] * err[i] + change[i]
        square = zero if square < zero else square
        err[i] = np.sqrt(square) if square >= zero else err[i]


@loop()
def root_of_sum(err: Floats, poisson: Floats, read: Floats, flat: Floats | None) -> None:
    """Set ERR to the root of the sum of the variances, where both are finite numbers."""
    zero = err.dtype.type(0)
    for i in range(err.size):
        total = poisson[i] + read[i]
        if flat is not None:
            total += flat[i]
        root = np.sqrt(total)
        err[i] = root if (root - root == zero) & (err[i] - err[i] == zero) else err[i]
