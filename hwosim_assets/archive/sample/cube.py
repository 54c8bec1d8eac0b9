"""A spectral cube of the medium-resolution spectrograph.

Holds: the scene (a star with emission lines on a smooth nebula), the cube with its noise, the s3d
layout. The cube is simulated at the level of the resampled product: each voxel has independent noise
of the size its ERR says. Keep out detector reads; an IFU's detector image is not simulated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from . import headers
from .draws import Floats, generator, steady
from .exposure import Exposure
from .headers import Card
from .products import Product, image_hdu
from .ramps import DO_NOT_USE, NON_SCIENCE
from .sky import Wcs

__all__ = ["SCENE", "Cube", "s3d", "simulate"]

_SIDE, _PLANES = 24, 64
#: Channel 1 short: first wavelength and step between planes, µm. The step is coarser than the
#: instrument's, so that few planes cover the band.
_FIRST, _STEP = 4.90, 0.013
#: Lines: wavelength µm, peak MJy/sr, full width µm (hydrogen S(8), iron [Fe II]).
_LINES = ((5.053, 420.0, 0.020), (5.340, 650.0, 0.022))
_STAR, _NEBULA = 5200.0, 90.0
#: Noise of a voxel: a floor and the Poisson noise of a signal of 1 MJy/sr, MJy/sr.
_FLOOR, _SHOT = 6.0, 1.1
#: What the truth says of the scene: fluxes in MJy/sr, wavelengths in µm.
SCENE = {
    "star_peak_mjy_per_sr": _STAR,
    "nebula_peak_mjy_per_sr": _NEBULA,
    "lines": [{"wavelength_um": centre, "peak_mjy_per_sr": peak, "fwhm_um": width} for centre, peak, width in _LINES],
    "noise_mjy_per_sr": {"floor": _FLOOR, "poisson_of_1_mjy_per_sr": _SHOT},
}


@dataclass(frozen=True)
class Cube:
    """A cube, MJy/sr; arrays of shape (wavelength, rows, columns); NaN outside the field of view."""

    expected: Floats
    sci: Floats
    err: Floats
    dq: NDArray[np.uint32]
    wmap: Floats
    wcs: Wcs
    wavelength: Floats


def simulate(seed: int, exposure: Exposure) -> Cube:
    """Return the cube of an exposure.

    Parameters
    ----------
    seed : int
        Root seed.
    exposure : Exposure
        Where the spectrograph points; scale and roll are its detector's.
    """
    wavelength = np.asarray(_FIRST + _STEP * np.arange(_PLANES), dtype=np.float64)
    y, x = np.mgrid[0:_SIDE, 0:_SIDE] - (_SIDE - 1) / 2.0
    radius2 = x * x + y * y
    width = (1.6 * wavelength / _FIRST)[:, None, None]
    star = _STAR * np.exp(-0.5 * radius2 / width**2) / width**2
    nebula = _NEBULA * np.exp(-0.5 * (radius2 + 0.8 * x * y) / 49.0)
    lines = np.zeros(_PLANES)
    for centre, peak, full_width in _LINES:
        lines += peak * np.exp(-0.5 * ((wavelength - centre) / (full_width / 2.355)) ** 2)
    expected = steady(
        star * (_FIRST / wavelength[:, None, None]) ** 2 + nebula * (1.0 + lines[:, None, None] / _NEBULA)
    )
    err = np.sqrt(_FLOOR**2 + _SHOT**2 * expected)
    sci = expected + err * generator(seed, "cube", exposure.stem).standard_normal(expected.shape)
    outside = np.broadcast_to(np.abs(x + 0.15 * y) > 0.46 * _SIDE, expected.shape)
    wmap = np.where(outside, 0.0, np.where(np.abs(y) > 0.4 * _SIDE, 2.0, 4.0))
    dq = np.where(outside, DO_NOT_USE | NON_SCIENCE, 0).astype(np.uint32)
    sci[outside], err[outside] = np.nan, np.nan
    wcs = replace(exposure.wcs, crpix=((_SIDE + 1) / 2, (_SIDE + 1) / 2))
    return Cube(expected, sci, err, dq, wmap, wcs, wavelength)


def s3d(exposure: Exposure, cube: Cube) -> Product:
    """Return the cube as a stage-3 product: SCI, ERR, DQ, WMAP."""
    cards = headers.science_cards(exposure, "MJy/sr", wcs=cube.wcs, size=(_SIDE, _SIDE))
    replaced: dict[str, Card] = {
        "WCSAXES": ("WCSAXES", 3, "Number of WCS axes"),
        "PHOTMJSR": ("PHOTMJSR", 1.0, "The cube is in MJy/sr"),
        "PHOTUJA2": ("PHOTUJA2", 23.50443054, "uJy/arcsec2 for 1 MJy/sr"),
    }
    spectral: list[Card] = [
        ("CRPIX3", 1.0, "Reference plane"),
        ("CRVAL3", _FIRST, "[um] Wavelength at the reference plane"),
        ("CTYPE3", "WAVE", "Axis 3"),
        ("CUNIT3", "um", "Unit, axis 3"),
        ("CDELT3", _STEP, "Increment, axis 3"),
        *((f"PC{i}_{j}", float(i == j), "Linear transformation") for i, j in ((1, 3), (2, 3), (3, 1), (3, 2), (3, 3))),
        ("SPECSYS", "BARYCENT", "Frame of the wavelengths"),
    ]
    cards = [("SRCTYPE", "EXTENDED", "Source type used"), *(replaced.get(card[0], card) for card in cards), *spectral]
    error: list[Card] = [("BUNIT", "MJy/sr", "Unit of the pixels"), ("ERRTYPE", "ERR", "Type of the errors")]
    extensions = (
        image_hdu("SCI", cube.sci, cards),
        image_hdu("ERR", cube.err, error),
        image_hdu("DQ", cube.dq),
        image_hdu("WMAP", cube.wmap),
    )
    return Product(f"{exposure.combined_stem}_s3d.fits", "s3d", "IFUCubeModel", exposure, extensions)
