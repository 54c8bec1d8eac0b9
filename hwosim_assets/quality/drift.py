"""Does a number of the products wander with time: running mean, z-score and CUSUM.

Holds: :func:`follow`, which judges one series of numbers, the series that are followed (what the catalog
noted about each product, by detector; the share of values that break a rule, by rule), and what they say
of one program. Keep out how a series is drawn (``quality.pages``) and the asset check
(``hwosim_streaming.checks``).

The chart is the self-starting CUSUM of Hawkins (1987, Journal of Quality Technology 19, 195): each value is
compared with the mean and the standard deviation of those before it, so that no reference has to be chosen;
for normal values the scores are standard normal from the start on. The scores are cut at three standard
deviations (Lucas and Crosier 1982, Communications in Statistics 11, 2669): one wild value is an outlier
and no drift.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.quality.history import CHECK_RESULTS

if TYPE_CHECKING:
    from hwosim_assets.lake.tables import Tables

__all__ = ["Alarm", "Drift", "Followed", "Series", "follow", "followed", "series_of_checks", "series_of_products"]

Floats = npt.NDArray[np.float64]
#: Modified Julian Date, program, name (product, run), value.
_Point = tuple[float, str, str, float]
_PRODUCT_COLUMNS = (
    "program",
    "product_name",
    "product_type",
    "instrument_name",
    "detector",
    "stream_time_mjd",
    "filters",
    "kw_subarray",
    "warnings",
    "kw_photmjsr",
)

#: How the checks of one rule lie in time.
_ORDER = ("evaluated_at", "program", "run_id")

#: Slack and decision interval in standard deviations: a step of one deviation is found after about 16 values,
#: and normal values that do not change raise an alarm once in some 7000 (counted over 200 000 of them; with a
#: known mean and deviation Siegmund 1985, Sequential Analysis, gives 9000).
SLACK, DECISION = 0.5, 8.0
#: Values that are needed before one is judged.
FIRST = 8
#: Where a score is cut (standard deviations).
CUT = 3.0
#: Standard deviations below this share of the mean are rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Series:
    """One number over time.

    Attributes
    ----------
    measure : str
        What is followed, for example ``findings per product``.
    group : str
        Of what: ``NIRCAM/NRCA1`` or ``catalog/products coordinates_in_range``.
    clock : str
        Which time orders it: ``exposure`` or ``check``.
    times : numpy.ndarray of float64, shape (n,)
        Modified Julian Date, ascending.
    values : numpy.ndarray of float64, shape (n,)
        Finite.
    programs, names : tuple of str
        Program and name (product, run) of each value.
    """

    measure: str
    group: str
    clock: str
    times: Floats
    values: Floats
    programs: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Alarm:
    """Where a series left its level.

    Attributes
    ----------
    at : int
        Index of the value that raised the alarm.
    since : int
        Index from which the values lie off the level, as the CUSUM estimates it.
    before, after : float
        Mean up to there, and from there to the alarm.
    """

    at: int
    since: int
    before: float
    after: float


@dataclass(frozen=True)
class Drift:
    """How a series went.

    Attributes
    ----------
    mean, z : numpy.ndarray of float64, shape (n,)
        Of each value: the mean of those before it, and its distance from that in their standard deviations
        (NaN where there are not enough of them). Both begin anew where an alarm says that the level changed.
    high, low : numpy.ndarray of float64, shape (n,)
        The two sums, in standard deviations, both at least zero.
    alarms : tuple of Alarm
        In order of time.
    """

    mean: Floats
    z: Floats
    high: Floats
    low: Floats
    alarms: tuple[Alarm, ...]


def follow(values: Iterable[float]) -> Drift:
    """Judge a series.

    Parameters
    ----------
    values : iterable of float
        In order of time; all finite.

    Returns
    -------
    Drift
        After an alarm the reference begins anew where the change began, so that one step is one alarm.

    Raises
    ------
    ValueError
        If a value is not finite: such a value is no level, and belongs into a rule.
    """
    given = np.asarray(list(values), dtype=np.float64)
    if not np.isfinite(given).all():
        raise ValueError("a series to follow holds a value that is not finite")
    mean, z = np.full(given.size, np.nan), np.full(given.size, np.nan)
    high, low = np.zeros(given.size), np.zeros(given.size)
    alarms: list[Alarm] = []
    start = 0
    while start < given.size:
        part = given[start:]
        mean[start:], z[start:], scores = _scores(part)
        high[start:], low[start:], at, since = _sums(scores)
        if at is None:
            break
        alarms.append(Alarm(start + at, start + since, float(part[:since].mean()), float(part[since : at + 1].mean())))
        start += since
    return Drift(mean, z, high, low, tuple(alarms))


def _scores(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the mean before each value, its z-score, and its score as a standard normal deviate."""
    from scipy.special import ndtri, stdtr

    number = np.arange(values.size, dtype=np.float64)  # values before each one
    shifted = values - values[0]  # so that a small scatter on a large level is not lost in the sums
    before = np.concatenate([[0.0], np.cumsum(shifted)[:-1]])
    squares = np.concatenate([[0.0], np.cumsum(shifted**2)[:-1]])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = before / number
        spread = np.sqrt(np.maximum(squares - number * mean**2, 0.0) / (number - 1.0))
    judged = number >= FIRST
    mean = np.where(number > 0, mean, np.nan)
    spread = np.where(spread > _ROUNDING * np.abs(mean + values[0]), spread, 0.0)
    off = shifted - mean
    with np.errstate(invalid="ignore", divide="ignore"):
        # A level without any scatter: whatever differs by more than rounding is as far off as a value can be.
        still = np.where(np.abs(off) > _ROUNDING * np.abs(mean + values[0]), np.sign(off) * np.inf, 0.0)
        z = np.where(spread > 0, off / spread, still)
        student = z * np.sqrt(number / (number + 1.0))
        freedom = np.where(judged, number - 1.0, 1.0)
        tail = stdtr(freedom, -np.abs(np.where(judged, student, 0.0)))  # the small tail: no digits lost near one
        scores = np.sign(np.where(judged, student, 0.0)) * np.minimum(-ndtri(np.maximum(tail, 1e-300)), CUT)
    return mean + values[0], np.where(judged, z, np.nan), np.where(judged, scores, 0.0)


def _sums(scores: Floats) -> tuple[Floats, Floats, int | None, int]:
    """Return both sums, the index of the first alarm (``None`` without one) and where its change began."""
    high, low = np.zeros(scores.size), np.zeros(scores.size)
    up = down = 0.0
    up_since = down_since = 0
    for place, score in enumerate(scores.tolist()):
        up, down = max(0.0, up + score - SLACK), max(0.0, down - score - SLACK)
        up_since = place + 1 if up == 0.0 else up_since
        down_since = place + 1 if down == 0.0 else down_since
        high[place], low[place] = up, down
        if up > DECISION or down > DECISION:
            return high, low, place, up_since if up > DECISION else down_since
    return high, low, None, 0


@dataclass(frozen=True)
class Followed:
    """A series and how it went."""

    series: Series
    drift: Drift

    def alarms_of(self, program: str) -> list[Alarm]:
        """Return the alarms that values of a program are part of."""
        return [alarm for alarm in self.drift.alarms if program in self.series.programs[alarm.since : alarm.at + 1]]

    def as_document(self) -> dict[str, Any]:
        """Return the whole series as JSON takes it; a z-score that is not finite is ``None``."""
        series, drift = self.series, self.drift
        numbers = {"values": series.values, "times_mjd": series.times, "mean": drift.mean, "z": drift.z}
        sums = {"cusum_high": drift.high, "cusum_low": drift.low}
        return {
            "measure": series.measure,
            "of": series.group,
            "clock": series.clock,
            "programs": list(series.programs),
            "names": list(series.names),
            **{
                name: [value if math.isfinite(value) else None for value in column.tolist()]
                for name, column in (numbers | sums).items()
            },
            "alarms": [self.as_record(alarm) for alarm in drift.alarms],
        }

    def as_record(self, alarm: Alarm) -> dict[str, Any]:
        """Return an alarm in words and numbers, as tables and JSON show it."""
        series, at = self.series, alarm.at
        return {
            "measure": series.measure,
            "of": series.group,
            "since": series.names[alarm.since],
            "since_mjd": float(series.times[alarm.since]),
            "noticed": series.names[at],
            "mean_before": alarm.before,
            "mean_after": alarm.after,
            "cusum": float(max(self.drift.high[at], self.drift.low[at])),
            "values": int(series.values.size),
        }


def followed(tables: Tables, program: str | None = None) -> list[Followed]:
    """Return every series that is followed and how it went; those with an alarm first.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    program : str, optional
        Only the series that this program has a part in.
    """
    series = [*series_of_products(tables, program), *series_of_checks(tables, program)]
    judged = [Followed(each, follow(each.values)) for each in series]
    return sorted(judged, key=lambda one: (-len(one.drift.alarms), one.series.measure, one.series.group))


# ---------------------------------------------------------------------- what is followed


def series_of_products(tables: Tables, program: str | None = None) -> list[Series]:
    """Return what the catalog says of the products, by instrument and detector, in order of exposure.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    program : str, optional
        Only what this program used, each with the products of all programs.

    Returns
    -------
    list of Series
        For each detector the findings per product (rules of the catalog that it breaks without being refused);
        for each detector, filter, subarray and product type the conversion PHOTMJSR ((MJy/sr) / (DN/s)).
        Products without a time or a detector are left out.
    """
    from hwosim_assets.catalog.products import PRODUCTS

    rows = tables.scan(PRODUCTS, columns=list(_PRODUCT_COLUMNS)).to_pylist()
    gathered: dict[tuple[str, str], list[_Point]] = defaultdict(list)
    used: set[tuple[str, str]] = set()
    for row in rows:
        if not row["instrument_name"] or not row["detector"] or row["stream_time_mjd"] is None:
            continue
        for measure, group, value in _numbers(row):
            gathered[measure, group].append((row["stream_time_mjd"], row["program"], row["product_name"], value))
            if program in (None, row["program"]):
                used.add((measure, group))
    return [_series(*what, "exposure", points) for what, points in sorted(gathered.items()) if what in used]


def _numbers(row: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield measure, group and value of what is followed of one product."""
    detector = f"{row['instrument_name']}/{row['detector']}"
    yield "findings per product", detector, float(len(json.loads(row["warnings"] or "[]")))
    if row["kw_photmjsr"] is not None and math.isfinite(row["kw_photmjsr"]):
        setting = (row["filters"], row["kw_subarray"], row["product_type"])
        yield "PHOTMJSR", " ".join((detector, *(part or "-" for part in setting))), row["kw_photmjsr"]


def series_of_checks(tables: Tables, program: str | None = None) -> list[Series]:
    """Return the share of values that break each rule, in order of the checks.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    program : str, optional
        Only the assets and rules that were checked for this program, each with the checks of all programs.

    Returns
    -------
    list of Series
        One value for each program and data version: checking the same data again says nothing new.
    """
    columns = ["program", "asset", "run_id", "rule", "share", "data_version", "evaluated_at"]
    rows = tables.scan(CHECK_RESULTS, columns=columns)
    names = pc.binary_join_element_wise(rows["asset"], rows["rule"], " ")
    rows = rows.append_column("group", names).filter(pc.is_valid(rows["share"]))
    if program is not None:
        used = rows.filter(pc.equal(rows["program"], program))["group"].unique()
        rows = rows.filter(pc.is_in(rows["group"], used))
    # Hundreds of thousands of rows: in columns, since as Python objects they would take seconds.
    version = pc.coalesce(rows["data_version"], rows["run_id"])
    rows = rows.append_column("version", version).sort_by([(name, "ascending") for name in ("group", *_ORDER)])
    rows = rows.append_column("number", pa.array(range(rows.num_rows), pa.int64()))
    first = rows.group_by(["group", "program", "version"]).aggregate([("number", "min")])["number_min"]
    rows = rows.take(first.take(pc.sort_indices(first)))
    times = _mjd(rows["evaluated_at"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy() / 1e6)
    values, programs, runs = rows["share"].to_numpy(), rows["program"].to_pylist(), rows["run_id"].to_pylist()
    found = []
    for group, places in groupby(enumerate(rows["group"].to_pylist()), key=itemgetter(1)):
        numbers = [number for number, _ in places]
        of = slice(numbers[0], numbers[-1] + 1)
        drawn = (times[of], values[of], tuple(programs[of]), tuple(runs[of]))
        found.append(Series("share that breaks the rule", group, "check", *drawn))
    return found


def _series(measure: str, group: str, clock: str, points: Sequence[_Point]) -> Series:
    ordered = sorted(points)
    times, values = (np.array([point[place] for point in ordered], np.float64) for place in (0, 3))
    programs, names = (tuple(str(point[place]) for point in ordered) for place in (1, 2))
    return Series(measure, group, clock, times, values, programs, names)


def _mjd(seconds: Floats) -> Floats:
    """Return Unix times (s) as Modified Julian Dates (d); 1970-01-01 is MJD 40587."""
    return 40587.0 + seconds / 86400.0
