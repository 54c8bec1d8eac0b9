"""Every version of every product that was ever in the lake: name, content hash, CAL_VER, CRDS_CTX.

Holds: the ``raw_versions`` table, :func:`record_versions`, :func:`versions_of`. An archive replaces a product
under its name when it is reprocessed; ``raw_files`` has the present one, this table all of them. Objects are
write-once, so the bytes of each version stay. Keep out what differs between two versions (``catalog.changes``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.spec import TableSpec

if TYPE_CHECKING:
    from hwosim_assets.lake.tables import Tables

__all__ = ["RAW_VERSIONS", "Pipeline", "record_versions", "versions_of"]

#: Given the key of an object, the values of CAL_VER and CRDS_CTX in its primary header; ``None`` where absent.
Pipeline = Callable[[str], tuple[str | None, str | None]]

RAW_VERSIONS = TableSpec(
    name="raw_versions",
    schema=pa.schema(
        [
            pa.field("program", pa.string(), nullable=False),
            pa.field("product_name", pa.string(), nullable=False),
            pa.field("data_uri", pa.string(), nullable=False),
            pa.field("version", pa.int64(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("cal_ver", pa.string()),
            pa.field("crds_ctx", pa.string()),
            pa.field("size_bytes", pa.int64(), nullable=False),
            pa.field("key", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),
            pa.field("seen_at", pa.timestamp("us", "UTC"), nullable=False),
        ]
    ),
    scope=("program",),
    key=("data_uri", "version"),
    volatile=("seen_at",),
    doc="One row for each version of each file of the archive that is or was in the lake, counted from 1; a file "
    "that went back to earlier bytes has them as a further version.",
)

_SAME = ("program", "product_name", "data_uri", "sha256", "size_bytes", "key", "uri")


def record_versions(program: str, tables: Tables, pipeline: Pipeline) -> int:
    """Write down the versions that ``raw_files`` has now and that are not written down yet.

    To be called before an ingest as well as after it: a kill between an ingest and its record, or a lake
    older than this table, then loses no version.

    Parameters
    ----------
    program : str
        Five digits.
    tables : Tables
        Where the rows are.
    pipeline : callable
        Reads CAL_VER and CRDS_CTX of an object; called for new versions only.

    Returns
    -------
    int
        How many versions were new.

    Raises
    ------
    HwosimError
        If tables or lake fail.
    """
    scope = {"program": program}
    files = tables.scan(RAW_FILES, scope).to_pylist()
    read: dict[str, dict[str, str | None]] = {}  # of each key, once

    def new(stored: pa.Table) -> list[dict[str, Any]]:
        latest = {row["data_uri"]: row for row in sorted(stored.to_pylist(), key=lambda row: row["version"])}
        found = []
        for file in files:
            last = latest.get(file["data_uri"])
            if last is None or last["sha256"] != file["sha256"]:
                if file["key"] not in read:
                    read[file["key"]] = dict(zip(("cal_ver", "crds_ctx"), pipeline(file["key"]), strict=True))
                row = {name: file[name] for name in _SAME} | read[file["key"]]
                found.append(row | {"version": last["version"] + 1 if last else 1, "seen_at": file["ingested_at"]})
        return found

    def with_new(stored: pa.Table) -> pa.Table:
        return pa.concat_tables([stored, pa.Table.from_pylist(new(stored), schema=RAW_VERSIONS.schema)])

    before = tables.scan(RAW_VERSIONS, scope)
    count = len(new(before))
    if count:
        tables.update(RAW_VERSIONS, scope, with_new)
    return count


def versions_of(tables: Tables, program: str | None = None, name: str | None = None) -> list[dict[str, Any]]:
    """Return the versions that are known, each with whether it is the present one.

    Parameters
    ----------
    tables : Tables
        Where the rows are.
    program : str, optional
        Five digits; all programs by default.
    name : str, optional
        A product's file name.

    Returns
    -------
    list of dict
        Columns of :data:`RAW_VERSIONS` and ``current`` (bool), by program, archive URI and version. A file that
        the archive dropped has no current version.
    """
    where = {"program": program} if program else {}
    rows = tables.scan(RAW_VERSIONS, {**where, "product_name": name} if name else where or None).to_pylist()
    files = tables.scan(RAW_FILES, where or None, ["data_uri", "sha256"]).to_pylist()
    now = {(file["data_uri"], file["sha256"]) for file in files}
    last = {row["data_uri"]: row["version"] for row in rows}
    return [
        row | {"current": row["version"] == last[row["data_uri"]] and (row["data_uri"], row["sha256"]) in now}
        for row in rows
    ]
