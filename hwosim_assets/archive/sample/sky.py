"""Where a detector looks: the tangent-plane WCS, footprints, the telescope's axes.

Holds: the JWST relation between roll angle and the ``PCi_j`` matrix, gnomonic projection, S_REGION,
and the way from an aperture to the V1 axis. Keep out detector numbers and keywords.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .draws import Floats

__all__ = ["Wcs", "separation", "v1_pointing"]


def _tidy(value: float) -> float:
    """Round to 12 decimals, so that a header card does not depend on the mathematics library."""
    return round(value, 12) + 0.0


@dataclass(frozen=True)
class Wcs:
    """A gnomonic WCS with square pixels.

    Attributes
    ----------
    crpix : tuple of float
        Reference pixel, 1-indexed as FITS counts.
    crval : tuple of float
        Right ascension and declination there, deg ICRS.
    scale : float
        Degrees per pixel.
    angle : float
        Position angle of the detector's y axis, deg: roll minus parity times V3I_YANG.
    parity : int
        VPARITY, the sense of the x axis.
    """

    crpix: tuple[float, float]
    crval: tuple[float, float]
    scale: float
    angle: float
    parity: int = -1

    @property
    def pc(self) -> tuple[float, float, float, float]:
        """PC1_1, PC1_2, PC2_1, PC2_2."""
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        return _tidy(self.parity * cos), _tidy(sin), _tidy(-self.parity * sin), _tidy(cos)

    def sky(self, x: float, y: float) -> tuple[float, float]:
        """Return right ascension and declination, deg, of a 1-indexed pixel position."""
        pc11, pc12, pc21, pc22 = self.pc
        dx, dy = x - self.crpix[0], y - self.crpix[1]
        xi = math.radians(self.scale * (pc11 * dx + pc12 * dy))
        eta = math.radians(self.scale * (pc21 * dx + pc22 * dy))
        ra0, dec0 = math.radians(self.crval[0]), math.radians(self.crval[1])
        below = math.cos(dec0) - eta * math.sin(dec0)
        ra = ra0 + math.atan2(xi, below)
        dec = math.atan2(math.sin(dec0) + eta * math.cos(dec0), math.hypot(xi, below))
        return math.degrees(ra) % 360.0, math.degrees(dec)

    def pixel(self, ra: float, dec: float) -> tuple[float, float]:
        """Return the 1-indexed pixel position of a sky position in deg."""
        ra0, dec0 = math.radians(self.crval[0]), math.radians(self.crval[1])
        dra, dec = math.radians(ra) - ra0, math.radians(dec)
        below = math.sin(dec) * math.sin(dec0) + math.cos(dec) * math.cos(dec0) * math.cos(dra)
        xi = math.degrees(math.cos(dec) * math.sin(dra) / below) / self.scale
        over = math.sin(dec) * math.cos(dec0) - math.cos(dec) * math.sin(dec0) * math.cos(dra)
        eta = math.degrees(over / below) / self.scale
        pc11, pc12, pc21, pc22 = self.pc
        determinant = pc11 * pc22 - pc12 * pc21
        dx = (pc22 * xi - pc12 * eta) / determinant
        dy = (pc11 * eta - pc21 * xi) / determinant
        return self.crpix[0] + dx, self.crpix[1] + dy

    def moved(self, dx: float, dy: float) -> Wcs:
        """Return the WCS after an offset that moves the scene by (dx, dy) pixels on the detector."""
        ra, dec = self.sky(self.crpix[0] - dx, self.crpix[1] - dy)
        return replace(self, crval=(_tidy(ra), _tidy(dec)))

    def region(self, size: tuple[int, int]) -> str:
        """Return S_REGION: the outer corners of an array of ``size`` = (NAXIS1, NAXIS2) pixels."""
        width, height = size
        corners = [(0.5, 0.5), (width + 0.5, 0.5), (width + 0.5, height + 0.5), (0.5, height + 0.5)]
        places = (self.sky(x, y) for x, y in corners)
        return "POLYGON ICRS  " + " ".join(f"{ra:.9f} {dec:.9f}" for ra, dec in places)


def separation(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Return the angle between two sky positions, all in deg."""
    a, b = _direction(*first), _direction(*second)
    return math.degrees(math.acos(max(-1.0, min(1.0, sum(p * q for p, q in zip(a, b, strict=True))))))


def _direction(ra: float, dec: float) -> tuple[float, float, float]:
    ra, dec = math.radians(ra), math.radians(dec)
    return math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)


def _frame(longitude: float, latitude: float) -> Floats:
    """Return the rows outward, east and north at a point of a sphere (deg)."""
    lon, lat = math.radians(longitude), math.radians(latitude)
    outward = [math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)]
    east = [-math.sin(lon), math.cos(lon), 0.0]
    north = [-math.sin(lat) * math.cos(lon), -math.sin(lat) * math.sin(lon), math.cos(lat)]
    return np.array([outward, east, north])


def v1_pointing(v2: float, v3: float, ra: float, dec: float, roll: float) -> tuple[float, float, float]:
    """Return RA_V1, DEC_V1 and PA_V3 (deg) from an aperture's place and where it points.

    Parameters
    ----------
    v2, v3 : float
        Telescope coordinates of the aperture's reference point, arcsec.
    ra, dec : float
        Where that point looks, deg.
    roll : float
        Position angle of V3 there, deg east of north (``ROLL_REF``).
    """
    telescope = _frame(v2 / 3600.0, v3 / 3600.0)
    outward, east, north = _frame(ra, dec)
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    on_sky = np.array([outward, cos * east - sin * north, cos * north + sin * east])
    v1, _, third = (on_sky.T @ telescope).T
    ra_v1 = math.degrees(math.atan2(v1[1], v1[0])) % 360.0
    dec_v1 = math.degrees(math.asin(v1[2]))
    _, east1, north1 = _frame(ra_v1, dec_v1)
    pa_v3 = math.degrees(math.atan2(float(third @ east1), float(third @ north1))) % 360.0
    return round(ra_v1, 10), round(dec_v1, 10), round(pa_v3, 10)
