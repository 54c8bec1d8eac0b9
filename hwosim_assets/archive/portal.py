"""The questions of MAST's portal interface (``/api/v0/invoke``), answered from a listing.

Holds: the CAOM services that astroquery uses (filtered, filtered with position, cone, products, the
summary of all), with MAST's filters, paging and reply form. Keep out HTTP (``server``) and the
mission search (``mission``).

A question that MAST would refuse gets ``status: ERROR`` with a message, as there, not an HTTP error.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa

from hwosim_assets.archive.caom import Listing, Row
from hwosim_assets.archive.columns import SEPARATED, field_type
from hwosim_assets.archive.footprint import distance_deg
from hwosim_assets.archive.schema import OBSERVATION_COLUMNS, PRODUCT_COLUMNS

__all__ = ["invoke"]

LARGEST_PAGE = 50_000
#: The service whose reply is not a table of rows but counts of all.
SUMMARY = "Mast.Caom.All"
Fields = dict[str, pa.DataType]
Answer = tuple[Fields, list[Row]]


class _RefusedError(Exception):
    """A question that the portal does not answer."""


def invoke(listing: Listing, request: str) -> dict[str, Any]:
    """Answer a portal request.

    Parameters
    ----------
    listing : Listing
        What the archive lists.
    request : str
        The JSON of the form field ``request``.

    Returns
    -------
    dict
        ``status``, ``msg``, ``data``, ``fields`` and ``paging``; on a mistake ``status`` is ``ERROR``.
    """
    try:
        asked = json.loads(request)
        if asked["service"] == SUMMARY:
            return _summary(listing)
        if asked["service"] not in _SERVICES:
            return _error(f"no service {asked['service']!r} here; there are {', '.join((*_SERVICES, SUMMARY))}")
        parameters = asked.get("params", {})
        if not isinstance(parameters, Mapping):
            return _error("params is not an object")
        fields, rows = _SERVICES[asked["service"]](listing, parameters)
        return _reply(fields, rows, int(asked.get("page") or 1), int(asked.get("pagesize") or LARGEST_PAGE))
    except _RefusedError as refused:
        return _error(str(refused))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
        return _error(f"the request cannot be read ({type(problem).__name__}: {problem})")


def _error(message: str) -> dict[str, Any]:
    return {"status": "ERROR", "msg": message, "data": [], "fields": [], "paging": None}


def _reply(fields: Fields, rows: list[Row], page: int, page_size: int) -> dict[str, Any]:
    if page < 1 or not 1 <= page_size <= LARGEST_PAGE:
        raise _RefusedError(f"page must be 1 or more and pagesize 1 to {LARGEST_PAGE}")
    shown = rows[(page - 1) * page_size : page * page_size]
    return {
        "status": "COMPLETE",
        "msg": "",
        "data": [{name: row.get(name) for name in fields} for row in shown],
        "fields": [field_type(name, kind) for name, kind in fields.items()],
        "paging": {
            "page": page,
            "pageSize": page_size,
            "pagesFiltered": math.ceil(len(rows) / page_size),
            "rows": len(shown),
            "rowsFiltered": len(rows),
            "rowsTotal": len(rows),
        },
    }


def _filtered(listing: Listing, parameters: Mapping[str, Any]) -> Answer:
    return _columns(parameters, OBSERVATION_COLUMNS, _matching(listing.observations, parameters))


def _filtered_position(listing: Listing, parameters: Mapping[str, Any]) -> Answer:
    ra, dec, radius = (float(part) for part in str(parameters["position"]).split(","))
    rows = _near(_matching(listing.observations, parameters), ra, dec, radius)
    return _columns(parameters, OBSERVATION_COLUMNS | {"objID1": pa.string(), "distance": pa.float64()}, rows)


def _cone(listing: Listing, parameters: Mapping[str, Any]) -> Answer:
    radius = float(parameters.get("radius", 0.2))
    rows = _near(listing.observations, float(parameters["ra"]), float(parameters["dec"]), radius)
    return OBSERVATION_COLUMNS | {"distance": pa.float64(), "_selected_": pa.bool_()}, rows


def _products(listing: Listing, parameters: Mapping[str, Any]) -> Answer:
    wanted = str(parameters["obsid"]).split(",")
    rows = [row for text in wanted if text.strip().isdigit() for row in listing.products.get(int(text), ())]
    return PRODUCT_COLUMNS | {"_selected_": pa.bool_()}, rows


def _summary(listing: Listing) -> dict[str, Any]:
    """Return how often each mission, instrument and product type occurs, in the portal's table form."""
    columns = []
    for name in ("obs_collection", "instrument_name", "dataproduct_type"):
        counts = Counter(str(row[name] or "") for row in listing.observations)
        bins = [{"count": count, "key": key} for key, count in sorted(counts.items())]
        histogram = {"hist": bins} | {item["key"]: item for item in bins}
        columns.append({"text": name, "dataIndex": name, "ExtendedProperties": {"histObj": histogram}})
    empty = dict.fromkeys(("page", "pageSize", "pagesFiltered", "rows", "rowsFiltered", "rowsTotal"), 0)
    table = {"name": "Table", "ExtendedProperties": {"Paging": empty}, "Columns": columns, "Rows": []}
    return {"status": "COMPLETE", "msg": "", "data": {"name": "NewDataSet", "Tables": [table]}}


_SERVICES: dict[str, Callable[[Listing, Mapping[str, Any]], Answer]] = {
    "Mast.Caom.Filtered": _filtered,
    "Mast.Caom.Filtered.Position": _filtered_position,
    "Mast.Caom.Cone": _cone,
    "Mast.Caom.Products": _products,
}


def _columns(parameters: Mapping[str, Any], fields: Fields, rows: list[Row]) -> Answer:
    """Return the columns asked for: all, a count, or a list of names."""
    asked = str(parameters.get("columns") or "*").strip()
    if re.fullmatch(r"COUNT(_BIG)?\(\*\)", asked, re.IGNORECASE):
        return {"Column1": pa.string()}, [{"Column1": len(rows)}]
    if asked == "*":
        return fields, rows
    by_name = {name.lower(): name for name in fields}
    names = [by_name.get(name.strip().lower()) for name in asked.split(",")]
    if None in names:
        raise _RefusedError(f"columns {asked!r} are not all known")
    return {name: fields[name] for name in names if name}, rows


def _near(rows: Iterable[Row], ra: float, dec: float, radius: float) -> list[Row]:
    """Return the rows whose footprint reaches into a cone, with their distance in arcsec, nearest first."""
    if not (-90 <= dec <= 90 and math.isfinite(ra) and radius >= 0):
        raise _RefusedError("position must be ra, dec, radius in deg")
    near = []
    for row in rows:
        distance = distance_deg(ra, dec, row["s_region"], row["s_ra"], row["s_dec"])
        if distance is not None and distance <= radius:
            near.append(row | {"distance": distance * 3600, "objID1": row["objID"]})
    return sorted(near, key=lambda row: row["distance"])


def _matching(rows: Iterable[Row], parameters: Mapping[str, Any]) -> list[Row]:
    tests = [_test(entry) for entry in parameters.get("filters") or ()]
    return [row for row in rows if all(test(row) for test in tests)]


def _test(entry: Mapping[str, Any]) -> Callable[[Row], bool]:
    """Return the test that one filter means: a range, or any of some values, or a pattern."""
    asked = str(entry["paramName"])
    name = next((name for name in OBSERVATION_COLUMNS if name.lower() == asked.lower()), None)
    if name is None:
        raise _RefusedError(f"no column {asked!r}")
    values = list(entry.get("values") or ())
    ranges = [(float(value["min"]), float(value["max"])) for value in values if isinstance(value, Mapping)]
    words = {str(value).strip().lower() for value in values if not isinstance(value, Mapping)}
    pattern = _pattern(str(entry["freeText"])) if entry.get("freeText") else None

    def test(row: Row) -> bool:
        value = row[name]
        if value is None:
            return False
        if ranges:
            return any(low <= value <= high for low, high in ranges)
        text = str(value).lower()
        parts = {text, *(part.strip() for part in text.split(";"))} if name in SEPARATED else {text}
        return bool(parts & words) or (pattern is not None and pattern.fullmatch(text) is not None)

    return test


def _pattern(text: str) -> re.Pattern[str]:
    """Return a SQL pattern (``%`` any characters) as a regular expression."""
    return re.compile(".*".join(re.escape(part) for part in text.lower().split("%")), re.DOTALL)
