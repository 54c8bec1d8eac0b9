"""Up-the-ramp reads: what the detector delivers, and the slopes that are fitted to them.

Holds: the pixels' fixed pattern, the Poisson process with read noise that makes the reads, the slope
fit with JWST's variances. Formulas: JWST pipeline documentation, "ramp fitting"; weights after
Fixsen et al. 2000 (PASP 112, 1350). Keep out calibration (:mod:`.calibration`).

No cosmic rays, non-linearity, persistence or correlated noise are simulated: the sample is the clean
input that scenarios make worse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .draws import Floats, generator
from .exposure import Exposure

__all__ = ["DO_NOT_USE", "Pattern", "Slopes", "average", "expose", "fit", "fixed_pattern"]

DO_NOT_USE, SATURATED, NON_SCIENCE, DEAD, HOT = 1, 2, 512, 1024, 2048
REFERENCE_PIXEL = 2147483648

#: Shares of dead and hot pixels, the dark current of a hot one over the usual, the scatter of the
#: bias (DN) and of the flat, and the flat field's own error.
_DEAD_SHARE, _HOT_SHARE, _HOT_FACTOR = 0.002, 0.002, 2000.0
_BIAS_SCATTER, _FLAT_SCATTER, FLAT_ERROR = 180.0, 0.01, 0.003
#: kTC noise of the reset, electrons.
_RESET_NOISE = 37.0
#: The exponent of the weights above each signal-to-noise ratio (Fixsen et al. 2000, table 1).
_WEIGHT_POWERS = ((0.0, 0.0), (5.0, 0.4), (10.0, 1.0), (20.0, 3.0), (50.0, 6.0), (100.0, 10.0))


@dataclass(frozen=True)
class Pattern:
    """What belongs to the pixels of a subarray and not to an exposure.

    Attributes
    ----------
    bias : ndarray of float64
        Level after reset, DN (the superbias reference).
    dark : ndarray of float64
        Electrons per second (the dark reference).
    flat : ndarray of float64
        Relative response, as the flat reference gives it.
    response : ndarray of float64
        Relative response, as it truly is: the flat with its error.
    dq : ndarray of uint32
        Static flags.
    """

    bias: Floats
    dark: Floats
    flat: Floats
    response: Floats
    dq: NDArray[np.uint32]


def fixed_pattern(seed: int, exposure: Exposure) -> Pattern:
    """Return the pixels' pattern: the same for every exposure of a detector's subarray."""
    shape, detector = exposure.shape, exposure.detector
    draw = generator(seed, "pixels", detector.name, exposure.readout.subarray)
    bias = np.round(detector.bias + _BIAS_SCATTER * draw.standard_normal(shape))
    flat = 1.0 + _FLAT_SCATTER * draw.standard_normal(shape)
    response = flat * (1.0 + FLAT_ERROR * draw.standard_normal(shape))
    chance = draw.random(shape)
    dq = np.zeros(shape, dtype=np.uint32)
    dq[chance < _DEAD_SHARE] |= DEAD | DO_NOT_USE
    hot = chance > 1.0 - _HOT_SHARE
    dq[hot] |= HOT
    dark = np.full(shape, detector.dark)
    dark[hot] *= _HOT_FACTOR
    response[chance < _DEAD_SHARE] = 0.0
    reference = _reference_pixels(exposure)
    dq[reference] = np.uint32(REFERENCE_PIXEL | DO_NOT_USE)
    response[reference], dark[reference], flat[reference] = 0.0, 0.0, 1.0
    return Pattern(bias, dark, flat, response, dq)


def _reference_pixels(exposure: Exposure) -> NDArray[np.bool_]:
    """Return where the subarray covers pixels that see no light."""
    (first_x, first_y), (width, height) = exposure.readout.start, exposure.readout.size
    full_x, full_y = exposure.detector.size
    left, right, bottom, top = exposure.detector.border
    x, y = np.arange(first_x, first_x + width), np.arange(first_y, first_y + height)
    columns = (x <= left) | (x > full_x - right)
    rows = (y <= bottom) | (y > full_y - top)
    return np.asarray(rows[:, None] | columns[None, :])


def expose(seed: int, exposure: Exposure, pattern: Pattern, rate: Callable[[int], Floats]) -> NDArray[np.uint16]:
    """Return the reads of an exposure.

    Parameters
    ----------
    seed : int
        Root seed.
    exposure : Exposure
        What is exposed.
    pattern : Pattern
        The pixels.
    rate : callable
        The scene's count rate in an integration (counted from 0), electrons per second and pixel.

    Returns
    -------
    ndarray of uint16, shape (integrations, groups, rows, columns)
        DN.
    """
    detector = exposure.detector
    reads = np.empty((exposure.nints, exposure.ngroups, *exposure.shape), dtype=np.uint16)
    for integration in range(exposure.nints):
        draw = generator(seed, "reads", exposure.stem, integration)
        expected = (rate(integration) * pattern.response + pattern.dark) * exposure.group_time
        level = pattern.bias * detector.gain + _RESET_NOISE * draw.standard_normal(exposure.shape)
        for group in range(exposure.ngroups):
            level += draw.poisson(expected)
            read = (level + detector.read_noise * draw.standard_normal(exposure.shape)) / detector.gain
            reads[integration, group] = np.clip(np.round(read), 0, 65535).astype(np.uint16)
    return reads


@dataclass(frozen=True)
class Slopes:
    """Fitted count rates with what they are worth, DN/s.

    Attributes
    ----------
    sci, var_poisson, var_rnoise : ndarray of float64
        Shape (integrations, rows, columns) or (rows, columns); NaN where invalid; variances (DN/s)².
    dq : ndarray of uint32
        Same shape.
    """

    sci: Floats
    var_poisson: Floats
    var_rnoise: Floats
    dq: NDArray[np.uint32]


def _weight_table(ngroups: int) -> Floats:
    """Return, for each weight class, the coefficients that turn reads into a slope per group time."""
    middle = (ngroups - 1) / 2.0
    offsets = [group - middle for group in range(ngroups)]
    table = []
    for _, power in _WEIGHT_POWERS:
        weights = [abs(offset / middle) ** power if offset else float(power == 0.0) for offset in offsets]
        moment = sum(weight * offset**2 for weight, offset in zip(weights, offsets, strict=True))
        table.append([round(weight * offset / moment, 14) for weight, offset in zip(weights, offsets, strict=True)])
    return np.array(table)


def fit(exposure: Exposure, pattern: Pattern, reads: NDArray[np.uint16]) -> Slopes:
    """Fit a slope to every ramp, after superbias and dark subtraction.

    ``VAR_RNOISE = 12 s² / ((n³ - n) t² g²)`` with s the noise of one read (the pipeline's R, the noise
    of a difference of two reads, is s√2 and is divided by √2 before use) and
    ``VAR_POISSON = (slope + dark) / (t g (n - 1))``, its slope the mean over the integrations.

    Parameters
    ----------
    exposure : Exposure
        Times and gain; at least two groups.
    pattern : Pattern
        Bias, dark and static flags.
    reads : ndarray of uint16, shape (integrations, groups, rows, columns)
        DN.

    Returns
    -------
    Slopes
        One plane per integration.
    """
    detector, n, step = exposure.detector, exposure.ngroups, exposure.group_time
    table = _weight_table(n)
    edges = np.array([edge for edge, _ in _WEIGHT_POWERS[1:]])
    dark = pattern.dark / detector.gain
    sci = np.empty((exposure.nints, *exposure.shape))
    dq = np.repeat(pattern.dq[None], exposure.nints, axis=0)
    for integration, ramp in enumerate(reads):
        signal = (ramp[-1].astype(np.float64) - ramp[0]) * detector.gain
        signal = np.maximum(signal, 0.0)
        snr = signal / np.sqrt(detector.read_noise**2 + signal)
        chosen = np.digitize(snr, edges)
        slope = np.zeros(exposure.shape)
        for group in range(n):
            slope += table[chosen, group] * (ramp[group] - pattern.bias)
        sci[integration] = slope / step - dark
        dq[integration][(ramp == 65535).any(axis=0)] |= SATURATED | DO_NOT_USE
    mean = sci[0].copy()
    for plane in sci[1:]:
        mean += plane
    mean /= exposure.nints
    poisson = (np.maximum(mean, 0.0) + dark) / (step * detector.gain * (n - 1))
    read = 12.0 * detector.read_noise**2 / ((n**3 - n) * step**2 * detector.gain**2)
    var_poisson = np.repeat(poisson[None], exposure.nints, axis=0)
    var_rnoise = np.full_like(sci, read)
    bad = (dq & DO_NOT_USE) != 0
    for plane in (sci, var_poisson, var_rnoise):
        plane[bad] = np.nan
    return Slopes(sci, var_poisson, var_rnoise, dq)


def average(slopes: Slopes) -> Slopes:
    """Average the integrations of an exposure; their variances are equal, so the weights are too."""
    count = len(slopes.sci)
    sci, dq = slopes.sci[0].copy(), slopes.dq[0].copy()
    for plane, flags in zip(slopes.sci[1:], slopes.dq[1:], strict=True):
        sci += plane
        dq |= flags
    return Slopes(sci / count, slopes.var_poisson[0] / count, slopes.var_rnoise[0] / count, dq)
