"""When: exposure times, integration times, barycentric times, the calendar.

Holds: MJD arithmetic, the telescope's place in the solar system, INT_TIMES and GROUP rows. Keep out
what was exposed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from .draws import Floats

__all__ = ["DAY", "Orbit", "calendar", "group_rows", "integration_rows", "iso", "orbit"]

#: Seconds in a day.
DAY = 86400.0
#: TT - UTC since 2017, s: 37 leap seconds and 32.184 s. TDB differs from TT by less than 2 ms.
_TDB_MINUS_UTC = 69.184
#: Kilometres in an astronomical unit, and the speed of light in km/s.
_AU, _LIGHT = 149597870.7, 299792.458
#: JWST circles L2, about one hundredth of the Earth's distance further from the Sun.
_L2 = 1.01


@dataclass(frozen=True)
class Orbit:
    """The telescope from barycentre and Sun, km, its velocity, km/s, and where it sees the Sun, deg."""

    position: tuple[float, float, float]
    from_sun: tuple[float, float, float]
    velocity: tuple[float, float, float]
    sun: tuple[float, float]

    def delay(self, ra: float, dec: float) -> float:
        """Return TDB at the barycentre minus UTC at the telescope for light from (ra, dec) in deg, s."""
        return round(_TDB_MINUS_UTC + _light_time(self.position, ra, dec), 6)

    def solar_delay(self, ra: float, dec: float) -> float:
        """Return the same at the Sun, s."""
        return round(_TDB_MINUS_UTC + _light_time(self.from_sun, ra, dec), 6)


def _light_time(place: tuple[float, float, float], ra: float, dec: float) -> float:
    ra, dec = math.radians(ra), math.radians(dec)
    towards = (math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec))
    return sum(p * q for p, q in zip(place, towards, strict=True)) / _LIGHT


def orbit(mjd: float) -> Orbit:
    """Return where the telescope is: on the line from the Sun through the Earth (ERFA's epv00).

    Parameters
    ----------
    mjd : float
        Modified Julian date.
    """
    import erfa

    from_sun, from_barycentre = erfa.epv00(2400000.5, mjd)
    heliocentric = np.asarray(from_sun["p"], dtype=np.float64)
    barycentric = np.asarray(from_barycentre["p"], dtype=np.float64) + (_L2 - 1.0) * heliocentric
    velocity = np.asarray(from_barycentre["v"], dtype=np.float64) + (_L2 - 1.0) * np.asarray(from_sun["v"])
    x, y, z = -heliocentric
    sun = (float(np.degrees(np.arctan2(y, x)) % 360.0), float(np.degrees(np.arctan2(z, np.hypot(x, y)))))
    return Orbit(
        _triple(barycentric * _AU, 3), _triple(_L2 * heliocentric * _AU, 3), _triple(velocity * _AU / DAY, 8), sun
    )


def _triple(vector: Floats, digits: int) -> tuple[float, float, float]:
    x, y, z = (round(float(value), digits) for value in vector)
    return x, y, z


def calendar(mjd: float) -> datetime:
    """Return the UTC date and time of a modified Julian date, to the microsecond."""
    return datetime(1858, 11, 17, tzinfo=UTC) + timedelta(microseconds=round(mjd * DAY * 1e6))


def iso(mjd: float) -> str:
    """Return a modified Julian date as ``2024-05-06T07:08:09.123``."""
    return calendar(mjd + 0.0005 / DAY).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


def integration_rows(
    start: float, integration: float, cadence: float, count: int, delay: float
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Return the rows of INT_TIMES.

    Parameters
    ----------
    start : float
        Start of the first integration, MJD UTC.
    integration, cadence : float
        Length of one integration, and from the start of one to the start of the next, s.
    count : int
        Number of integrations.
    delay : float
        Barycentric TDB minus UTC, s.
    """
    names = [f"int_{when}_{scale}" for scale in ("MJD_UTC", "BJD_TDB") for when in ("start", "mid", "end")]
    rows = np.zeros(count, dtype=[("integration_number", ">i4"), *((name, ">f8") for name in names)])
    rows["integration_number"] = np.arange(1, count + 1)
    first = start + np.arange(count) * (cadence / DAY)
    for when, into in (("start", 0.0), ("mid", 0.5 * integration), ("end", integration)):
        rows[f"int_{when}_MJD_UTC"] = first + into / DAY
        rows[f"int_{when}_BJD_TDB"] = first + (into + delay) / DAY
    return rows


def group_rows(
    start: float, group: float, cadence: float, shape: tuple[int, ...], delays: tuple[float, float]
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Return the rows of GROUP: when each group was read out.

    Parameters
    ----------
    start : float
        Start of the first integration, MJD UTC.
    group, cadence : float
        From group to group, and from integration to integration, s.
    shape : tuple of int
        Integrations, groups, rows, columns.
    delays : tuple of float
        TDB minus UTC at the barycentre and at the Sun, s.
    """
    nints, ngroups, height, width = shape
    rows = np.zeros(
        nints * ngroups,
        dtype=[
            ("integration_number", ">i4"), ("group_number", ">i2"), ("end_day", ">i2"), ("end_milliseconds", ">i4"),
            ("end_submilliseconds", ">i2"), ("group_end_time", "S26"), ("number_of_columns", ">i2"),
            ("number_of_rows", ">i2"), ("number_of_gaps", ">i2"), ("completion_code_number", ">i2"),
            ("completion_code_text", "S36"), ("bary_end_time", ">f8"), ("helio_end_time", ">f8"),
        ],
    )  # fmt: skip
    rows["integration_number"] = np.repeat(np.arange(1, nints + 1), ngroups)
    rows["group_number"] = np.tile(np.arange(1, ngroups + 1), nints)
    rows["number_of_columns"], rows["number_of_rows"] = width, height
    rows["completion_code_text"] = b"Normal Completion"
    ends = start + ((rows["integration_number"] - 1) * cadence + rows["group_number"] * group) / DAY
    rows["bary_end_time"] = ends + delays[0] / DAY
    rows["helio_end_time"] = ends + delays[1] / DAY
    epoch = datetime(2000, 1, 1, tzinfo=UTC)
    for row, end in zip(rows, ends, strict=True):
        since = calendar(float(end)) - epoch
        row["end_day"] = since.days
        row["end_milliseconds"], row["end_submilliseconds"] = divmod(
            since.seconds * 1_000_000 + since.microseconds, 1000
        )
        row["group_end_time"] = iso(float(end)).encode()
    return rows
