"""How far a position lies from an observation's footprint.

Holds: the distance from a point to an ``s_region`` (``POLYGON`` and ``CIRCLE``, several of them, any
frame token), on the sphere, right at the poles and across right ascension 0. It is zero inside, as
in MAST's column ``distance``. Keep out which rows a cone search returns (``portal``).
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

__all__ = ["distance_deg", "parse_region", "separation_deg"]

Vector = NDArray[np.float64]
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_]*|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_COINCIDENT = 1e-14


def parse_region(region: str) -> list[tuple[str, list[float]]]:
    """Return the shapes of an ``s_region``.

    Parameters
    ----------
    region : str
        STC-S as MAST writes it, for example ``POLYGON ICRS 10.1 -3.2 10.3 …`` or
        ``CIRCLE 210.9 54.6 0.625``; frame tokens (ICRS, J2000, GSC1) are read as ICRS.

    Returns
    -------
    list of (str, list of float)
        ``("POLYGON", [ra, dec, ra, dec, …])`` with at least three corners and
        ``("CIRCLE", [ra, dec, radius])``, all in deg; shapes that are neither are left out.
    """
    shapes: list[tuple[str, list[float]]] = []
    for token in _TOKEN.findall(region):
        if token[0].isalpha():
            if token.upper() in {"POLYGON", "CIRCLE"}:
                shapes.append((token.upper(), []))
        elif shapes:
            shapes[-1][1].append(float(token))
    return [(kind, numbers) for kind, numbers in shapes if _is_whole(kind, numbers)]


def separation_deg(ra: float, dec: float, other_ra: float, other_dec: float) -> float:
    """Return the angle between two positions.

    Parameters
    ----------
    ra, dec, other_ra, other_dec : float
        ICRS, deg.

    Returns
    -------
    float
        deg, accurate for small and for large angles.
    """
    return math.degrees(_angle(_unit(ra, dec), _unit(other_ra, other_dec)))


def distance_deg(ra: float, dec: float, region: str | None, s_ra: float | None, s_dec: float | None) -> float | None:
    """Return the distance of a position from an observation.

    Parameters
    ----------
    ra, dec : float
        The position, ICRS, deg.
    region : str or None
        The observation's ``s_region``.
    s_ra, s_dec : float or None
        The observation's position, used when it has no region that can be read, deg.

    Returns
    -------
    float or None
        deg, zero inside the footprint; ``None`` when the observation has no place in the sky.
    """
    point = _unit(ra, dec)
    shapes = parse_region(region or "")
    if shapes:
        return min(_to_shape(point, kind, numbers) for kind, numbers in shapes)
    if s_ra is None or s_dec is None:
        return None
    return separation_deg(ra, dec, s_ra, s_dec)


def _is_whole(kind: str, numbers: list[float]) -> bool:
    if kind == "CIRCLE":
        return len(numbers) == 3 and numbers[2] >= 0
    return len(numbers) >= 6 and len(numbers) % 2 == 0


def _to_shape(point: Vector, kind: str, numbers: list[float]) -> float:
    if kind == "CIRCLE":
        return max(0.0, math.degrees(_angle(point, _unit(numbers[0], numbers[1]))) - numbers[2])
    corners = np.array([_unit(ra, dec) for ra, dec in zip(numbers[::2], numbers[1::2], strict=True)])
    following = np.roll(corners, -1, axis=0)
    if _inside(point, corners, following):
        return 0.0
    return math.degrees(min(_to_arc(point, *arc) for arc in zip(corners, following, strict=True)))


def _unit(ra: float, dec: float) -> Vector:
    alpha, delta = math.radians(ra), math.radians(dec)
    return np.array([math.cos(delta) * math.cos(alpha), math.cos(delta) * math.sin(alpha), math.sin(delta)])


def _angle(a: Vector, b: Vector) -> float:
    return math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))


def _inside(point: Vector, corners: Vector, following: Vector) -> bool:
    """Tell whether the corners wind around the point, seen in the plane tangent at the point."""
    if point @ corners.sum(axis=0) <= 0:
        return False  # the far side of the sphere, around which the corners wind as well
    east = np.cross([0.0, 0.0, 1.0] if abs(point[2]) < 0.9 else [1.0, 0.0, 0.0], point)
    north = np.cross(point, east)
    bearing = np.arctan2(corners @ east, corners @ north)
    bearing_next = np.arctan2(following @ east, following @ north)
    apart = np.linalg.norm(corners - following, axis=1) > _COINCIDENT
    turn = np.where(apart, np.remainder(bearing_next - bearing + math.pi, 2 * math.pi) - math.pi, 0.0)
    return bool(abs(turn.sum()) > math.pi)


def _to_arc(point: Vector, start: Vector, end: Vector) -> float:
    """Return the angle between a point and the shorter great-circle arc between two points, rad."""
    pole = np.cross(start, end)
    length = float(np.linalg.norm(pole))
    ends = min(_angle(point, start), _angle(point, end))
    if length < _COINCIDENT:
        return ends
    pole /= length
    beside = np.cross(pole, start) @ point >= 0 and np.cross(end, pole) @ point >= 0
    return min(ends, abs(math.asin(max(-1.0, min(1.0, float(pole @ point)))))) if beside else ends
