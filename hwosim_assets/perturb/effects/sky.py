"""Where a pixel lies on the sky, after the celestial WCS of a product's header.

Holds: :class:`Sky`, astropy's WCS of one measurement, :func:`offset` along a position angle, and the target that a
header names. Keep out what is put there (``places``, ``sources``), and the gwcs of the ASDF extension, which this does
not read.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.blocks import card_value
from hwosim_assets.perturb.parameters import rounded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

    Floats = NDArray[np.float64]

__all__ = ["Sky", "Target", "offset", "sky_of", "target_of"]

#: Cards of axes beyond the second: of a cube's wavelengths, whose table lies in another HDU.
_FURTHER = re.compile(
    r"C(?:TYPE|UNIT|RVAL|RPIX|DELT|ROTA|NAME)[3-9]|(?:PC|CD)(?:[3-9]_\d|\d_[3-9])|P[SV][3-9]_\d+|WCSAXES"
)
#: What exposures of the detector are called that a prism, a grating or a grism disperses; in a header the sky of such a
#: one is that of its slit or of the undispersed image.
_DISPERSED = re.compile(
    r"MIR_(\w*MRS.*|LRS-.*|WFSS)|N(RC|IS)_WFSS|NIS_SOSS|NRC_(TS)?GRISM|"
    r"NRS_(?!(IMAGE|CONFIRM|FOCUS|MIMF|TACONFIRM|TACQ|TASLIT|WATA|MSATA|BOTA)$).*"
)
#: Types of an axis of wavelengths (FITS WCS paper III), as the third of cubes and of the pixels that cubes are made of.
_SPECTRAL = ("WAVE", "FREQ", "ENER", "WAVN", "VRAD", "VOPT", "ZOPT", "AWAV", "VELO", "BETA")
_ORDERS = ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER")
#: The highest that the SIP convention has; coefficients take memory by its square.
_HIGHEST_ORDER = 9
#: Distortions are turned round to this many pixels.
_CLOSE = 1e-8
_MAS_PER_DEGREE = 3.6e6
#: What headers say of a target that has no name.
_NAMELESS = ("", "UNKNOWN")


@dataclass(frozen=True)
class Target:
    """The target of an exposure: what its random places belong to, and its coordinates (degrees)."""

    owner: str
    ra: float
    dec: float


class Sky:
    """The places on the sky of the pixels of a frame.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Of two celestial axes.
    frame : tuple of int
        Rows and columns.
    """

    def __init__(self, wcs: Any, frame: tuple[int, ...]) -> None:
        self._wcs = wcs
        self._frame = frame

    @property
    def pixel_mas(self) -> float:
        """Side of a pixel at the reference point, milliarcseconds: the root of its area."""
        from astropy.wcs.utils import proj_plane_pixel_area

        return rounded(math.sqrt(float(proj_plane_pixel_area(self._wcs))) * _MAS_PER_DEGREE)

    def world(self, y: float, x: float) -> tuple[float, float]:
        """Return right ascension (0 to 360) and declination of a place in pixels from 0, degrees."""
        ra, dec = (float(value) for value in self._wcs.all_pix2world(x, y, 0))
        return rounded(ra % 360.0), rounded(dec)

    def pixels(self, ra: Floats | float, dec: Floats | float) -> tuple[Floats, Floats]:
        """Return the pixels (y, x), from 0, of places on the sky (degrees).

        Returns
        -------
        y, x : float64 array
            To a millionth of a pixel, the same on every processor. Further than its own size from the frame no
            distortion is known, and places are those without it; NaN where the projection shows none.
        """
        world = np.broadcast_arrays(np.atleast_1d(ra), np.atleast_1d(dec))
        with np.errstate(invalid="ignore"):
            flat = np.array(self._wcs.wcs_world2pix(*world, 0))
            near = np.ones(flat.shape[1], bool)
            for place, length in zip(flat, self._frame[::-1], strict=True):
                near &= (place > -length) & (place < 2 * length)
            if self._wcs.sip is not None and near.any():
                seen = [part[near] for part in world]
                exact = np.array(self._wcs.all_world2pix(*seen, 0, tolerance=_CLOSE, maxiter=50, quiet=True))
                again = np.array(self._wcs.wcs_world2pix(*self._wcs.all_pix2world(*exact, 0), 0))
                met = np.abs(again - flat[:, near]).max(axis=0) < 1e-3
                flat[:, near] = np.where(met, exact, np.nan)
        x, y = np.round(flat, 6)
        return y, x

    def pixel(self, ra: float, dec: float) -> tuple[float, float]:
        """Return the pixel (y, x) of one place, as :meth:`pixels` does."""
        y, x = self.pixels(ra, dec)
        return float(y[0]), float(x[0])


def sky_of(product: Product, measurement: Measurement) -> Sky | None:
    """Return the sky of a measurement's frames; ``None`` where its header has no celestial WCS in ra and dec.

    So it is with spectra and all that is dispersed on a detector, whose sky only the gwcs in the ASDF extension tells.
    """
    header = product.scan.blocks[measurement.sci.hdu].header
    axes = [str(card_value(header, name) or "") for name in ("CTYPE1", "CTYPE2")]
    if not (axes[0].startswith("RA-") and axes[1].startswith("DEC-")) or _is_dispersed(product, measurement, header):
        return None
    orders = [card_value(header, name) for name in _ORDERS]
    if any(isinstance(order, int | float) and not order <= _HIGHEST_ORDER for order in orders):
        return None
    from astropy.io import fits
    from astropy.wcs import WCS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cards = fits.Header([card for card in header.cards if not _FURTHER.fullmatch(card.keyword)])
            for name in ("CTYPE1", "CTYPE2") if "A_ORDER" in cards else ():
                # astropy takes a distortion without its name too, and says so at length in standard output.
                cards[name] = f"{str(cards[name]).strip().removesuffix('-SIP')}-SIP"
            wcs = WCS(cards, naxis=2)
            wcs.wcs.set()
            centre = wcs.all_pix2world(measurement.frame[1] / 2, measurement.frame[0] / 2, 0)
            sky = Sky(wcs, measurement.frame)
            known = wcs.has_celestial and np.isfinite(centre).all() and 0 < sky.pixel_mas < math.inf
    except (ValueError, TypeError, KeyError, MemoryError, fits.VerifyError):  # of a damaged header
        return None
    return sky if known else None


def _is_dispersed(product: Product, measurement: Measurement, header: Any) -> bool:
    """Return whether its pixels are those of a detector behind a spectrograph."""
    if measurement.resampled:
        return False
    third = str(card_value(header, "CTYPE3") or "").upper()
    return third.startswith(_SPECTRAL) or bool(_DISPERSED.fullmatch(str(product.keyword("EXP_TYPE") or "").strip()))


def target_of(product: Product) -> Target | None:
    """Return the target, or ``None`` where no coordinates are told; 0, 0 stands where nobody filled them in.

    It is called by TARGNAME, else TARGPROP, else its coordinates, so that all exposures of it draw the same.
    """
    ra, dec = product.number("TARG_RA"), product.number("TARG_DEC")
    if ra is None or dec is None or not abs(dec) <= 90 or ra == dec == 0:
        return None
    names = (str(product.keyword(name) or "").strip() for name in ("TARGNAME", "TARGPROP"))
    name = next((name for name in names if name.upper() not in _NAMELESS), f"{ra:.4f} {dec:+.4f}")
    return Target(f"target {name}", ra % 360.0, dec)


def offset(ra: float, dec: float, angle: float, mas: Floats | float) -> tuple[Floats, Floats]:
    """Return the places at distances along a position angle, on a great circle.

    Parameters
    ----------
    ra, dec, angle : float
        Where from, and the position angle there, east of north; degrees.
    mas : float64 array or float
        Distances, milliarcseconds; below zero the other way.

    Returns
    -------
    ra, dec : float64 array
        Degrees.
    """
    from astropy.coordinates import offset_by

    away = np.atleast_1d(np.asarray(mas, np.float64)) / _MAS_PER_DEGREE
    turn = np.full(away.shape, math.radians(angle))  # at a pole astropy takes an angle for each distance
    there_ra, there_dec = offset_by(math.radians(ra), math.radians(dec), turn, np.radians(away))
    return np.round(there_ra.deg % 360.0, 11), np.round(there_dec.deg, 11)
