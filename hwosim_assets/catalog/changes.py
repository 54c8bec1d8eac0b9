"""What reprocessing changed: for each new version of a product, the difference from the one before.

Holds: the ``product_changes`` table, one row for each new version with a report in the lake,
:func:`record_reprocessing` and :func:`report_of`. Keep out which versions there are (``lake.versions``) and how two
files are compared (``fits.compare``).

A report depends on the bytes of both versions alone and its key says which, so that it is made once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.catalog.remote import opened_object
from hwosim_assets.fits.blocks import UnreadableFitsError, card_value, primary_header
from hwosim_assets.lake.layout import changes_key
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.store import AlreadyStoredError, NotStoredError
from hwosim_assets.lake.versions import RAW_VERSIONS, record_versions

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

__all__ = ["PRODUCT_CHANGES", "note_versions", "record_reprocessing", "report_of"]

PRODUCT_CHANGES = TableSpec(
    name="product_changes",
    schema=pa.schema(
        [
            *[pa.field(name, pa.string(), nullable=False) for name in ("program", "product_name", "data_uri")],
            pa.field("version", pa.int64(), nullable=False),
            *[pa.field(name, pa.string(), nullable=False) for name in ("sha256_before", "sha256")],
            *[pa.field(name, pa.string()) for name in ("cal_ver_before", "cal_ver", "crds_ctx_before", "crds_ctx")],
            *[pa.field(name, pa.int64()) for name in ("cards_added", "cards_removed", "cards_changed")],
            *[pa.field(name, pa.int64()) for name in ("planes_changed", "planes_not_compared")],
            pa.field("most_changed_plane", pa.string()),
            pa.field("largest_share", pa.float64()),
            pa.field("not_comparable", pa.string()),
            pa.field("report_key", pa.string(), nullable=False),
            pa.field("seen_at", pa.timestamp("us", "UTC"), nullable=False),
        ]
    ),
    scope=("program",),
    key=("data_uri", "version"),
    volatile=("seen_at",),
    doc="One row for each version of a product that replaced an earlier one: how much differs, and where the report "
    "lies.",
)
_IDENTITY = ("version", "sha256", "cal_ver", "crds_ctx", "size_bytes", "key")


def note_versions(program: str, lake: Lake, tables: Tables) -> int:
    """Write down the versions that ``raw_files`` has, see :func:`~hwosim_assets.lake.versions.record_versions`."""

    def pipeline(key: str) -> tuple[str | None, str | None]:
        try:
            header = primary_header(opened_object(lake, key).stream, key)
        except UnreadableFitsError:
            return None, None  # the catalog says so, with the reason
        cal_ver, crds_ctx = (card_value(header, keyword) for keyword in ("CAL_VER", "CRDS_CTX"))
        return (None if cal_ver is None else str(cal_ver), None if crds_ctx is None else str(crds_ctx))

    return record_versions(program, tables, pipeline)


def record_reprocessing(
    program: str, lake: Lake, tables: Tables, *, on_file: Callable[[str], None] | None = None
) -> list[dict[str, Any]]:
    """Note new versions and compare each that has no report yet with the version before.

    Parameters
    ----------
    program : str
        Five digits.
    lake : Lake
        Where versions and reports lie.
    tables : Tables
        Where their rows are.
    on_file : callable, optional
        Called with the file name after each comparison.

    Returns
    -------
    list of dict
        The rows of :data:`PRODUCT_CHANGES` that are new. A version that cannot be compared (no FITS file, or an
        earlier version that was removed) says why in ``not_comparable``; it is no error.

    Raises
    ------
    HwosimError
        If lake or tables fail.
    """
    note_versions(program, lake, tables)
    scope = {"program": program}
    versions = {(row["data_uri"], row["version"]): row for row in tables.scan(RAW_VERSIONS, scope).to_pylist()}
    replaced = [place for place in versions if place[1] > 1]
    if not replaced:
        return []
    rows = tables.scan(PRODUCT_CHANGES, scope).to_pylist()
    known = {(row["data_uri"], row["version"]) for row in rows}
    new = []
    for data_uri, number in replaced:
        if (data_uri, number) not in known:
            new.append(_change(versions[data_uri, number - 1], versions[data_uri, number], lake))
            if on_file is not None:
                on_file(new[-1]["product_name"])
    if new:
        tables.replace(PRODUCT_CHANGES, scope, pa.Table.from_pylist(rows + new, schema=PRODUCT_CHANGES.schema))
    return new


def report_of(change: dict[str, Any], lake: Lake) -> dict[str, Any]:
    """Return the report of a row of :data:`PRODUCT_CHANGES`.

    Returns
    -------
    dict
        ``program``, ``product_name``, ``data_uri``; ``before`` and ``after`` (version, sha256, cal_ver, crds_ctx,
        size_bytes, key); ``not_comparable`` (a reason or None); ``differences`` as
        :func:`~hwosim_assets.fits.compare.compare_files` gives them, or None.

    Raises
    ------
    NotStoredError
        If the lake lost it.
    """
    report: dict[str, Any] = json.loads(lake.read(change["report_key"]))
    return report


def _change(before: dict[str, Any], after: dict[str, Any], lake: Lake) -> dict[str, Any]:
    """Compare two versions, keep the report and return its row."""
    key = changes_key(after["program"], after["product_name"], before["sha256"], after["sha256"])
    differences, reason = _differences(before, after, lake)
    report = {
        **{name: after[name] for name in ("program", "product_name", "data_uri")},
        "before": {name: before[name] for name in _IDENTITY},
        "after": {name: after[name] for name in _IDENTITY},
        "not_comparable": reason,
        "differences": differences,
    }
    with suppress(AlreadyStoredError):  # the same bytes on both sides say the same
        lake.write_new(key, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False).encode())
    row = {
        **{name: after[name] for name in ("program", "product_name", "data_uri", "version", "sha256", "seen_at")},
        **{f"{name}_before": before[name] for name in ("sha256", "cal_ver", "crds_ctx")},
        **{name: after[name] for name in ("cal_ver", "crds_ctx")},
        "not_comparable": reason,
        "report_key": key,
    }
    return row if differences is None else row | _counts(differences)


def _differences(before: dict[str, Any], after: dict[str, Any], lake: Lake) -> tuple[dict[str, Any] | None, str | None]:
    """Return what differs, or why that cannot be said."""
    from hwosim_assets.fits.compare import compare_files

    try:
        with lake.local_copy(before["key"]) as one, lake.local_copy(after["key"]) as other:
            return compare_files(one, other, after["product_name"]), None
    except UnreadableFitsError as error:
        return None, error.reason
    except NotStoredError as error:
        return None, f"{error.thing} {error.reason}"


def _counts(differences: dict[str, Any]) -> dict[str, Any]:
    cards = Counter(card["change"] for card in differences["cards"])
    most = differences["planes"][0] if differences["planes"] else None
    return {
        **{f"cards_{change}": cards[change] for change in ("added", "removed", "changed")},
        "planes_changed": len(differences["planes"]) + differences["planes_left_out"],
        "planes_not_compared": len(differences["not_compared"]),
        "most_changed_plane": most and most["plane"],
        "largest_share": most and most["share"],
    }
