"""The table of validated products: one typed row per file.

Holds: :data:`PRODUCTS`, a closed schema of ObsCore columns (IVOA ObsCore 1.1, wavelengths in metres),
JWST's own facts and the core keywords as ``kw_*``, and the row of one file. A keyword that is not in
``fits.keywords`` never becomes a column. Keep out judgement (``validate``).
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.fits.hdus import layout
from hwosim_assets.fits.keywords import CORE_KEYWORDS
from hwosim_assets.fits.sky import region_radius
from hwosim_assets.lake.spec import TableSpec

if TYPE_CHECKING:
    from hwosim_assets.catalog.validate import Finding
    from hwosim_assets.fits.describe import Description

__all__ = ["EXTRACTOR_VERSION", "PRODUCTS", "keyword_column", "located", "product_row", "stream_time"]

#: Raised whenever cards, rows or rules of a file may come out differently; files are then read anew.
EXTRACTOR_VERSION = 5

_ARROW: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_METRES_PER_NM = 1e-9
_SECONDS_PER_DAY = 86400.0


def keyword_column(keyword: str) -> str:
    """Return the column of a core keyword: ``DATE-OBS`` is ``kw_date_obs``."""
    return "kw_" + keyword.lower().replace("-", "_")


def _fields(kind: pa.DataType, *names: str, nullable: bool = True) -> list[pa.Field]:
    return [pa.field(name, kind, nullable=nullable) for name in names]


PRODUCTS = TableSpec(
    name="products",
    schema=pa.schema(
        [
            *_fields(pa.string(), "program", "product_name", "sha256", nullable=False),
            *_fields(pa.int64(), "size_bytes", nullable=False),
            *_fields(pa.string(), "key", "uri", "data_uri", "product_type", nullable=False),
            *_fields(pa.string(), "dms_level", "detector", "exp_type"),
            *_fields(pa.float64(), "stream_time_mjd"),
            *_fields(pa.string(), "layout_json", nullable=False),
            *_fields(pa.int64(), "extractor_version", nullable=False),
            *_fields(pa.string(), "warnings"),
            *_fields(pa.string(), "obs_collection", "obs_id", "obs_publisher_did", "dataproduct_type"),
            *_fields(pa.int64(), "calib_level"),
            *_fields(pa.string(), "target_name"),
            *_fields(pa.float64(), "s_ra", "s_dec", "s_fov"),
            *_fields(pa.string(), "s_region"),
            *_fields(pa.float64(), "t_min", "t_max", "t_exptime", "em_min", "em_max"),
            *_fields(pa.string(), "facility_name", "instrument_name", "filters", "o_ucd", "access_url"),
            *_fields(pa.string(), "access_format"),
            *_fields(pa.int64(), "access_estsize"),
            *[pa.field(keyword_column(keyword), _ARROW[kind]) for keyword, kind in CORE_KEYWORDS.items()],
            pa.field("cataloged_at", pa.timestamp("us", "UTC")),
        ]
    ),
    scope=("program",),
    key=("product_name",),
    volatile=("cataloged_at",),
    doc="One row for each file that keeps what JWST promises for its product type.",
)


def product_row(raw: dict[str, Any], facts: Description, warnings: list[Finding]) -> dict[str, Any]:
    """Return the row of one validated file.

    Parameters
    ----------
    raw : dict
        Its row of the raw-files table: program, product_name, sha256, size_bytes, key, uri, data_uri.
    facts : Description
        What its headers and name say.
    warnings : list of Finding
        What is odd but harmless; stored as JSON, null when there is nothing.

    Returns
    -------
    dict
        Every column of :data:`PRODUCTS`. Times are MJD (UTC), exposure s, ``em_*`` m, ``access_estsize``
        kB, angles deg.
    """
    radius = region_radius(facts.s_region)
    row: dict[str, Any] = {
        "program": raw["program"],
        "product_name": raw["product_name"],
        "sha256": raw["sha256"],
        "product_type": facts.product_type,
        "dms_level": facts.dms_level,
        "detector": facts.detector or None,
        "exp_type": facts.exp_type or None,
        "stream_time_mjd": stream_time(facts),
        "layout_json": json.dumps(layout(facts.hdus), separators=(",", ":")),
        "extractor_version": EXTRACTOR_VERSION,
        "warnings": json.dumps([{"rule": item.rule, "reason": item.reason} for item in warnings]) if warnings else None,
        "obs_collection": "JWST",
        "obs_id": facts.obs_id,
        "dataproduct_type": facts.dataproduct_type or None,
        "calib_level": facts.calib_level,
        "target_name": facts.target_name or None,
        "s_ra": facts.s_ra,
        "s_dec": facts.s_dec,
        "s_fov": None if radius is None else 2 * radius,
        "s_region": facts.s_region or None,
        "t_min": facts.t_min,
        "t_max": facts.t_max,
        "t_exptime": facts.t_exptime,
        "em_min": None if facts.em_min is None else facts.em_min * _METRES_PER_NM,
        "em_max": None if facts.em_max is None else facts.em_max * _METRES_PER_NM,
        "facility_name": "JWST",
        "instrument_name": facts.instrument_name or None,
        "filters": facts.filters or None,
        "o_ucd": _ucd(facts),
        "access_format": "application/fits",
        **{keyword_column(keyword): facts.keywords.get(keyword) for keyword in CORE_KEYWORDS},
    }
    return located(row, raw)


def located(row: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """Return a product row that says where the file lies now, leaving its content as it is."""
    return row | {
        "size_bytes": raw["size_bytes"],
        "key": raw["key"],
        "uri": raw["uri"],
        "data_uri": raw["data_uri"],
        "obs_publisher_did": f"ivo://archive.stsci.edu/jwst?{raw['data_uri']}",
        "access_url": raw["uri"],
        "access_estsize": math.ceil(raw["size_bytes"] / 1000),
        "cataloged_at": row.get("cataloged_at") or datetime.now(UTC),
    }


def stream_time(facts: Description) -> float | None:
    """Return the mid time of the exposure, MJD UTC, or ``None`` when its start is unknown.

    EXPMID where it lies between start and end; else the mean of these; else the start plus half the
    exposure time.
    """
    start, end, middle = facts.t_min, facts.t_max, facts.keywords.get("EXPMID")
    if start is None:
        return None
    if end is not None and end >= start:
        inside = isinstance(middle, float) and start <= middle <= end
        return float(middle) if inside and middle is not None else (start + end) / 2
    return start + (facts.t_exptime or 0.0) / 2 / _SECONDS_PER_DAY


def _ucd(facts: Description) -> str | None:
    """Return what was measured as a UCD1+ word, from BUNIT or the kind of product."""
    unit = facts.bunit.replace(" ", "").lower()
    if unit.startswith(("dn", "adu", "counts", "electron")):
        return "phot.count"
    if unit.endswith("/sr") or "arcsec" in unit:
        return "phot.flux.density.sb"
    if unit.endswith("jy") or facts.product_type in {"x1d", "x1dints", "c1d"}:
        return "phot.flux.density"
    return None
