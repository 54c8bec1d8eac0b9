"""Which footprints a cone or a polygon on the sky touches, for many footprints at once.

Holds: :class:`Cone`, :class:`Polygon`, :func:`touched` and, cheaper, :func:`may_touch`. Everything is done
with unit vectors, so that neither the poles nor right ascension 0 is a special place. Edges are arcs of great
circles, at most 180 deg, and a polygon is the smaller part of the sphere. Keep out how rows are found
(``catalog.search``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwosim_assets.archive.footprint import parse_region
from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.zones import WIDE, cells_of_cone, cells_of_polygon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Cone", "Polygon", "may_touch", "touched"]

#: Arcs shorter than this (rad) are points.
_POINT = 1e-14
#: Angles (rad) below which a border counts as touched: half a milliarcsecond.
_TOUCH = 2.5e-9


@dataclass(frozen=True)
class Cone:
    """A circle on the sky.

    Attributes
    ----------
    ra, dec, radius : float
        ICRS, deg.
    """

    ra: float
    dec: float
    radius: float

    def __post_init__(self) -> None:
        if not (-360 <= self.ra <= 360 and -90 <= self.dec <= 90 and 0 <= self.radius <= 180):
            raise BadInputError(
                f"cone {self.ra} {self.dec} {self.radius}",
                "is no cone on the sky",
                "give RA, DEC and a radius of 0 to 180, in degrees",
            )

    @property
    def centre(self) -> NDArray[np.float64]:
        """The unit vector towards the middle, shape (3,)."""
        return _vectors(np.array(self.ra), np.array(self.dec))

    @property
    def reach(self) -> float:
        """Radius of the circle about :attr:`centre` that holds it, rad."""
        return math.radians(self.radius)

    @property
    def cells(self) -> NDArray[np.uint64] | None:
        """Cells that a footprint touching it may be centred in; ``None`` for any."""
        return cells_of_cone(self.ra, self.dec, self.radius)


@dataclass(frozen=True)
class Polygon:
    """A polygon on the sky.

    Attributes
    ----------
    corners : tuple of (float, float)
        Right ascension and declination of three corners or more, ICRS, deg, in either sense.
    """

    corners: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        placed = all(-360 <= ra <= 360 and -90 <= dec <= 90 for ra, dec in self.corners)
        if len(self.corners) < 3 or not placed or float(np.linalg.norm(self.vectors.sum(axis=0))) < 1e-9:
            raise BadInputError("polygon", "is none on the sky", "give RA DEC of three corners or more, in degrees")
        if (self.vectors @ self.centre).min() <= 0:
            raise BadInputError("polygon", "is wider than half of the sky", "divide it")

    @property
    def vectors(self) -> NDArray[np.float64]:
        """Unit vectors towards the corners, shape (n, 3)."""
        ra, dec = np.array(self.corners, float).T
        return _vectors(ra, dec)

    @property
    def centre(self) -> NDArray[np.float64]:
        """The unit vector towards the middle, shape (3,)."""
        middle: NDArray[np.float64] = self.vectors.sum(axis=0)
        return middle / np.linalg.norm(middle)

    @property
    def reach(self) -> float:
        """Radius of the circle about :attr:`centre` that holds it, rad."""
        return float(np.arccos(np.clip(self.vectors @ self.centre, -1, 1)).max())

    @property
    def cells(self) -> NDArray[np.uint64] | None:
        """Cells that a footprint touching it may be centred in; ``None`` for any."""
        return cells_of_polygon(self.centre, self.vectors)


def may_touch(
    area: Cone | Polygon, ra: NDArray[np.float64], dec: NDArray[np.float64], width: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which footprints an area may touch by their positions and widths alone; see :func:`touched`.

    Parameters
    ----------
    area : Cone or Polygon
        What is asked for.
    ra, dec, width : numpy.ndarray of float64, shape (n,)
        Position and diameter of each footprint, deg; NaN for none.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
        False only where the position is farther than a footprint of :data:`~hwosim_assets.lake.zones.WIDE` reaches.
    """
    bound = np.isfinite(ra + dec) & (np.abs(dec) <= 90) & (width <= WIDE)
    away = _angles(_vectors(ra, dec), area.centre) > area.reach + math.radians(WIDE / 2 + 1e-6)
    return ~(bound & away)


def touched(
    area: Cone | Polygon, regions: Sequence[str | None], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which footprints an area touches.

    Parameters
    ----------
    area : Cone or Polygon
        What is asked for; its border belongs to it.
    regions : sequence of (str or None), length n
        ``S_REGION`` of each product: polygons and circles, one or several.
    ra, dec : numpy.ndarray of float64, shape (n,)
        Position where there is no region that can be read, deg; NaN for none.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
        A product without region and position is never touched.
    """
    found = np.zeros(len(regions), bool)
    circles: list[tuple[int, float, float, float]] = []
    polygons: dict[int, tuple[list[int], list[list[float]]]] = {}
    rows: dict[str, list[int]] = {}
    alike: list[list[int]] = []
    for row, region in enumerate(regions):  # products of one exposure share their region
        rows.setdefault(region or "", []).append(row)
    for region, members in rows.items():
        shapes = parse_region(region)
        for kind, numbers in shapes:
            if kind == "CIRCLE":
                circles.append((members[0], *numbers))  # type: ignore[arg-type]
            else:
                owners, corners = polygons.setdefault(len(numbers) // 2, ([], []))
                owners.append(members[0])
                corners.append(numbers)
        if shapes:
            alike.append(members)
        else:
            circles += [(row, ra[row], dec[row], 0.0) for row in members if math.isfinite(ra[row] + dec[row])]
    if circles:
        owner, *values = np.array(circles, float).T
        found[owner[_circles_touch(area, *values)].astype(int)] = True
    for count, (owners, numbers_of) in polygons.items():
        places = np.array(numbers_of, float).reshape(-1, count, 2)
        found[np.array(owners)[_polygons_touch(area, _vectors(places[..., 0], places[..., 1]))]] = True
    for members in alike:
        found[members] = found[members[0]]
    return found


def _vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit vectors, shape (..., 3), of positions in deg."""
    alpha, delta = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)], axis=-1)


def _angles(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angles between vectors, rad, accurate for small and for large ones."""
    angles: NDArray[np.float64] = np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(axis=-1))
    return angles


def _circles_touch(
    area: Cone | Polygon, ra: NDArray[np.float64], dec: NDArray[np.float64], radius: NDArray[np.float64]
) -> NDArray[np.bool_]:
    centres = _vectors(ra, dec)
    reach = np.radians(radius)
    near: NDArray[np.bool_]
    if isinstance(area, Cone):
        near = _angles(centres, area.centre) <= area.reach + reach + _TOUCH
    else:
        corners = np.broadcast_to(area.vectors, (len(centres), *area.vectors.shape))
        near = _distances(centres, corners) <= reach + _TOUCH
    return near


def _polygons_touch(area: Cone | Polygon, corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which polygons, shape (n, k, 3), an area touches."""
    touch: NDArray[np.bool_]
    if isinstance(area, Cone):
        points = np.broadcast_to(area.centre, (len(corners), 3))
        touch = _distances(points, corners) <= area.reach + _TOUCH
        return touch
    asked = area.vectors
    # One holds a corner of the other, or their edges cross.
    touch = np.zeros(len(corners), bool)
    for corner in asked:
        touch |= _distances(np.broadcast_to(corner, (len(corners), 3)), corners) <= _TOUCH
    whole = np.broadcast_to(asked, (len(corners), *asked.shape))
    for place in range(corners.shape[1]):
        touch |= _distances(corners[:, place], whole) <= _TOUCH
    for start, end in zip(asked, np.roll(asked, -1, axis=0), strict=True):
        touch |= _crossed(corners, np.roll(corners, -1, axis=1), start, end).any(axis=1)
    return touch


def _distances(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far points (n, 3) lie from polygons (n, k, 3), rad; zero inside."""
    following = np.roll(corners, -1, axis=1)
    point = points[:, None, :]
    poles = np.cross(corners, following)
    lengths = np.linalg.norm(poles, axis=-1)
    is_arc = lengths > _POINT
    poles = poles / np.where(is_arc, lengths, 1.0)[..., None]
    beside = (np.cross(poles, corners) * point).sum(-1) >= 0
    beside &= (np.cross(following, poles) * point).sum(-1) >= 0
    to_arc = np.abs(np.arcsin(np.clip((poles * point).sum(-1), -1, 1)))
    ends = np.minimum(_angles(corners, point), _angles(following, point))
    least = np.where(is_arc & beside, to_arc, ends).min(axis=1)
    return np.where(_inside(points, corners, following), 0.0, least)


def _inside(
    points: NDArray[np.float64], corners: NDArray[np.float64], following: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell whether the corners wind around each point, seen in the plane that touches the sphere there."""
    near = (points * corners.sum(axis=1)).sum(-1) > 0  # on the far side of the sphere they wind as well
    axis = np.where(np.abs(points[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    east = np.cross(axis, points)
    north = np.cross(points, east)
    bearings = [
        np.arctan2((ends * east[:, None]).sum(-1), (ends * north[:, None]).sum(-1)) for ends in (corners, following)
    ]
    turn = np.remainder(bearings[1] - bearings[0] + math.pi, 2 * math.pi) - math.pi
    turn = np.where(np.linalg.norm(corners - following, axis=-1) > _POINT, turn, 0.0)
    inside: NDArray[np.bool_] = near & (np.abs(turn.sum(axis=1)) > math.pi)
    return inside


def _crossed(
    starts: NDArray[np.float64], ends: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which arcs (n, k, 3) cross one arc: each has its ends on either side of the other's circle."""
    poles = np.cross(starts, ends)
    pole = np.cross(start, end)
    sides = (starts @ pole) * (ends @ pole) < 0
    sides &= (poles @ start) * (poles @ end) < 0
    # the circles meet twice, at opposite points: both arcs must hold the same one
    meets = np.cross(poles, pole)
    ours = (meets * (starts + ends)).sum(-1)
    theirs = meets @ (start + end)
    crossed: NDArray[np.bool_] = sides & (ours * theirs > 0)
    return crossed
