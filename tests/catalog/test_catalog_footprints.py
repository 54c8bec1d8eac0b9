"""Cones and polygons against footprints: held against the sphere itself, poles and RA 0 included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwosim_assets.archive.footprint import distance_deg
from hwosim_assets.catalog.footprint_search import Cone, Polygon, may_touch, touched
from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.zones import WIDE, _cells

#: Positions with the awkward ones often: poles, RA 0, the equator.
RAS = st.one_of(st.sampled_from([0.0, 1e-9, 359.999999, 180.0, 90.0]), st.floats(0, 360))
DECS = st.one_of(st.sampled_from([90.0, -90.0, 89.99, -89.99, 0.0]), st.floats(-90, 90))
SIZES = st.floats(0.001, 20)


def around(ra: float, dec: float, radius: float, count: int = 4, turn: float = 0.3) -> list[tuple[float, float]]:
    """Return corners on a circle about a position, deg."""
    a, d = np.radians([ra, dec])
    centre = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    north = np.cross(centre, east)
    angles = turn + 2 * np.pi * np.arange(count) / count
    r = np.radians(radius)
    points = np.cos(r) * centre + np.sin(r) * (np.outer(np.cos(angles), east) + np.outer(np.sin(angles), north))
    ras, decs = np.degrees(np.arctan2(points[:, 1], points[:, 0])) % 360, np.degrees(np.arcsin(points[:, 2]))
    return [(float(one), float(other)) for one, other in zip(ras, decs, strict=True)]


def region(corners: list[tuple[float, float]]) -> str:
    return "POLYGON ICRS " + " ".join(f"{ra!r} {dec!r}" for ra, dec in corners)


def touches(area: Cone | Polygon, text: str) -> bool:
    nothing = np.array([np.nan])
    return bool(touched(area, [text], nothing, nothing)[0])


def spread(corners: list[tuple[float, float]], steps: int = 24) -> list[tuple[float, float]]:
    """Return points all over a convex polygon, border included, deg: the triangles of its middle, each in a grid."""
    ra, dec = np.radians(np.array(corners).T)
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], -1)
    middle = vectors.mean(axis=0)
    points = [
        (i * one + j * two + (steps - i - j) * middle)
        for one, two in zip(vectors, np.roll(vectors, -1, axis=0), strict=True)
        for i in range(steps + 1)
        for j in range(steps + 1 - i)
    ]
    every = np.array(points) / np.linalg.norm(points, axis=1)[:, None]
    ras, decs = (
        np.degrees(np.arctan2(every[:, 1], every[:, 0])) % 360,
        np.degrees(np.arcsin(np.clip(every[:, 2], -1, 1))),
    )
    return [(float(one), float(other)) for one, other in zip(ras, decs, strict=True)]


@settings(max_examples=150, deadline=None)
@given(RAS, DECS, SIZES, RAS, DECS, st.floats(0, 60), st.integers(3, 7))
def test_cones_agree_with_the_distance_to_one_footprint(
    ra: float, dec: float, size: float, cone_ra: float, cone_dec: float, radius: float, count: int
) -> None:
    text = region(around(ra, dec, size, count))
    distance = distance_deg(cone_ra, cone_dec, text, None, None)
    assert distance is not None
    if abs(distance - radius) > 1e-6:
        assert touches(Cone(cone_ra, cone_dec, radius), text) == (distance < radius)


@settings(max_examples=40, deadline=None)
@given(RAS, DECS, st.floats(0.01, 10), st.floats(0, 6.28), st.floats(0, 2.5), st.floats(0.01, 10), st.integers(3, 6))
def test_polygons_agree_with_brute_force(
    ra: float, dec: float, size: float, way: float, apart: float, other_size: float, count: int
) -> None:
    ours = around(ra, dec, size)
    place = around(ra, dec, apart * (size + other_size) / 2, 1, way)[0]
    theirs = around(*place, other_size, count)
    asked = Polygon(tuple(ours))
    answer = touches(asked, region(theirs))
    assert touches(Polygon(tuple(theirs)), region(ours)) == answer
    grid = spread(theirs)
    inside = min(distance_deg(*point, region(ours), None, None) for point in grid)  # type: ignore[type-var]
    step = other_size * 3 / 24
    if inside == 0:
        assert answer
    elif inside > step:  # no grid point of theirs is that near, so no point of theirs is inside
        assert not answer


@settings(max_examples=150, deadline=None)
@given(RAS, DECS, st.floats(0.001, 0.249), st.floats(0, 6.28), st.floats(0, 1), st.floats(0, 25))
def test_the_cells_of_a_cone_hold_the_centre_of_every_footprint_it_touches(
    ra: float, dec: float, size: float, way: float, share: float, radius: float
) -> None:
    cone = Cone(ra, dec, radius)
    place = around(ra, dec, share * (radius + size), 1, way)[0]
    assert touches(cone, f"CIRCLE {place[0]!r} {place[1]!r} {size!r}")
    cells = cone.cells
    assert cells is not None
    assert _cells(np.array([place[0]]), np.array([place[1]]))[0] in cells


@settings(max_examples=150, deadline=None)
@given(RAS, DECS, st.floats(0.001, 0.249), st.floats(0, 6.28), st.floats(0, 1), st.floats(0, 25), st.booleans())
def test_a_footprint_that_is_touched_is_near_enough_to_be_looked_at(
    ra: float, dec: float, size: float, turn: float, share: float, radius: float, polygon: bool
) -> None:
    """The footprint lies on the border of the area or within it, as far away as it can be."""
    text = region(around(ra, dec, size, 5, turn))
    ((middle_ra, middle_dec),) = around(ra, dec, share * (radius + size), 1, turn)
    area: Cone | Polygon = Cone(middle_ra, middle_dec, radius)
    if polygon:
        area = Polygon(tuple(around(middle_ra, middle_dec, radius + 0.01, 4, turn)))
    place, width = (np.array([value]) for value in ((ra, dec), 2 * size))
    near = may_touch(area, place[:, 0], place[:, 1], width)
    assert near[0] or not touches(area, text)


def test_only_footprints_of_known_place_and_width_are_passed_over() -> None:
    ra, dec = np.array([10.0, 10.0, 10.0, np.nan, 10.6]), np.array([0.0, 0.0, 0.0, 0.0, 0.0])
    width = np.array([0.01, np.nan, WIDE + 0.01, 0.01, WIDE])
    assert may_touch(Cone(11.0, 0.0, 0.2), ra, dec, width).tolist() == [False, True, True, True, True]


def test_several_shapes_count_each_and_positions_stand_in_for_none() -> None:
    two = "POLYGON 10 0 11 0 11 1 10 1 POLYGON 200 60 201 60 201 61 200 61"
    regions = [two, two, "", None, "garbage", None]
    ra = np.array([0, 0, 200.5, 200.5, 200.5, np.nan])
    dec = np.array([0, 0, 60.5, 0, 60.5, np.nan])
    assert touched(Cone(200.5, 60.5, 0.1), regions, ra, dec).tolist() == [True, True, True, False, True, False]
    assert touched(Cone(100, 0, 1), regions, ra, dec).tolist() == [False] * 6
    box = Polygon(((359, -1), (10.5, -1), (10.5, 0.5), (359, 0.5)))
    assert touched(box, regions, ra, dec).tolist() == [True, True, False, False, False, False]


def test_edges_that_cross_without_a_corner_inside() -> None:
    cross = Polygon(((359, -0.1), (1, -0.1), (1, 0.1), (359, 0.1)))
    assert touches(cross, "POLYGON 359.9 -1 0.1 -1 0.1 1 359.9 1")
    assert not touches(cross, "POLYGON 179.9 -1 180.1 -1 180.1 1 179.9 1")


@pytest.mark.parametrize("corners", [((0, 0), (1, 1)), ((0, 95), (1, 0), (0, 0)), ((0, 0), (120, 0), (240, 0))])
def test_a_polygon_that_is_none_is_refused(corners: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(BadInputError, match="polygon"):
        Polygon(corners)
