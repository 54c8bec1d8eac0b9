"""Logarithm, exponential and powers that are the same on every processor.

Holds: elementwise functions of float64 arrays made of +, -, x, /, comparisons and exact scalings by powers of two.
numpy's own differ in the last digit between processors and versions. Keep out random numbers (``perturb.rng``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwosim_assets.perturb import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["exp", "log", "power"]

#: ln 2 in two parts; the product of the first and a whole number below 2^20 has no rounding (Cody and Waite).
_LN2_HIGH, _LN2_LOW = 0.69314718036912381649, 1.90821492927058770002e-10
_ROOT_HALF = 0.70710678118654752440


def log(values: Floats) -> Floats:
    """Return the natural logarithm of positive numbers, good to 1e-15 of its size or of 1.

    Parameters
    ----------
    values : float64 array
        Positive and finite.
    """
    values = np.asarray(values, np.float64)
    if compiled.on():
        from hwosim_assets.perturb.compiled import exact

        flat = np.ascontiguousarray(values).reshape(-1)
        room, out = np.empty_like(flat), np.empty_like(flat)
        if exact.log(flat.view(np.int64), room, room.view(np.int64), out):
            return out.reshape(values.shape)
    mantissa, exponent = np.frexp(values)
    small = mantissa < _ROOT_HALF
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    whole = (exponent - small).astype(np.float64)
    part = (mantissa - 1.0) / (mantissa + 1.0)
    square = part * part
    total = np.full_like(part, 1.0 / 23.0)
    for odd in range(21, 0, -2):
        total = total * square + 1.0 / odd
    return np.asarray(whole * _LN2_HIGH + (2.0 * part * total + whole * _LN2_LOW))


def exp(values: Floats) -> Floats:
    """Return e to the power of numbers, good to a part in 1e15; 0 below -700.

    Parameters
    ----------
    values : float64 array
        Up to 700.
    """
    values = np.asarray(values, np.float64)
    if compiled.on():
        from hwosim_assets.perturb.compiled import exact

        flat = np.ascontiguousarray(values).reshape(-1)
        power_of_two, out = np.empty_like(flat), np.empty_like(flat)
        if exact.exp(flat, power_of_two, power_of_two.view(np.int64), out):
            return out.reshape(values.shape)
    bounded = np.maximum(values, -700.0)
    steps = np.floor(bounded * (1.0 / (_LN2_HIGH + _LN2_LOW)) + 0.5)
    rest = (bounded - steps * _LN2_HIGH) - steps * _LN2_LOW
    total = np.ones_like(rest)
    for order in range(14, 0, -1):
        total = 1.0 + total * rest / order
    return np.asarray(np.where(values < -700.0, 0.0, np.ldexp(total, steps.astype(np.int32))))


def power(values: Floats, exponent: float) -> Floats:
    """Return positive numbers to a power."""
    return exp(exponent * log(values))
