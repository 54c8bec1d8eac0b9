"""From sources to electrons per second: the point-spread function of the segmented primary.

Holds: the pupil, its Fraunhofer image at any sub-pixel position, and the count-rate image of a star
field. Keep out noise (:mod:`.ramps`) and spectra (:mod:`.dispersed`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .draws import Floats, generator, steady
from .exposure import Exposure

__all__ = ["Source", "brightest_that_fits", "field_image", "scatter_sources"]

#: Flat-to-flat width of a mirror segment and the pitch of the segments, m.
_SEGMENT, _PITCH = 1.32, 1.325
#: Half the side of the square that holds the pupil, m.
_PUPIL_EDGE = 3.4
#: Half a stamp's side, pixels; light further out is lost from the image.
_STAMP = 32
#: Points per pixel and axis.
_FINE = 3
#: Share of full well that the brightest pixel may reach at the end of a ramp.
_FILL = 0.5


@dataclass(frozen=True)
class Source:
    """A star: position in deg ICRS, flux density at 2 µm in Jy, slope of log flux over log wavelength."""

    number: int
    ra: float
    dec: float
    flux: float
    slope: float

    def flux_at(self, wavelength: float) -> float:
        """Return the flux density, Jy, at a wavelength in µm."""
        return float(f"{self.flux * math.pow(wavelength / 2.0, self.slope):.12g}")


def _pupil(step: float) -> tuple[Floats, Floats]:
    """Return the coordinates (m) and the mask of eighteen hexagonal segments on a square grid."""
    count = math.ceil(_PUPIL_EDGE / step)
    axis = np.asarray(np.arange(-count, count + 1) * step, dtype=np.float64)
    x, y = np.meshgrid(axis, axis)
    mask = np.zeros_like(x)
    for i in range(-2, 3):
        for j in range(-2, 3):
            if (i, j) == (0, 0) or abs(i + j) > 2:
                continue
            dx, dy = np.abs(x - _PITCH * (i + 0.5 * j)), np.abs(y - _PITCH * math.sqrt(0.75) * j)
            inside = (dx <= _SEGMENT / 2) & (0.5 * dx + math.sqrt(0.75) * dy <= _SEGMENT / 2)
            mask[inside] = 1.0
    return axis, mask


class _PointSpread:
    """The monochromatic image of a point at the band's pivot wavelength."""

    def __init__(self, wavelength: float, scale: float) -> None:
        metres = wavelength * 1e-6
        pixel = math.radians(scale / 3600.0)
        span = (2 * _STAMP + 2) * pixel
        step = min(0.12, metres / span)
        self._axis, self._mask = _pupil(step)
        self._phase = 2.0 * math.pi * pixel / metres
        periods = metres / (step * pixel / _FINE)
        self._total = periods**2 * float(self._mask.sum())

    def stamp(self, dx: float, dy: float) -> Floats:
        """Return the share of the light in each pixel around a point at (dx, dy) from the middle pixel."""
        pixels = np.arange(-_STAMP, _STAMP + 1)
        inside = (np.arange(_FINE) - (_FINE - 1) / 2) / _FINE
        fine = (pixels[:, None] + inside[None, :]).ravel()
        # The pupil is symmetric about both axes, so the sines cancel and the field is real.
        across = np.cos(self._phase * np.outer(self._axis, fine - dx))
        up = np.cos(self._phase * np.outer(fine - dy, self._axis))
        field = up @ self._mask @ across
        energy = field * field / self._total
        side = pixels.size
        return np.asarray(energy.reshape(side, _FINE, side, _FINE).sum(axis=(1, 3)))


def field_image(exposure: Exposure, sources: list[Source]) -> Floats:
    """Return the stars' count rate, electrons per second and pixel, without background.

    Parameters
    ----------
    exposure : Exposure
        Detector, band and pointing.
    sources : list of Source
        The stars; those off the array contribute the wings that reach it.

    Returns
    -------
    ndarray of float64, shape (rows, columns)
    """
    height, width = exposure.shape
    image = np.zeros((height, width))
    point = _PointSpread(exposure.optics.pivot, exposure.detector.scale)
    for source in sources:
        x, y = exposure.wcs.pixel(source.ra, source.dec)
        column, row = round(x) - 1, round(y) - 1
        low_x, high_x = max(0, column - _STAMP), min(width, column + _STAMP + 1)
        low_y, high_y = max(0, row - _STAMP), min(height, row + _STAMP + 1)
        if low_x >= high_x or low_y >= high_y:
            continue
        stamp = point.stamp(round(x - 1 - column, 9), round(y - 1 - row, 9))
        part = stamp[low_y - row + _STAMP : high_y - row + _STAMP, low_x - column + _STAMP : high_x - column + _STAMP]
        rate = source.flux_at(exposure.optics.pivot) * exposure.optics.rate_per_jansky
        image[low_y:high_y, low_x:high_x] += steady(part) * rate
    return image


def brightest_that_fits(exposure: Exposure) -> float:
    """Return the flux density, Jy at the band, of a star that half fills the well of its central pixel."""
    peak = float(_PointSpread(exposure.optics.pivot, exposure.detector.scale).stamp(0.0, 0.0).max())
    electrons = _FILL * exposure.detector.well / exposure.integration_time
    return electrons / (peak * exposure.optics.rate_per_jansky)


def scatter_sources(seed: int, exposures: list[Exposure], count: int) -> list[Source]:
    """Return a star field: the target in the middle, the others uniform over the widest exposure.

    Parameters
    ----------
    seed : int
        Root seed.
    exposures : list of Exposure
        All exposures that will see the field; none of them saturates on its brightest star.
    count : int
        Number of stars.
    """
    widest = max(exposures, key=lambda exposure: exposure.detector.scale * max(exposure.readout.size))
    limits = [(exposure.optics.pivot / 2.0, brightest_that_fits(exposure)) for exposure in exposures]
    draws = generator(seed, "stars", widest.program, widest.observation).random((count, 4))
    width, height = widest.readout.size
    sources = []
    for number, (across, up, faint, red) in enumerate(draws.tolist(), start=1):
        slope = -2.0 if number == 1 else round(-2.0 + red, 3)
        brightest = min(limit / math.pow(ratio, slope) for ratio, limit in limits)
        share = 0.9 if number == 1 else 0.6 * math.pow(10.0, -2.5 * faint)
        ra, dec = widest.wcs.sky(1 + across * (width - 1), 1 + up * (height - 1))
        if number == 1:
            ra, dec = widest.target.ra, widest.target.dec
        sources.append(Source(number, round(ra, 10), round(dec, 10), float(f"{share * brightest:.6g}"), slope))
    return sources
