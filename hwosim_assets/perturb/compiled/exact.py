"""The loops of logarithm and exponential: the steps of numpy's in one pass, so that nothing is stored between them.

Holds: what :mod:`hwosim_assets.perturb.exact` says, over flat float64 arrays and their bits. Keep out numbers below the
normal ones, whose exponent stands elsewhere.

The terms of the series are written out, for a loop within a loop is not compiled to vectors; the constants stand here
once more, for what numba keeps is made anew only when a file of this package changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwosim_assets.perturb.compiled.loop import loop

__all__ = ["exp", "log"]

_LN2_HIGH, _LN2_LOW = 0.69314718036912381649, 1.90821492927058770002e-10
_ROOT_HALF = 0.70710678118654752440
_PER_LN2 = 1.0 / (_LN2_HIGH + _LN2_LOW)
_BITS, _HALF, _FRACTION = np.int64(52), np.int64(1022 << 52), np.int64((1 << 52) - 1)


@loop(error_model="numpy")  # which asks of no division whether it is one by 0
def log(bits: Any, mantissa: Any, mantissa_bits: Any, out: Any) -> bool:
    """Write the logarithm of positive normal numbers, given as their bits; return whether all were that.

    ``mantissa`` and ``mantissa_bits`` are one array to work in, and ``out`` another.
    """
    odd = 0
    for i in range(bits.size):
        exponent = bits[i] >> _BITS
        odd |= (exponent <= 0) | (exponent >= 2047)
        mantissa_bits[i] = bits[i] & _FRACTION | _HALF
        out[i] = exponent - 1022
    for i in range(out.size):
        part, whole = mantissa[i], out[i]
        small = part < _ROOT_HALF
        part = part * 2.0 if small else part
        whole = whole - 1.0 if small else whole
        part = (part - 1.0) / (part + 1.0)
        square = part * part
        total = 1.0 / 23.0 * square + 1.0 / 21.0
        total = total * square + 1.0 / 19.0
        total = total * square + 1.0 / 17.0
        total = total * square + 1.0 / 15.0
        total = total * square + 1.0 / 13.0
        total = total * square + 1.0 / 11.0
        total = total * square + 1.0 / 9.0
        total = total * square + 1.0 / 7.0
        total = total * square + 1.0 / 5.0
        total = total * square + 1.0 / 3.0
        total = total * square + 1.0
        out[i] = whole * _LN2_HIGH + (2.0 * part * total + whole * _LN2_LOW)
    return odd == 0


@loop()
def exp(values: Any, power: Any, power_bits: Any, out: Any) -> bool:
    """Write e to the power of numbers up to 700; return whether all were that; see :func:`log`."""
    odd = 0
    for i in range(values.size):
        odd |= not values[i] <= 700.0
        steps = np.floor(max(values[i], -700.0) * _PER_LN2 + 0.5)
        power_bits[i] = (np.int64(steps) + 1023) << _BITS
    for i in range(values.size):
        bounded = max(values[i], -700.0)
        steps = np.floor(bounded * _PER_LN2 + 0.5)
        rest = (bounded - steps * _LN2_HIGH) - steps * _LN2_LOW
        total = 1.0 + rest / 14.0
        total = 1.0 + total * rest / 13.0
        total = 1.0 + total * rest / 12.0
        total = 1.0 + total * rest / 11.0
        total = 1.0 + total * rest / 10.0
        total = 1.0 + total * rest / 9.0
        total = 1.0 + total * rest / 8.0
        total = 1.0 + total * rest / 7.0
        total = 1.0 + total * rest / 6.0
        total = 1.0 + total * rest / 5.0
        total = 1.0 + total * rest / 4.0
        total = 1.0 + total * rest / 3.0
        total = 1.0 + total * rest / 2.0
        total = 1.0 + total * rest / 1.0
        out[i] = 0.0 if values[i] < -700.0 else total * power[i]
    return odd == 0
