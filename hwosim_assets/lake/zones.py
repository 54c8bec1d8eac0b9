"""What each row group of a data file holds, so that a search reads only those that may matter.

Holds: :func:`summarize`, which makes the summary of some rows; :class:`Zones`, those of a data file, and
:func:`zones_of`, which gives them (compaction stores them beside it, else they are made from its rows);
:func:`cells_of_cone` and :func:`cells_of_polygon`. A data file never changes, so neither does its summary, and
it can never be out of date. Keep out what a search asks (``catalog.search``) and how tables are written
(``lake.tables``).

A summary speaks of ObsCore columns: the extremes of program, name and time, the distinct instruments,
filters and product types, the days on which each instrument exposed, and the HEALPix cells in which positions lie.
A footprint wider than :data:`WIDE` is not bound to the cell of its centre: its row group says so and is always read.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    from numpy.typing import NDArray
    from pyarrow.fs import FileSystem

__all__ = [
    "ROW_GROUP",
    "WIDE",
    "ZONED",
    "Zone",
    "Zones",
    "cells_of_cone",
    "cells_of_polygon",
    "summarize",
    "zone_path",
    "zones_of",
]

#: Rows of a row group in a compacted file: what a selective question reads at least.
ROW_GROUP = 4096
#: HEALPix depth of the cells (nested scheme); at 8 a cell is 13.7 arcmin wide, some JWST fields of view.
DEPTH = 8
#: Diameter of a footprint (deg) above which the cell of its centre says too little.
WIDE = 0.5
#: An exposure longer than this (days) is not told day by day; one of JWST takes hours.
LONG = 30
#: No exposure is later than this (MJD, the year 4596): such a time is a mistake, and is not told either.
LATEST = 1_000_000
#: Columns whose extremes are kept, and those whose distinct values are.
RANGES = ("program", "product_name", "t_min", "t_max")
VALUES = ("instrument_name", "filters", "product_type")
#: Columns that a summary is made of; a table without them has none.
ZONED = (*RANGES, *VALUES, "s_ra", "s_dec", "s_fov", "s_region")
#: Files whose summaries a process keeps.
_KEPT = 4096

#: Summary of a row group, :func:`summarize`.
Zone = dict[str, Any]


def summarize(rows: pa.Table) -> Zone:
    """Return the summary of the rows of one row group.

    Parameters
    ----------
    rows : pyarrow.Table
        With the columns :data:`ZONED`.

    Returns
    -------
    dict
        ``rows``; ``[least, greatest]`` of each range (``None`` where all are null); the distinct values
        (nulls left out); ``days`` (MJD) by instrument, ``None`` where an exposure is longer than :data:`LONG`;
        ``cells``, sorted; ``wide``, whether a footprint reaches beyond its cell.
    """
    zone: Zone = {"rows": rows.num_rows}
    for name in RANGES:
        ends = pc.min_max(rows[name]).as_py()
        zone[name] = None if ends["min"] is None else [ends["min"], ends["max"]]
    for name in VALUES:
        zone[name] = sorted(value for value in pc.unique(rows[name]).to_pylist() if value is not None)
    zone["days"] = _days(rows)
    ra, dec, width = (rows[name].to_numpy(zero_copy_only=False).astype(float) for name in ("s_ra", "s_dec", "s_fov"))
    # a region without a width is one that the catalog could not measure
    wide = (width > WIDE) | (np.isnan(width) & np.asarray(rows["s_region"].is_valid()))
    placed = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)
    zone["cells"] = np.unique(_cells(ra[placed & ~wide], dec[placed & ~wide])).tolist()
    # A footprint without a position cannot be told from its cell either.
    zone["wide"] = bool((wide | (~placed & np.isfinite(width))).any())
    return zone


def _days(rows: pa.Table) -> dict[str, list[int]] | None:
    """Return the days that exposures touch, by instrument; "" where none is named. Rows without a time have no days."""
    first, last = (rows[name].to_numpy(zero_copy_only=False).astype(float) for name in ("t_min", "t_max"))
    last = np.fmax(first, last)
    timed = ~np.isnan(first)
    if not ((np.abs(first[timed]) < LATEST).all() and (last[timed] - first[timed] <= LONG).all()):
        return None
    names = np.array([name or "" for name in rows["instrument_name"].to_pylist()], object)[timed]
    spans = np.floor(np.stack([first[timed], last[timed]])).astype(np.int64)
    found: dict[str, list[int]] = {}
    for name in sorted(set(names)):
        ends = np.unique(spans[:, names == name], axis=1)
        days = [np.arange(begin, end + 1) for begin, end in ends.T]
        found[str(name)] = np.unique(np.concatenate(days)).tolist()
    return found


def _cells(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.uint64]:
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import lonlat_to_healpix

    if not ra.size:
        return np.empty(0, np.uint64)
    places = Longitude(ra, unit="deg"), Latitude(dec, unit="deg")
    found: NDArray[np.uint64] = lonlat_to_healpix(*places, DEPTH, num_threads=1)
    return found


def cells_of_cone(ra: float, dec: float, radius: float) -> NDArray[np.uint64] | None:
    """Return the cells in which a footprint may be centred that comes within a cone; ``None`` for any.

    Parameters
    ----------
    ra, dec, radius : float
        ICRS, deg; footprints up to :data:`WIDE` across are reckoned with.
    """
    from astropy.coordinates import Latitude, Longitude
    from astropy.units import deg
    from cdshealpix.nested import cone_search

    reach = radius + WIDE / 2 + 1e-6
    if reach > 30:
        return None  # more cells than it would save reading
    cells: NDArray[np.uint64] = cone_search(
        Longitude(ra, unit="deg"), Latitude(dec, unit="deg"), reach * deg, DEPTH, flat=True
    )[0]
    return np.sort(cells)


def cells_of_polygon(centre: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.uint64] | None:
    """Return the cells for a polygon, as :func:`cells_of_cone` does for the cone around it.

    Parameters
    ----------
    centre : numpy.ndarray
        Unit vector towards its middle, shape (3,).
    corners : numpy.ndarray
        Unit vectors, shape (n, 3).
    """
    radius = float(np.degrees(np.arccos(np.clip(corners @ centre, -1, 1).min())))
    ra, dec = np.degrees(np.arctan2(centre[1], centre[0])) % 360, np.degrees(np.arcsin(np.clip(centre[2], -1, 1)))
    return cells_of_cone(float(ra), float(dec), radius)


def zone_path(data_file: str) -> str:
    """Return where the summaries of a data file lie: beside it."""
    return data_file + ".zones.json"


class _Kept:
    """The summaries that this process read last; a data file's never change."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, Zones] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str) -> Zones | None:
        with self._lock:
            if path in self._of:
                self._of.move_to_end(path)
            return self._of.get(path)

    def put(self, path: str, zones: Zones) -> Zones:
        with self._lock:
            self._of[path] = zones
            while len(self._of) > _KEPT:
                self._of.popitem(last=False)
        return zones


_kept = _Kept()


class Zones:
    """The summaries of a data file's row groups, in their order.

    Where they lie in time and on the sky also stands in arrays: a table of ten million rows has thousands of row
    groups, and to ask each of them by itself took a third of a search.

    Parameters
    ----------
    each : list of dict
        Summaries, :func:`summarize`, as made or as read from JSON.

    Attributes
    ----------
    each : list of dict
        The same without the cells, which take a fourth of the memory in the array.
    """

    def __init__(self, each: list[Zone]) -> None:
        self.each = [{name: value for name, value in zone.items() if name != "cells"} for zone in each]
        self._first, self._last = np.array([_span(zone) for zone in each], float).reshape(-1, 2).T
        self._wide = np.array([zone["wide"] for zone in each], bool)
        self._cells = np.concatenate([np.asarray(zone["cells"], np.uint64) for zone in each] or [_NO_CELLS])
        self._owners = np.repeat(np.arange(len(each)), [len(zone["cells"]) for zone in each])

    def __len__(self) -> int:
        return len(self.each)

    def overlapping(self, start: float, end: float) -> NDArray[np.bool_]:
        """Return which row groups have exposures that begin before the end and end after the start (MJD)."""
        return (self._first <= end) & (self._last >= start)

    def holding(self, cells: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which row groups have a footprint that may be centred in one of some cells (sorted, distinct)."""
        held = self._wide.copy()
        if len(cells):
            place = np.searchsorted(cells, self._cells)
            held[self._owners[cells[np.minimum(place, len(cells) - 1)] == self._cells]] = True
        return held


_NO_CELLS: NDArray[np.uint64] = np.empty(0, np.uint64)


def _span(zone: Zone) -> tuple[float, float]:
    """Return the first and the last time of a row group; such as overlap nothing where it has no start."""
    if zone["t_min"] is None:
        return np.inf, -np.inf
    return zone["t_min"][0], max(zone["t_min"][1], zone["t_max"][1] if zone["t_max"] else zone["t_min"][1])


def zones_of(path: str, filesystem: FileSystem, fragment: Callable[[], ds.ParquetFileFragment]) -> Zones:
    """Return the summaries of a data file's row groups.

    Parameters
    ----------
    path : str
        The data file, as its file system names it.
    filesystem : pyarrow.fs.FileSystem
        Where it lies.
    fragment : callable
        Returns the same file as a ``pyarrow.dataset.ParquetFileFragment``; its rows are read where no summaries are
        stored.

    Raises
    ------
    FileNotFoundError
        If the data file is gone.
    """
    kept = _kept.get(path)
    if kept is not None:
        return kept
    try:
        with filesystem.open_input_stream(zone_path(path)) as stream:
            zones = json.loads(stream.read())
    except FileNotFoundError:
        rows = fragment()
        present = [name for name in ZONED if name in rows.physical_schema.names]
        zones = [summarize(_whole(group.to_table(columns=present))) for group in rows.split_by_row_group()]
    return _kept.put(path, Zones(zones))


def _whole(rows: pa.Table) -> pa.Table:
    """Return rows with every column that a summary is made of; what an old file lacks is null."""
    for name in ZONED:
        if name not in rows.column_names:
            kind = pa.string() if name in (*VALUES, "s_region") else pa.float64()
            rows = rows.append_column(name, pa.nulls(rows.num_rows, kind))
    return rows
