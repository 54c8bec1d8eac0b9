"""Positions and footprints on the sky.

Holds: reading ``S_REGION`` (IVOA STC-S, as JWST headers and MAST write it), centres, radii and
separations; all angles in degrees, ICRS. Keep out WCS: pixels are not looked at here.
"""

from __future__ import annotations

import math

__all__ = ["MAX_FOOTPRINT_RADIUS", "in_degrees", "region_centre", "region_radius", "region_vertices", "separation"]

#: No JWST product covers more sky than this (deg); the widest mosaics span 1 to 2 degrees.
MAX_FOOTPRINT_RADIUS = 5.0

_FRAMES = frozenset({"ICRS", "FK5", "J2000", "UNKNOWNFRAME"})


def in_degrees(ra: object, dec: object) -> tuple[float, float] | None:
    """Return a position if both numbers are one: 0 ≤ ra < 360 (wrapped), −90 ≤ dec ≤ 90."""
    if isinstance(ra, bool) or isinstance(dec, bool) or not isinstance(ra, int | float):
        return None
    if not isinstance(dec, int | float) or not math.isfinite(ra) or not -360 <= ra <= 360 or not -90 <= dec <= 90:
        return None
    return float(ra) % 360.0, float(dec)


def region_vertices(region: str) -> list[tuple[float, float]]:
    """Return the vertices of each ``POLYGON`` and the centre of each ``CIRCLE``; nothing for other text.

    Parameters
    ----------
    region : str
        ``POLYGON [ICRS] ra dec ra dec …`` or ``CIRCLE [ICRS] ra dec radius``, deg; one or several.

    Returns
    -------
    list of (float, float)
        Right ascension and declination, deg, of all shapes.
    """
    return [point for point, _ in _points(region)]


def _points(region: str) -> list[tuple[tuple[float, float], float]]:
    """Return each vertex or centre with the radius about it, deg, which is 0 for a vertex."""
    words = region.replace(",", " ").upper().split()
    starts = [place for place, word in enumerate(words) if word in {"POLYGON", "CIRCLE"}]
    if not starts or starts[0] != 0:
        return []
    found: list[tuple[tuple[float, float] | None, float]] = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        numbers = _numbers(words[start + 1 : end])
        if len(numbers) < (3 if words[start] == "CIRCLE" else 6):
            return []
        if words[start] == "CIRCLE":
            found.append((in_degrees(*numbers[:2]), numbers[2]))
        else:
            found += [(in_degrees(*numbers[at : at + 2]), 0.0) for at in range(0, len(numbers) - 1, 2)]
    points = [(point, radius) for point, radius in found if point]
    return points if len(points) == len(found) else []


def _numbers(words: list[str]) -> list[float]:
    """Return the numbers after a shape's frame, up to the first word that is none."""
    numbers: list[float] = []
    for word in words:
        if word in _FRAMES and not numbers:
            continue
        try:
            numbers.append(float(word))
        except ValueError:
            break
    return numbers


def region_centre(region: str) -> tuple[float, float] | None:
    """Return the centre of a region: mean direction of its vertices, deg."""
    points = region_vertices(region)
    if not points:
        return None
    x = y = z = 0.0
    for ra, dec in points:
        x += math.cos(math.radians(dec)) * math.cos(math.radians(ra))
        y += math.cos(math.radians(dec)) * math.sin(math.radians(ra))
        z += math.sin(math.radians(dec))
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.atan2(z, math.hypot(x, y)))


def region_radius(region: str) -> float | None:
    """Return the radius of the circle about the centre that holds the region, deg."""
    points, centre = _points(region), region_centre(region)
    if centre is None:
        return None
    if len(points) == 1:
        return points[0][1]
    return max(separation(*centre, *point) + radius for point, radius in points)


def separation(ra1: float, dec1: float, ra2: float, dec2: float) -> float:
    """Return the angle between two positions by the haversine formula, all deg."""
    a, b = math.radians(dec1), math.radians(dec2)
    half = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(ra2 - ra1) / 2) ** 2
    return math.degrees(2 * math.asin(min(1.0, math.sqrt(half))))
