"""Shapes of signals in time, wavelength and on the sky, as pure functions of numbers.

Holds: light curves, a Gaussian, a PSF stamp. Elementwise they use basic arithmetic, square roots and values
rounded to twelve digits, which are the same on every processor. Keep out noise, and where a signal goes.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from hwosim_assets.perturb.parameters import rounded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["box", "flare_curve", "gaussian", "limb_darkened", "stamp", "trapezoid"]

_SIGMA = 1 / math.sqrt(8 * math.log(2))
_DISC = 41


def _each(values: Floats, function: object) -> Floats:
    return np.array([rounded(function(value)) for value in values.reshape(-1).tolist()]).reshape(values.shape)  # type: ignore[operator]


def box(phase: Floats) -> Floats:
    """Return 1 within half a duration of the middle, else 0; ``phase`` is in durations."""
    return (np.abs(phase) <= 0.5).astype(np.float64)


def trapezoid(phase: Floats, ingress: float) -> Floats:
    """Return a trapezoid of height 1 and length 1 at its foot, whose sides take ``ingress`` each."""
    return np.clip((0.5 - np.abs(phase)) / ingress, 0.0, 1.0)


def limb_darkened(phase: Floats, depth: float, impact: float, u1: float, u2: float) -> Floats:
    """Return the share of a star's light that a planet hides.

    The star's brightness 1 - u1 (1 - mu) - u2 (1 - mu)^2 is summed over a grid of 41 points across the planet;
    ``depth`` is (Rp/Rs)^2, ``phase`` is in durations from first to fourth contact.
    """
    radius = math.sqrt(depth)
    half = math.sqrt(max((1 + radius) ** 2 - impact**2, 0.0))
    steps = (2 * np.arange(_DISC) + 1.0 - _DISC) / _DISC
    y, x = (axis.reshape(-1) for axis in np.meshgrid(steps, steps, indexing="ij"))
    inside = x * x + y * y <= 1
    x, y = x[inside] * radius, y[inside] * radius
    out = np.zeros(phase.shape)
    for place in np.flatnonzero(np.abs(phase) < 0.5):
        square = (x + 2 * half * phase[place]) ** 2 + (y + impact) ** 2
        dim = 1 - np.sqrt(np.maximum(1 - square[square < 1], 0.0))
        light = math.fsum((1 - dim * (u1 + u2 * dim)).tolist())
        out[place] = rounded(depth * light / x.size / (1 - u1 / 3 - u2 / 6))
    return out


def flare_curve(times: Floats, peak: float, rise: float, decay: float) -> Floats:
    """Return a linear rise to 1 at ``peak`` and an exponential decay after it, all in one unit of time."""
    return _each(
        times - peak,
        lambda since: max(1 + since / rise, 0.0) if since < 0 else math.exp(-min(since / decay, 700.0)),
    )


def gaussian(distance: Floats) -> Floats:
    """Return a Gaussian of height 1 and full width 1 at half maximum, 0 beyond 3 widths (1e-11)."""
    square = distance * distance
    out = np.zeros(distance.shape)
    near = square < 9.0
    out[near] = _each(square[near], lambda value: math.exp(-value / (2 * _SIGMA**2)))
    return out


def stamp(frame: tuple[int, ...], y: float, x: float, fwhm: float) -> tuple[NDArray[np.int64], Floats]:
    """Return a Gaussian PSF integrated over pixels.

    Parameters
    ----------
    frame : tuple of int
        Shape (rows, columns).
    y, x : float
        Centre; pixel centres are whole numbers.
    fwhm : float
        Full width at half maximum, pixels.

    Returns
    -------
    int64 array
        Flat places, ascending, within 3 widths of the centre.
    float64 array
        Share of the light in each.
    """
    scale = 1 / (fwhm * _SIGMA * math.sqrt(2))
    parts, ranges = [], []
    for centre, length in ((y, frame[0]), (x, frame[1])):
        low = max(0, math.floor(centre - 3 * fwhm))
        pixels = range(low, max(low, min(length, math.ceil(centre + 3 * fwhm) + 1)))
        edges = [math.erf((pixel - 0.5 - centre) * scale) / 2 for pixel in [*pixels, pixels.stop]]
        parts.append(np.array([rounded(high - low) for low, high in itertools.pairwise(edges)]))
        ranges.append(np.array(pixels, np.int64))
    shares = (parts[0][:, None] * parts[1][None, :]).reshape(-1)
    places = (ranges[0][:, None] * frame[1] + ranges[1][None, :]).reshape(-1)
    return places, shares
