"""MAST's JWST mission search (``/search/jwst/api/v0.1``), answered from a listing.

Holds: the search for file sets by header keywords and position, and the list of their products, in
the form of MAST's replies. Keep out HTTP (``server``) and the portal's questions (``portal``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hwosim_assets.archive.caom import ArchivedFile, Listing, Row
from hwosim_assets.archive.columns import MISSION_COLUMNS
from hwosim_assets.archive.footprint import distance_deg

__all__ = ["MissionQuestionError", "list_products", "search"]

LARGEST_LIMIT = 50_000
#: arcsec in one of the units of ``radius_units``.
_UNITS = {"arcseconds": 1.0, "arcminutes": 60.0, "degrees": 3600.0}
#: Columns of a result that its ``info`` does not declare, as in MAST's replies.
_UNDECLARED = ("search_key", "search_pos", "includedLevels")


class MissionQuestionError(ValueError):
    """A question that the mission search refuses (MAST: status 400)."""


def search(listing: Listing, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a search for file sets.

    Parameters
    ----------
    listing : Listing
        What the archive lists.
    asked : mapping
        The JSON of the request: ``conditions`` (list of ``{column: value}``; a value may be a comma
        separated list, carry ``*``, ``!``, ``<``, ``>`` or ``low..high``), ``target`` (``["ra dec"]``)
        with ``radius`` and ``radius_units``, ``limit``, ``offset``, ``select_cols``, ``sort_by``,
        ``sort_desc``.

    Returns
    -------
    dict
        ``messages``, ``search_params``, ``totalResults``, ``info`` and ``results``.

    Raises
    ------
    MissionQuestionError
        On unknown columns and values that cannot be read.
    """
    try:
        conditions = {name: value for entry in asked.get("conditions") or () for name, value in entry.items()}
        limit, offset = int(asked.get("limit") or 5000), int(asked.get("offset") or 0)
        targets = [tuple(float(part) for part in str(text).split()) for text in asked.get("target") or ()]
        radius = float(asked.get("radius") or 3.0) * _UNITS[str(asked.get("radius_units") or "arcminutes")]
        columns = [str(name) for name in asked.get("select_cols") or _default_columns()]
        sort_by, descending = list(asked.get("sort_by") or ()), list(asked.get("sort_desc") or ())
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise MissionQuestionError(f"the request cannot be read ({type(problem).__name__}: {problem})") from problem
    unknown = {*conditions, *columns, *sort_by} - MISSION_COLUMNS.keys()
    if unknown or any(len(target) != 2 for target in targets) or not 0 < limit <= LARGEST_LIMIT or offset < 0:
        raise MissionQuestionError(f"unknown columns {sorted(unknown)}, or target, limit or offset cannot be read")
    rows = [row for row in listing.file_sets if all(_meets(row[name], value) for name, value in conditions.items())]
    if targets:
        rows = [row for target in targets for row in _near(rows, target, radius)]
    for position in reversed(range(len(sort_by))):
        down = position < len(descending) and bool(descending[position])
        rows = sorted(rows, key=lambda row, name=sort_by[position]: (row[name] is None, row[name]), reverse=down)  # type: ignore[misc]
    declared = [name for name in columns if name not in _UNDECLARED]
    shown = [*dict.fromkeys([*declared, *_UNDECLARED])]
    return {
        "messages": [],
        "search_params": _echo(asked, conditions, columns, limit, offset),
        "totalResults": len(rows),
        "info": [
            {"name": name, "type": MISSION_COLUMNS[name][0], "sortable": "yes" if MISSION_COLUMNS[name][1] else "no"}
            for name in declared
        ],
        "results": [{name: row.get(name) for name in shown} for row in rows[offset : offset + limit]],
    }


def list_products(listing: Listing, datasets: Sequence[str]) -> dict[str, Any]:
    """List the products of file sets.

    Parameters
    ----------
    listing : Listing
        What the archive lists.
    datasets : sequence of str
        File set names.

    Returns
    -------
    dict
        ``products``; a file set that is not known has none.
    """
    return {
        "products": [_product(name, file) for name in dict.fromkeys(datasets) for file in listing.members.get(name, ())]
    }


def _product(file_set: str, file: ArchivedFile) -> Row:
    suffix = file.facts.product_type.upper()
    return {
        "product_key": f"{file_set}_{file.name}",
        "access": file.rights,
        "dataset": file_set,
        "instrument_name": file.facts.instrument or None,
        "filters": file.facts.filters or None,
        "filename": file.name,
        "uri": f"{file_set}/{file.name}",
        "authz_primary_identifier": file_set,
        "authz_secondary_identifier": suffix,
        "file_suffix": f"_{file.facts.product_type}" if suffix else "",
        "category": file.facts.dms_level or "other",
        "size": file.size,
        "type": "science",
    }


def _default_columns() -> list[str]:
    return [name for name, (_, _, default, _) in MISSION_COLUMNS.items() if default]


def _echo(
    asked: Mapping[str, Any], conditions: Mapping[str, Any], columns: Sequence[str], limit: int, offset: int
) -> dict[str, Any]:
    return {
        "target": list(asked.get("target") or ()),
        "radius": asked.get("radius", 3.0),
        "radius_units": asked.get("radius_units", "arcminutes"),
        "offset": offset,
        "limit": limit,
        "sort_by": list(asked.get("sort_by") or ()),
        "sort_desc": list(asked.get("sort_desc") or ()),
        "skip_count": bool(asked.get("skip_count")),
        "count_only": bool(asked.get("count_only")),
        "select_cols": list(columns),
        "search_key": [],
        "user_fields": [],
        "conditions": [{name: value} for name, value in conditions.items()],
    }


def _near(rows: Sequence[Row], target: Sequence[float], radius_arcsec: float) -> list[Row]:
    """Return the rows within a radius of a position, nearest first, ``ang_sep`` in arcmin."""
    near = []
    for row in rows:
        distance = distance_deg(target[0], target[1], row["s_region"], row["targ_ra"], row["targ_dec"])
        if distance is not None and distance * 3600 <= radius_arcsec:
            near.append(row | {"ang_sep": distance * 60, "search_pos": f"{target[0]} {target[1]}"})
    return sorted(near, key=lambda row: row["ang_sep"])


def _meets(value: Any, condition: object) -> bool:
    """Tell whether a value meets a condition: any of its alternatives, and none of its negations."""
    whole = str(condition).strip()
    if not whole:
        return True
    alternatives = [part.strip() for part in whole.split(",") if part.strip()]
    barred = [part[1:] for part in alternatives if part.startswith("!")]
    wanted = [part for part in alternatives if not part.startswith("!")]
    if any(_is(value, part) for part in barred):
        return False
    return not wanted or _is(value, whole) or any(_is(value, part) for part in wanted)


def _is(value: Any, wanted: str) -> bool:
    if value is None:
        return False
    if isinstance(value, (int, float)):
        return _number_is(float(value), wanted)
    pattern = ".*".join(re.escape(part) for part in wanted.lower().split("*"))
    return re.fullmatch(pattern, str(value).lower(), re.DOTALL) is not None


def _number_is(value: float, wanted: str) -> bool:
    try:
        if ".." in wanted:
            low, high = wanted.split("..", 1)
            return float(low) <= value <= float(high)
        for sign, holds in ((">=", value.__ge__), ("<=", value.__le__), (">", value.__gt__), ("<", value.__lt__)):
            if wanted.startswith(sign):
                return bool(holds(float(wanted.removeprefix(sign))))
        return value == float(wanted)
    except ValueError as problem:
        raise MissionQuestionError(f"{wanted!r} is not a number") from problem
