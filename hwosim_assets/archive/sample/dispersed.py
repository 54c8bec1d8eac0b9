"""Spectra on a detector: dispersion, trace, and their extraction.

Holds: the wavelength of each pixel along the dispersion, the count-rate image of a star's spectrum,
the flux calibration and the box extraction with background and aperture correction. Keep out the
layout of the files. Arrays here are (cross-dispersion, dispersion); :meth:`Trace.extract` turns
detector planes into that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .calibration import Calibrated, pixel_solid_angle
from .draws import Floats, steady
from .exposure import Exposure
from .ramps import DO_NOT_USE
from .setups import COLLECTING_AREA, PLANCK

__all__ = ["Spectrum", "Star", "Trace"]

Pixel = TypeVar("Pixel", bound=np.generic)

#: Second radiation constant h c / k, µm K (CODATA).
_C2 = 14387.768775
#: Half the height of the extraction box, and where the background starts, pixels.
_BOX, _BACKGROUND = 3, 5
#: Diameter of the telescope, m; blur of detector and optics, pixels.
_DIAMETER, _BLUR = 6.5, 0.6
#: Points per pixel across the trace.
_FINE = 9


@dataclass(frozen=True)
class Star:
    """A star: flux density at 2 µm, Jy, and temperature, K."""

    flux: float
    temperature: float

    def flux_at(self, wavelength: Floats) -> Floats:
        """Return the flux density, Jy, at wavelengths in µm: a black body."""
        x = _C2 / (wavelength * self.temperature)
        x0 = _C2 / (2.0 * self.temperature)
        return self.flux * steady((2.0 / wavelength) ** 3 * math.expm1(x0) / np.expm1(x))


@dataclass(frozen=True)
class Spectrum:
    """An extracted spectrum; every array has one value per pixel of the dispersion, NaN where invalid.

    Flux in Jy, background in MJy/sr, their variances (Poisson, read noise, flat) in the squares.
    """

    wavelength: Floats
    flux: Floats
    flux_variances: tuple[Floats, Floats, Floats]
    background: Floats
    background_variances: tuple[Floats, Floats, Floats]
    dq: NDArray[np.uint32]
    pixels: int
    solid_angle: float


class Trace:
    """Where a spectrograph puts a spectrum.

    Parameters
    ----------
    exposure : Exposure
        The detector decides: NIRSpec's prism disperses along rows, MIRI's along columns.
    """

    def __init__(self, exposure: Exposure) -> None:
        self.exposure = exposure
        self.axis = 1 if exposure.detector.instrument == "NIRSPEC" else 2
        height, width = exposure.shape
        length, across = (width, height) if self.axis == 1 else (height, width)
        self.first = 40 if self.axis == 1 else 14
        self.last = length - self.first
        position = (np.arange(self.last - self.first) + 0.5) / (self.last - self.first)
        optics = exposure.optics
        bend = 0.45 if self.axis == 1 else 0.25
        shortest = optics.pivot - optics.width / 2
        #: Wavelength of each pixel of the spectrum, µm.
        self.wavelength: Floats = shortest + optics.width * ((1.0 + bend) * position - bend * position * position)
        #: Middle of the trace across the dispersion, 0-indexed pixels.
        self.centre = (across - 1) / 2 - 0.2
        self._across = across
        self._profile = self._cross_profile()

    def _cross_profile(self) -> Floats:
        """Return the share of the light in each pixel across, shape (across, dispersion)."""
        pixel = math.radians(self.exposure.detector.scale / 3600.0)
        sigma = np.sqrt((0.42 * self.wavelength * 1e-6 / _DIAMETER / pixel) ** 2 + _BLUR**2)
        inside = (np.arange(_FINE) - (_FINE - 1) / 2) / _FINE
        offset = np.arange(self._across)[:, None] + inside[None, :] - self.centre
        density = np.exp(-0.5 * (offset[:, :, None] / sigma) ** 2) / (sigma * math.sqrt(2.0 * math.pi))
        return steady(density.mean(axis=1))

    @property
    def electrons_per_jansky(self) -> Floats:
        """Electrons per second in each pixel along the dispersion for 1 Jy."""
        step = np.abs(np.gradient(self.wavelength))
        throughput = self.exposure.optics.throughput
        return steady(1e-26 * COLLECTING_AREA * throughput * step / self.wavelength / PLANCK)

    @property
    def factor(self) -> Floats:
        """MJy per DN/s along the dispersion."""
        return self.exposure.detector.gain / (1e6 * self.electrons_per_jansky)

    @property
    def background_rate(self) -> float:
        """Sky and telescope, electrons per second and pixel, averaged along the dispersion."""
        per_pixel = self.exposure.optics.background * 1e6 * pixel_solid_angle(self.exposure)
        return float(f"{per_pixel * float(np.median(self.electrons_per_jansky)):.8g}")

    def image(self, flux: Floats) -> Floats:
        """Return the count rate, electrons per second, of a spectrum in Jy on the detector's pixels."""
        height, width = self.exposure.shape
        image = np.zeros((height, width) if self.axis == 1 else (width, height))
        image[:, self.first : self.last] = self._profile * (flux * self.electrons_per_jansky)
        image += self.background_rate
        return image if self.axis == 1 else np.ascontiguousarray(image.T)

    def brightest_that_fits(self) -> Star:
        """Return a star whose spectrum reaches half of full well at its brightest pixel."""
        star = Star(1.0, 5500.0)
        peak = float(self.image(star.flux_at(self.wavelength)).max())
        electrons = 0.5 * self.exposure.detector.well / self.exposure.integration_time
        return Star(float(f"{electrons / peak:.6g}"), 5500.0)

    def cut(self, plane: NDArray[Pixel]) -> NDArray[Pixel]:
        """Return the part of detector planes that the spectrum covers, in the detector's orientation."""
        if self.axis == 1:
            return plane[..., :, self.first : self.last]
        return plane[..., self.first : self.last, :]

    def wavelength_map(self) -> Floats:
        """Return the wavelength, µm, of each pixel of a cut plane."""
        lines = np.repeat(self.wavelength[None, :], self._across, axis=0)
        return lines if self.axis == 1 else lines.T

    def spread(self, values: Floats) -> Floats:
        """Return values along the dispersion, shaped to be broadcast against cut planes."""
        return values[None, :] if self.axis == 1 else values[:, None]

    def box(self) -> tuple[int, int]:
        """Return the first row across and the one after the last of the extraction box."""
        middle = round(self.centre)
        return middle - _BOX, middle + _BOX + 1

    def extract(self, planes: Calibrated) -> Spectrum:
        """Sum a box around the trace, take the background off, correct for the light beside the box.

        Parameters
        ----------
        planes : Calibrated
            Cut planes of one integration, MJy per pixel.
        """
        low, high = self.box()
        rows = np.arange(self._across)
        beside = [int(row) for row in rows if abs(row - self.centre) >= _BACKGROUND]
        upright = [
            self._upright(plane) for plane in (planes.sci, planes.var_poisson, planes.var_rnoise, planes.var_flat)
        ]
        within = self._profile[low].copy()
        for row in range(low + 1, high):
            within += self._profile[row]
        box = [_add(plane, list(range(low, high))) for plane in upright]
        seen = _add(np.isfinite(upright[0]).astype(np.float64), beside)
        sky = _add(np.nan_to_num(upright[0]), beside) / seen
        sky_variances = [_add(np.nan_to_num(plane), beside) / seen**2 for plane in upright[1:]]
        count = high - low
        flux = (box[0] - count * sky) * 1e6 / within
        variances = [
            (part + count**2 * of_sky) * 1e12 / within**2 for part, of_sky in zip(box[1:], sky_variances, strict=True)
        ]
        angle = pixel_solid_angle(self.exposure)
        return Spectrum(
            wavelength=self.wavelength,
            flux=flux,
            flux_variances=(variances[0], variances[1], variances[2]),
            background=sky / angle,
            background_variances=(
                sky_variances[0] / angle**2, sky_variances[1] / angle**2, sky_variances[2] / angle**2,
            ),
            dq=np.where(np.isfinite(flux), 0, DO_NOT_USE).astype(np.uint32),
            pixels=count,
            solid_angle=angle,
        )  # fmt: skip

    def _upright(self, plane: Floats) -> Floats:
        return plane if self.axis == 1 else plane.T


def _add(plane: Floats, rows: list[int]) -> Floats:
    """Add rows one after the other: the order of the additions is fixed, so the bits are."""
    total: Floats = plane[rows[0]].copy()
    for row in rows[1:]:
        total += plane[row]
    return total
