"""Finding products in the catalog.

Holds: :func:`search` over the products table. Keep out the archive's own search (``archive.client``)
and how results are printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hwosim_assets.archive.footprint import distance_deg
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.names import program_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.lake.tables import Tables

__all__ = ["SEARCH_COLUMNS", "search"]

#: What a search returns unless asked for other columns.
SEARCH_COLUMNS = [
    "program", "product_name", "obs_id", "product_type", "calib_level", "dataproduct_type", "instrument_name",
    "detector", "filters", "exp_type", "target_name", "s_ra", "s_dec", "s_fov", "t_min", "t_max", "t_exptime",
    "em_min", "em_max", "size_bytes", "sha256", "uri", "data_uri", "warnings",
]  # fmt: skip
_PLACE = ["s_region", "s_ra", "s_dec", "s_fov"]


def search(
    tables: Tables,
    program: str | int | None = None,
    instrument: str | None = None,
    product_type: str | None = None,
    level: int | None = None,
    cone: tuple[float, float, float] | None = None,
    between: tuple[float, float] | None = None,
    *,
    columns: list[str] | None = None,
) -> pa.Table:
    """Find validated products.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    program : str or int, optional
        Program, padded or not.
    instrument : str, optional
        ``NIRCAM`` or, with its configuration, ``NIRCAM/IMAGE``.
    product_type : str, optional
        Suffix, for example ``cal``.
    level : int, optional
        CAOM calibration level.
    cone : (float, float, float), optional
        Right ascension, declination, radius, deg ICRS. A product is found when its footprint (else
        its position) comes that close; one without position is not.
    between : (float, float), optional
        MJD UTC; found is what was exposed at any time between, both ends included.
    columns : list of str, optional
        Columns to return, :data:`SEARCH_COLUMNS` by default.

    Returns
    -------
    pyarrow.Table
        Ordered by program and product name; empty when nothing is found.

    Raises
    ------
    BadInputError
        When a value cannot be a program, a position, a radius, a span of time or a column.
    """
    wanted = columns or SEARCH_COLUMNS
    unknown = set(wanted) - set(PRODUCTS.schema.names)
    if unknown:
        raise BadInputError(f"column {sorted(unknown)[0]!r}", "is none of the products table", "see docs or drop it")
    where = {} if program is None else {"program": program_key(program)}
    if product_type is not None:
        where["product_type"] = product_type.lower()
    needed = ["program", "product_name", "instrument_name", "calib_level", "t_min", "t_max", *_PLACE]
    found = tables.scan(PRODUCTS, where or None, list(dict.fromkeys([*wanted, *needed])))
    keep = np.ones(found.num_rows, dtype=bool)
    if instrument is not None:
        asked = instrument.upper()
        keep &= np.array(
            [name == asked or (name or "").split("/")[0] == asked for name in found["instrument_name"].to_pylist()],
            dtype=bool,
        )
    if level is not None:
        keep &= _floats(found, "calib_level") == level
    if cone is not None:
        keep &= _in_cone(found, cone)
    if between is not None:
        keep &= _in_span(found, between)
    order = [("program", "ascending"), ("product_name", "ascending")]
    return found.filter(pa.array(keep)).sort_by(order).select(wanted)


def _floats(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """Return a column as float64, null as NaN."""
    values: NDArray[np.float64] = rows[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _in_cone(rows: pa.Table, cone: tuple[float, float, float]) -> NDArray[Any]:
    """Return which footprints come within a cone: first by their circles, then exactly."""
    ra, dec, radius = cone
    if not (-360 <= ra <= 360 and -90 <= dec <= 90 and 0 <= radius <= 180):
        raise BadInputError(
            f"cone {ra} {dec} {radius}", "is no cone on the sky", "give RA, DEC and a radius of 0 to 180, in degrees"
        )
    ras, decs = np.radians(_floats(rows, "s_ra")), np.radians(_floats(rows, "s_dec"))
    reach = radius + np.nan_to_num(_floats(rows, "s_fov")) / 2
    # haversine formula
    half = (
        np.sin((decs - np.radians(dec)) / 2) ** 2
        + np.cos(decs) * np.cos(np.radians(dec)) * np.sin((ras - np.radians(ra)) / 2) ** 2
    )
    found: NDArray[Any] = np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0, 1)))) <= reach + 1e-9
    candidates = np.flatnonzero(found)
    for index, row in zip(candidates, rows.select(_PLACE).take(pa.array(candidates)).to_pylist(), strict=True):
        distance = distance_deg(ra, dec, row["s_region"], row["s_ra"], row["s_dec"])
        found[index] = distance is not None and distance <= radius
    return found


def _in_span(rows: pa.Table, between: tuple[float, float]) -> NDArray[Any]:
    """Return which exposures overlap a span of time."""
    start, end = between
    if not start <= end:
        raise BadInputError(f"span {start} {end}", "ends before it starts", "give the earlier time first")
    begins, ends = _floats(rows, "t_min"), _floats(rows, "t_max")
    ends = np.where(np.isnan(ends), begins, ends)
    overlaps: NDArray[Any] = (begins <= end) & (ends >= start)
    return overlaps
