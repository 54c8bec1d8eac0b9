"""When each frame of a measurement was exposed, and which part of its exposure a file holds.

Holds: :func:`frame_times`, from the file's own table of integration times where it has one, else from the
start and the end of the exposure; which rows of that table are the file's (:func:`segment_start`); and the exposure
that a share of it is a share of (:func:`segment_of`, :func:`exposure_span`), also where a file holds one of its
segments. Keep out the time of the whole product (``Product.stream_time``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from hwosim_assets.fits.blocks import card_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.planes import Plane
    from hwosim_assets.perturb.product import Product

    Floats = NDArray[np.float64]

__all__ = [
    "FrameTimes",
    "Segment",
    "Span",
    "Timing",
    "exposure_span",
    "file_start",
    "frame_times",
    "segment_of",
    "segment_start",
]

#: Names of the columns (start, mid, end; MJD UTC) in INT_TIMES and in newer tables of time-series spectra.
_COLUMNS = (("int_start_MJD_UTC", "int_mid_MJD_UTC", "int_end_MJD_UTC"), ("MJD-BEG", "MJD-AVG", "MJD-END"))
_SEGMENT = re.compile(r"-seg(\d{3})_")


@dataclass(frozen=True)
class FrameTimes:
    """Times of the frames of a measurement.

    Attributes
    ----------
    start, mid, end : float64 array, (frames,)
        MJD UTC.
    method : str
        ``INT_TIMES``, ``MJD columns`` or ``EXPSTART..EXPEND`` (divided evenly).
    """

    start: Floats
    mid: Floats
    end: Floats
    method: str


@dataclass(frozen=True)
class Segment:
    """Which integrations of its exposure the frames of a measurement are.

    Attributes
    ----------
    first : int
        Integrations of the exposure before the first of them.
    each : int
        Integrations that a frame is the mean of.
    total : int
        Integrations of the exposure; of the file, where ``lacks`` says that the header does not tell them.
    lacks : str
        Why the header does not tell the place of the file in its exposure; empty where it does.
    """

    first: int
    each: int
    total: int
    lacks: str = ""


@dataclass(frozen=True)
class Span:
    """The time that a share of the exposure is a share of.

    Attributes
    ----------
    begin, end : float
        MJD UTC.
    lacks : str
        Why it is the time of the file and not of the exposure; empty where it is the exposure's.
    """

    begin: float
    end: float
    lacks: str = ""

    @property
    def length(self) -> float:
        """Days from begin to end."""
        return self.end - self.begin

    def at(self, share: float) -> float:
        """Return the time (MJD UTC) at a share of the exposure."""
        return self.begin + share * self.length


@dataclass(frozen=True)
class _Series:
    """The spectra of one order of one source, one of each integration; or one measurement alone.

    Attributes
    ----------
    items : tuple of Measurement
        In the order of time.
    place : int
        Of the measurement among them.
    lacks : str
        Why it is not known which of the file's spectra these are; then they are all of them.
    """

    items: tuple[Measurement, ...]
    place: int = 0
    lacks: str = ""


@dataclass
class Timing:
    """What was found out of a product's times, by science plane: a file may hold thousands of spectra.

    Attributes
    ----------
    frames, segments, spans : dict
        What :func:`frame_times`, :func:`segment_of` and :func:`exposure_span` gave.
    series : dict
        The series that each measurement is of.
    columns : dict of str to list of Plane, or None
        The columns of times, by name, once they were looked for.
    """

    frames: dict[Plane, FrameTimes | None] = field(default_factory=dict)
    segments: dict[Plane, Segment] = field(default_factory=dict)
    spans: dict[Plane, Span | None] = field(default_factory=dict)
    series: dict[Plane, _Series] = field(default_factory=dict)
    columns: dict[str, list[Plane]] | None = None


def frame_times(product: Product, measurement: Measurement) -> FrameTimes | None:
    """Return the times of the frames of a measurement, or ``None`` where the file does not tell.

    Integrations have times of their own; the planes of a cube share the exposure's. A spectrum that stands
    alone in its HDU has the time of its place among those of its order and source.
    """
    known = product.timing.frames
    if measurement.sci not in known:
        known[measurement.sci] = _found(product, measurement)
    return known[measurement.sci]


def file_start(product: Product, measurement: Measurement) -> float | None:
    """Return when the first of a file's integrations of a measurement began (MJD UTC), or ``None``."""
    times = frame_times(product, _series_of(product, measurement).items[0])
    return None if times is None else float(times.start[0])


def _found(product: Product, measurement: Measurement) -> FrameTimes | None:
    frames, series = measurement.frames, _series_of(product, measurement)
    first, of = (series.place, len(series.items)) if len(series.items) > 1 else (0, frames)
    if not measurement.resampled:
        for names, method in zip(_COLUMNS, ("INT_TIMES", "MJD columns"), strict=True):
            table = [_column(product, measurement, name, of) for name in names]
            if all(column is not None for column in table):
                start, mid, end = (column[first : first + frames] for column in table if column is not None)
                return FrameTimes(start, mid, end, method)
    begin, end_time = product.number("EXPSTART"), product.number("EXPEND")
    if begin is None or end_time is None or not end_time > begin:
        middle = product.stream_time
        if middle is None:
            return None
        begin = end_time = middle
    if measurement.resampled:
        edges = (np.full(frames, begin), np.full(frames, end_time))
    else:
        here = segment_of(product, measurement)
        step = (end_time - begin) / here.total
        places = here.first + np.arange(frames, dtype=np.float64)
        last = begin + (places + here.each) * step
        whole = here.first == 0 and here.each == here.total
        edges = (begin + places * step, np.full(frames, end_time) if whole else last)
    return FrameTimes(edges[0], edges[0] + (edges[1] - edges[0]) / 2.0, edges[1], "EXPSTART..EXPEND")


def _series_of(product: Product, measurement: Measurement) -> _Series:
    """Return the measurements that are the integrations of a file: itself, or those that have a table each."""
    if not (measurement.sci.column and measurement.frames == 1 and _is_time_series(product)):
        return _Series((measurement,))
    known = product.timing.series
    if measurement.sci not in known:
        alike = [item for item in product.measurements if item.sci.column == measurement.sci.column]
        series, lacks = _sorted_out(product, alike)
        for items in series:
            for place, item in enumerate(items):
                known[item.sci] = _Series(tuple(items), place, lacks)
    return known[measurement.sci]


def _sorted_out(product: Product, alike: list[Measurement]) -> tuple[list[list[Measurement]], str]:
    """Return the spectra of each order of each source, and why these are not known; then they are one series.

    By INT_NUM, where it counts as many integrations as the file holds; else by SPORDER and SOURCEID; else as the
    tables lie in the file, all integrations of an order before those of the next.
    """
    held = _held(product)
    ways = [_by_number(product, alike), _by_kind(product, alike)]
    if held is not None and len(alike) % held == 0:
        ways.append([alike[start : start + held] for start in range(0, len(alike), held)])
    even = [way for way in ways if len({len(items) for items in way}) == 1]
    for way in even:
        if len(way[0]) == held:
            return way, ""
    for way in even:
        if 1 < len(way[0]) < len(alike):  # tables of integrations that were lost are no reason to mix orders
            return way, ""
    if held is not None and len(alike) > held:
        return [alike], f"its {len(alike)} spectra are no multiple of its {held} integrations"
    return [alike], ""


def _held(product: Product) -> int | None:
    """Return how many integrations the file holds by INTSTART and INTEND, else by INT_TIMES, else by NINTS."""
    first, last = product.count("INTSTART"), product.count("INTEND")
    if first is not None and last is not None and first <= last:
        return last - first + 1
    rows = [plane.shape[0] for plane in _time_columns(product, _COLUMNS[0][0]) if plane.extname == "INT_TIMES"]
    if rows:
        return rows[0]
    return None if _is_one_of_several(product) else product.count("NINTS")


def _by_number(product: Product, alike: list[Measurement]) -> list[list[Measurement]]:
    """Return the first, second, ... spectra of each integration, sorted by INT_NUM; none where a table lacks it."""
    of_integration: dict[int, list[Measurement]] = {}
    for item in alike:
        number = card_value(product.scan.blocks[item.sci.hdu].header, "INT_NUM")
        if not isinstance(number, int):
            return []
        of_integration.setdefault(number, []).append(item)
    if len({len(items) for items in of_integration.values()}) != 1:
        return []
    return [list(items) for items in zip(*(of_integration[number] for number in sorted(of_integration)), strict=True)]


def _by_kind(product: Product, alike: list[Measurement]) -> list[list[Measurement]]:
    """Return the spectra of each order of each source, in file order."""
    found: dict[tuple[object, object], list[Measurement]] = {}
    for item in alike:
        header = product.scan.blocks[item.sci.hdu].header
        found.setdefault((card_value(header, "SPORDER"), card_value(header, "SOURCEID")), []).append(item)
    return list(found.values())


def _is_time_series(product: Product) -> bool:
    return product.name.lower().split(".")[0].endswith("x1dints")


def segment_of(product: Product, measurement: Measurement) -> Segment:
    """Return which integrations of the exposure the frames are, by INTSTART, INTEND and NINTS.

    Those count from 1 and over the whole exposure. A file without INTSTART and INTEND holds all of it, unless
    EXSEGTOT, EXSEGNUM or its name say that there are more.
    """
    known = product.timing.segments
    if measurement.sci not in known:
        known[measurement.sci] = _segment(product, measurement)
    return known[measurement.sci]


def _segment(product: Product, measurement: Measurement) -> Segment:
    series = _series_of(product, measurement)
    place = series.place
    held = len(series.items) if len(series.items) > 1 else measurement.frames
    mean = held == 1 and not measurement.ramp
    first, last, total = (product.count(name) for name in ("INTSTART", "INTEND", "NINTS"))
    each = (total or 1) if mean else 1
    alone = Segment(place, each, each if mean else held, series.lacks)
    if series.lacks:
        return alone
    if first is None and last is None:
        lacks = "it is one of several segments, and INTSTART and INTEND are not there"
        return replace(alone, lacks=lacks) if _is_one_of_several(product) else alone
    if first is None or last is None or total is None or not first <= last <= total:
        return replace(alone, lacks=f"INTSTART {first}, INTEND {last} and NINTS {total} are no part of an exposure")
    if last - first + 1 == held or mean:
        return Segment(first - 1 + place, last - first + 1 if mean else 1, total)
    lacks = f"INTSTART {first} and INTEND {last} do not count its {held} integrations"
    return alone if (first, last) == (1, total) else replace(alone, lacks=lacks)


def _is_one_of_several(product: Product) -> bool:
    named = _SEGMENT.search(product.name)
    numbers = (product.count("EXSEGTOT"), product.count("EXSEGNUM"), int(named[1]) if named else None)
    return any(number is not None and number > 1 for number in numbers)


def exposure_span(product: Product, measurement: Measurement) -> Span | None:
    """Return when the exposure of a measurement began and ended: EXPSTART and EXPEND, which its segments share.

    Where those do not hold the times of the file's frames, or are those of one segment, it is the time of the file.
    ``None`` where the file tells no two times.
    """
    known = product.timing.spans
    if measurement.sci not in known:
        known[measurement.sci] = _span(product, measurement)
    return known[measurement.sci]


def _span(product: Product, measurement: Measurement) -> Span | None:
    times, here = frame_times(product, measurement), segment_of(product, measurement)
    begin, end = product.number("EXPSTART"), product.number("EXPEND")
    if times is None:
        return None
    if begin is None or end is None or not begin <= float(times.mid.min()) <= float(times.mid.max()) <= end:
        reason = "EXPSTART and EXPEND do not hold the times of its integrations"
    elif times.method == "EXPSTART..EXPEND":
        return Span(begin, end, here.lacks) if end > begin else None
    else:
        reason = _not_of_exposure(begin, end, times, here)
        if not reason:
            return Span(begin, end)
    alike = _series_of(product, measurement).items
    last = frame_times(product, alike[-1]) or times
    first = frame_times(product, alike[0]) or times
    begin, end = float(first.start[0]), float(last.end[-1])
    part = here.lacks or here.total > max(len(alike), measurement.frames) * here.each
    return Span(begin, end, (here.lacks or reason) if part else "") if end > begin else None


def _not_of_exposure(begin: float, end: float, times: FrameTimes, here: Segment) -> str:
    """Return why EXPSTART and EXPEND are not those of the exposure of integrations that a table tells the times of."""
    half = float(times.end[0] - times.start[0]) / 2.0
    early, late = float(times.start[0]) - begin < half, end - float(times.end[-1]) < half
    if here.lacks:  # what the table holds is a part of EXPSTART to EXPEND, or all of it
        return here.lacks if early and late else ""
    more = here.first + times.mid.size < here.total
    return "EXPSTART and EXPEND are those of the segment" if (here.first and early) or (more and late) else ""


def _column(product: Product, measurement: Measurement, name: str, frames: int) -> Floats | None:
    """Return a column of times that has a finite row for each frame; of a longer one, this segment's rows."""
    for plane in _time_columns(product, name):
        if plane.extname != "INT_TIMES" and plane.hdu != measurement.sci.hdu:
            continue
        values = plane.read(product.payload).astype(np.float64).reshape(-1)
        first = segment_start(product, values.size, frames) if plane.extname == "INT_TIMES" else 0
        values = values[first : first + frames]
        if values.size == frames and frames and np.isfinite(values).all() and (values > 0).all():
            return values
    return None


def _time_columns(product: Product, name: str) -> list[Plane]:
    """Return the columns of that name that may hold times: in file order."""
    if product.timing.columns is None:
        product.timing.columns = {name: [] for names in _COLUMNS for name in names}
        for plane in product.planes:
            if plane.column in product.timing.columns and plane.dtype.startswith("float"):
                product.timing.columns[plane.column].append(plane)
    return product.timing.columns[name]


def segment_start(product: Product, rows: int, frames: int) -> int:
    """Return the row of INT_TIMES of a file's first integration.

    A table may have a row for each integration of the exposure, which INTSTART counts from 1, of a file that holds a
    segment of it.
    """
    return 0 if rows == frames else (product.count("INTSTART") or 1) - 1
