"""From count rates to surface brightness or flux, and images put together.

Holds: flat field and photometric calibration with JWST's error rules, and the combination of dithered
images. Keep out how the slopes came about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .draws import Floats
from .exposure import Exposure
from .ramps import FLAT_ERROR, Pattern, Slopes
from .sky import Wcs

__all__ = ["Calibrated", "Mosaic", "area_map", "calibrate", "combine", "photmjsr", "pixel_solid_angle"]

#: Steradians in a square arcsecond.
_ARCSEC2 = (math.pi / 648000.0) ** 2


@dataclass(frozen=True)
class Calibrated:
    """Calibrated planes, all of one shape; variances in the square of the unit, NaN where invalid."""

    sci: Floats
    var_poisson: Floats
    var_rnoise: Floats
    var_flat: Floats
    dq: NDArray[np.uint32]

    @property
    def err(self) -> Floats:
        """The square root of the three variances' sum."""
        return np.sqrt(self.var_poisson + self.var_rnoise + self.var_flat)


def pixel_solid_angle(exposure: Exposure) -> float:
    """Return the solid angle of a pixel, sr (``PIXAR_SR``)."""
    return float(f"{exposure.detector.scale**2 * _ARCSEC2:.10g}")


def photmjsr(exposure: Exposure) -> float:
    """Return the surface brightness, MJy/sr, that gives 1 DN/s (``PHOTMJSR``)."""
    electrons = exposure.optics.rate_per_jansky * 1e6 * pixel_solid_angle(exposure)
    return float(f"{exposure.detector.gain / electrons:.10g}")


def calibrate(slopes: Slopes, pattern: Pattern, factor: float | Floats) -> Calibrated:
    """Divide by the flat, multiply by the photometric factor.

    Parameters
    ----------
    slopes : Slopes
        Count rates, one plane or many.
    pattern : Pattern
        The flat; its relative error is the same for all pixels.
    factor : float or ndarray
        Unit per DN/s, broadcast against the planes.
    """
    scale = factor / pattern.flat
    sci = slopes.sci * scale
    return Calibrated(
        sci=sci,
        var_poisson=slopes.var_poisson * scale * scale,
        var_rnoise=slopes.var_rnoise * scale * scale,
        var_flat=(sci * FLAT_ERROR) ** 2,
        dq=slopes.dq,
    )


def area_map(shape: tuple[int, int]) -> Floats:
    """Return AREA: the size of each pixel over the nominal one, a gentle slope across the array."""
    rows, columns = shape
    return 1.0 + 2e-6 * (np.arange(rows)[:, None] - rows / 2) + 3e-6 * (np.arange(columns)[None, :] - columns / 2)


@dataclass(frozen=True)
class Mosaic:
    """A combined image: planes as :class:`Calibrated`, weights, which input went where, and the WCS."""

    planes: Calibrated
    weight: Floats
    context: NDArray[np.int32]
    wcs: Wcs


def combine(exposures: list[Exposure], images: list[Calibrated]) -> Mosaic:
    """Put dithered images together, weighted by the inverse of VAR_RNOISE.

    The dithers are whole pixels, so nothing is interpolated and the noise of the result stays
    independent from pixel to pixel. Pixels that no input covers are NaN with weight 0, and so is the
    rim of one pixel that a resampled image has.

    Parameters
    ----------
    exposures : list of Exposure
        One detector, one band; at most 32.
    images : list of Calibrated
        Their calibrated planes.
    """
    xs, ys = zip(*(exposure.dither for exposure in exposures), strict=True)
    rows, columns = exposures[0].shape
    shape = (rows + max(ys) - min(ys) + 2, columns + max(xs) - min(xs) + 2)
    total = {name: np.zeros(shape) for name in ("weight", "sci", "var_poisson", "var_rnoise", "var_flat")}
    context = np.zeros((1, *shape), dtype=np.int32)
    for number, (exposure, image) in enumerate(zip(exposures, images, strict=True)):
        x, y = 1 + max(xs) - exposure.dither[0], 1 + max(ys) - exposure.dither[1]
        place = (slice(y, y + rows), slice(x, x + columns))
        good = np.isfinite(image.sci)
        weight = np.where(good, 1.0 / image.var_rnoise, 0.0)
        total["weight"][place] += weight
        total["sci"][place] += np.where(good, weight * image.sci, 0.0)
        for name in ("var_poisson", "var_rnoise", "var_flat"):
            total[name][place] += np.where(good, weight * weight * getattr(image, name), 0.0)
        context[0][place] |= np.where(good, 1 << number, 0).astype(np.int32)
    covered = total["weight"] > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        sci = np.where(covered, total["sci"] / total["weight"], np.nan)
        variances = [
            np.where(covered, total[name] / total["weight"] ** 2, np.nan)
            for name in ("var_poisson", "var_rnoise", "var_flat")
        ]
    first = exposures[0]
    wcs = replace(
        first.wcs,
        crpix=(
            first.wcs.crpix[0] + 1 + max(xs) - first.dither[0],
            first.wcs.crpix[1] + 1 + max(ys) - first.dither[1],
        ),
    )
    planes = Calibrated(sci, variances[0], variances[1], variances[2], np.zeros(shape, dtype=np.uint32))
    return Mosaic(planes, total["weight"], context, wcs)
