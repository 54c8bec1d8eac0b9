"""Distances to footprints: as MAST computes them, at the poles and across right ascension 0."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwosim_assets.archive.footprint import distance_deg, parse_region, separation_deg


def test_distances_are_those_that_mast_told(real_data: Path) -> None:
    """A recorded cone search around M 103: 18 polygons and one circle, distances in arcsec."""
    rows = json.loads((real_data / "mast" / "caom.json").read_text())["data"]
    for row in rows:
        ours = distance_deg(23.34086, 60.6583, row["s_region"], row["s_ra"], row["s_dec"])
        assert ours is not None
        assert ours * 3600 == pytest.approx(row["distance"], abs=1e-4)
    assert sum(row["distance"] > 0 for row in rows) == 18


@pytest.mark.parametrize(
    ("region", "ra", "dec", "inside"),
    [
        ("POLYGON ICRS 359.9 -0.1 0.1 -0.1 0.1 0.1 359.9 0.1", 0.0, 0.0, True),
        ("POLYGON ICRS 359.9 -0.1 0.1 -0.1 0.1 0.1 359.9 0.1", 359.95, 0.05, True),
        ("POLYGON -0.1 -0.1 0.1 -0.1 0.1 0.1 -0.1 0.1", 359.95, 0.05, True),
        ("POLYGON ICRS 359.9 -0.1 0.1 -0.1 0.1 0.1 359.9 0.1", 180.0, 0.0, False),  # the antipode
        ("POLYGON ICRS 359.9 -0.1 0.1 -0.1 0.1 0.1 359.9 0.1", 0.2, 0.0, False),
        ("POLYGON ICRS 0 89.9 90 89.9 180 89.9 270 89.9", 0.0, 90.0, True),
        ("POLYGON ICRS 0 89.9 90 89.9 180 89.9 270 89.9", 123.0, 89.95, True),
        ("POLYGON ICRS 0 -89.9 90 -89.9 180 -89.9 270 -89.9", 45.0, -89.99, True),
        ("POLYGON ICRS 0 89.9 90 89.9 180 89.9 270 89.9", 45.0, -90.0, False),
        ("POLYGON 10 0 14 0 14 4 12 1 10 4", 12.0, 3.0, False),  # in the notch of a V
        ("POLYGON 10 0 14 0 14 4 12 1 10 4", 10.5, 2.0, True),
        ("POLYGON 14 0 10 0 10 4 12 1 14 4", 10.5, 2.0, True),  # the other way round
        ("POLYGON 10 0 11 0 11 1 10 1 10 0", 10.5, 0.5, True),  # closed by its first corner
        ("POLYGON 10 0 11 0 11 1 10 1 POLYGON 20 0 21 0 21 1 20 1", 20.5, 0.5, True),
        ("CIRCLE ICRS 0.0 89.99 0.1", 180.0, 89.95, True),
        ("CIRCLE 10 10 0.5", 10.0, 10.6, False),
    ],
)
def test_inside_or_not(region: str, ra: float, dec: float, inside: bool) -> None:
    assert (distance_deg(ra, dec, region, None, None) == 0.0) is inside


def test_distance_to_the_nearest_edge_and_corner() -> None:
    square = "POLYGON 10 -1 11 -1 11 1 10 1"
    assert distance_deg(12.0, 0.0, square, None, None) == pytest.approx(1.0, abs=1e-9)
    assert distance_deg(11.0, 2.0, square, None, None) == pytest.approx(1.0, abs=1e-6)
    assert distance_deg(10.5, 1.5, square, None, None) == pytest.approx(0.5, abs=1e-4)
    assert distance_deg(10.0, 10.6, "CIRCLE 10 10 0.5", None, None) == pytest.approx(0.1)


def test_without_a_region_the_position_counts() -> None:
    assert distance_deg(10, 0, None, 11.0, 0.0) == pytest.approx(1.0)
    assert distance_deg(10, 0, "UNDEFINED", 11.0, 0.0) == pytest.approx(1.0)
    assert distance_deg(10, 0, "POLYGON 1 2", 11.0, 0.0) == pytest.approx(1.0)
    assert distance_deg(10, 0, "", None, None) is None


def test_regions_as_they_are_written() -> None:
    assert parse_region("Polygon ICRS 1 2 3 -4.5e0 +5 6.") == [("POLYGON", [1, 2, 3, -4.5, 5, 6])]
    assert parse_region("POLYGON J2000 1 2 3 4 5 6 CIRCLE GSC1 1 2 .5") == [
        ("POLYGON", [1, 2, 3, 4, 5, 6]),
        ("CIRCLE", [1, 2, 0.5]),
    ]
    assert parse_region("CIRCLE 1 2 -3") == []
    assert parse_region("9 9 9") == []


@given(st.floats(0, 360), st.floats(-90, 90), st.floats(0, 360), st.floats(-90, 90))
def test_separation_is_that_of_astropy(ra: float, dec: float, other_ra: float, other_dec: float) -> None:
    from astropy.coordinates.angles import angular_separation
    from numpy import degrees, radians

    expected = degrees(angular_separation(*radians([ra, dec, other_ra, other_dec])))
    assert separation_deg(ra, dec, other_ra, other_dec) == pytest.approx(expected, abs=1e-9)
