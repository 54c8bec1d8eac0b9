"""What each suite reads: the asset's rows of one program, and counts about the program.

Holds: one function per suite of the archive, the lake and the catalog that scans tables, adds the columns
that a rule compares with (the size that the archive lists, what was found against a file) and counts what
must reconcile. Add a count here when a rule over counts needs it. Keep out the rules (``quality.suites``),
what the suites of delivery read (``inputs_delivery``), and publications, which the streaming package scans.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.catalog.file_rules import FILE_RULES, GROUPS
from hwosim_assets.fits.names import parse_name
from hwosim_assets.fits.product_types import PRODUCT_TYPES
from hwosim_assets.fits.sky import region_centre, region_radius, separation
from hwosim_assets.lake.rejections import QUARANTINE
from hwosim_assets.quality.inputs_delivery import (
    SuiteInput,
    perturbed_input,
    refused,
    report_input,
    share,
    with_columns,
)

if TYPE_CHECKING:
    from hwosim_assets.fits.names import ProductName
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

__all__ = ["SuiteInput", "read_input"]

_UNIX_EPOCH_MJD = 40587.0


def read_input(suite: str, program: str, lake: Lake, tables: Tables, scenario: str = "") -> SuiteInput:
    """Read what a suite needs of one program.

    Parameters
    ----------
    suite : str
        Name of a suite, except ``stream``.
    program : str
        Five digits.
    lake : Lake
        Asked whether the raw objects are there.
    tables : Tables
        Scanned for the program.
    scenario : str, optional
        Identity of the scenario, for ``perturbed``.

    Returns
    -------
    SuiteInput

    Raises
    ------
    KeyError
        If the suite is read elsewhere or does not exist.
    """
    return _READERS[suite](program, lake, tables, scenario)


def _mast_observations(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.archive.schema import OBSERVATIONS

    rows = tables.scan(OBSERVATIONS, {"program": program})
    today = datetime.now(UTC).timestamp() / 86400 + _UNIX_EPOCH_MJD
    said = rows.select(["s_region", "s_ra", "s_dec", "dataRights", "t_obs_release", "t_min", "t_max", "t_exptime"])
    listed = said.to_pylist()
    early = [
        f"released {row['t_obs_release']}"
        if str(row["dataRights"]).upper() == "PUBLIC" and (row["t_obs_release"] or 0) > today
        else None
        for row in listed
    ]
    columns = {
        "outside_deg": pa.array([_outside(row) for row in listed], pa.float64()),
        "public_before_release": pa.array(early, pa.string()),
        "exposure_excess_s": pa.array([_excess(row) for row in listed], pa.float64()),
    }
    return SuiteInput(with_columns(_with_proposal(rows), columns), {"observations": rows.num_rows})


def _outside(row: Mapping[str, Any]) -> float | None:
    """Return how far a position lies outside of its footprint's circle, deg; none where one is not known."""
    region = row["s_region"] or ""
    centre, radius = region_centre(region), region_radius(region)
    if centre is None or radius is None or row["s_ra"] is None or row["s_dec"] is None:
        return None
    return max(0.0, separation(*centre, row["s_ra"], row["s_dec"]) - radius)


def _excess(row: Mapping[str, Any]) -> float | None:
    """Return by how much an exposure time is longer than the time from start to end, s."""
    if None in (row["t_min"], row["t_max"], row["t_exptime"]):
        return None
    return float(row["t_exptime"] - (row["t_max"] - row["t_min"]) * 86400)


def _mast_products(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS

    rows = tables.scan(ARCHIVE_PRODUCTS, {"program": program})
    observed = tables.scan(OBSERVATIONS, {"program": program}, ["obsid", "calib_level"]).to_pylist()
    observations = {row["obsid"] for row in observed}
    parents = list(zip(rows["parent_obsid"].to_pylist(), rows["obsID"].to_pylist(), strict=True))
    alone = sum(1 for parent, own in parents if parent not in observations and own not in observations)
    executed = {row["obsid"] for row in observed if (row["calib_level"] or 0) >= 1}
    names = [parse_name(name or "") for name in rows["productFilename"].to_pylist()]
    columns = {
        "uri_file": pa.array([_last(uri) for uri in rows["dataURI"].to_pylist()], pa.string()),
        "name_program": pa.array([name and name.program for name in names], pa.string()),
        "suffix_level": pa.array([_level(name) for name in names], pa.int64()),
    }
    counts = {
        "products": rows.num_rows,
        "products_without_observation": alone,
        "observations_without_product": len(executed - {each for pair in parents for each in pair}),
    }
    return SuiteInput(with_columns(_with_proposal(rows), columns), counts)


def _last(path: str | None) -> str | None:
    return path.rpartition("/")[2] if path else None


def _level(name: ProductName | None) -> int | None:
    """Return the CAOM level that a file name tells; none for kinds that do not say."""
    kind = PRODUCT_TYPES.get(name.product_type) if name else None
    if name is None or kind is None or not kind.dms_level:
        return None
    return 3 if name.stage == "stage3" else kind.calib_level


def _raw_fits_files(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
    from hwosim_assets.lake.ingest import RAW_FILES

    rows = tables.scan(RAW_FILES, {"program": program})
    listing = tables.scan(ARCHIVE_PRODUCTS, {"program": program}, ["dataURI", "size"])
    sizes = dict(zip(listing["dataURI"].to_pylist(), listing["size"].to_pylist(), strict=True))
    gone = set(refused(tables, program, "raw", "data_uri"))
    uris, keys = rows["data_uri"].to_pylist(), rows["key"].to_pylist()
    folders = [key.split("/")[1] if key.count("/") else "" for key in keys]
    columns = {
        "listed_size": pa.array([sizes.get(uri) for uri in uris], pa.int64()),
        "uri_file": pa.array([_last(uri) for uri in uris], pa.string()),
        "key_file": pa.array([_last(key) for key in keys], pa.string()),
        "key_program": pa.array([folder.removeprefix("jw") for folder in folders], pa.string()),
    }
    return SuiteInput(
        with_columns(rows, columns),
        {
            "listed": len(sizes),
            "ingested": len(set(uris)),
            "accounted": len(sizes.keys() & (set(uris) | gone)),
            "rejected_share": share(len(sizes.keys() & gone), len(sizes)),
            "objects_absent": _objects_absent(rows, lake),
            "unlisted": len(set(uris) - sizes.keys()),
        },
    )


def _header_cards(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.catalog.cards import HEADER_CARDS
    from hwosim_assets.lake.ingest import RAW_FILES

    rows = tables.scan(HEADER_CARDS, {"program": program})
    raw = set(tables.scan(RAW_FILES, {"program": program}, ["product_name"])["product_name"].to_pylist())
    gone = set(refused(tables, program, "catalog", "product_name"))
    files = _files(rows)
    primary = rows.filter(pc.equal(rows["hdu"], 0))
    simple = primary.filter(pc.and_(pc.equal(primary["card_index"], 0), pc.equal(primary["keyword"], "SIMPLE")))
    telescope = primary.filter(pc.equal(primary["keyword"], "TELESCOP"))
    checksum, datasum = (_files(rows.filter(pc.equal(rows["keyword"], name))) for name in ("CHECKSUM", "DATASUM"))
    values = [pc.cast(pc.is_valid(rows[f"value_{kind}"]), pa.int64()) for kind in ("bool", "long", "double", "string")]
    length = pc.binary_length(rows["raw"])
    columns = {
        "raw_remainder": pc.subtract(length, pc.multiply(pc.divide(length, 80), 80)),
        "values": pc.add(pc.add(values[0], values[1]), pc.add(values[2], values[3])),
        "damaged_card": pc.if_else(pc.fill_null(rows["damaged"], False), rows["keyword"], pa.scalar(None, pa.string())),
    }
    return SuiteInput(
        with_columns(rows, columns),
        {
            "files": len(files),
            "files_without_cards": len(raw - files - gone),
            "files_not_simple": len(files - _files(simple)),
            "files_without_telescope": len(files - _files(telescope)),
            "files_without_checksum": len(files - (checksum & datasum)),
            "files_without_primary": len(files - _files(primary)),
        },
    )


def _products(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS
    from hwosim_assets.catalog.products import PRODUCTS
    from hwosim_assets.lake.ingest import RAW_FILES

    scope = {"program": program}
    rows = tables.scan(PRODUCTS, scope)
    files = _files(tables.scan(RAW_FILES, scope, ["product_name"]))
    gone = set(refused(tables, program, "catalog", "product_name"))
    usable = _files(rows)
    listing = tables.scan(ARCHIVE_PRODUCTS, scope, ["dataURI", "obs_id", "calib_level"]).to_pylist()
    listed = {row["dataURI"]: row for row in listing}
    observed = tables.scan(OBSERVATIONS, scope, ["obs_id", "t_min"]).to_pylist()
    starts = {row["obs_id"]: row["t_min"] for row in observed}
    there = [listed.get(uri, {}) for uri in rows["data_uri"].to_pylist()]
    due = [starts.get(row.get("obs_id")) for row in there]
    apart = [
        abs(start - begun) if start is not None and begun is not None else None
        for start, begun in zip(due, rows["t_min"].to_pylist(), strict=True)
    ]
    columns = {
        "listed_obs_id": pa.array([row.get("obs_id") or None for row in there], pa.string()),
        "listed_level": pa.array([row.get("calib_level") for row in there], pa.int64()),
        "listed_start_apart": pa.array(apart, pa.float64()),
        **_against_files(rows["warnings"].to_pylist()),
    }
    return SuiteInput(
        with_columns(rows, columns),
        {
            "usable": len(usable),
            "files": len(files),
            "accounted": len(files & (usable | gone)),
            "quarantined_share": share(len(files & gone), len(files)),
        },
    )


def _against_files(warnings: Sequence[str | None]) -> dict[str, pa.Array]:
    """Return, for each group of rules, what was found against each product; null where nothing was."""
    said: dict[str, list[str | None]] = {group: [] for group in GROUPS}
    for text in warnings:
        items = json.loads(text) if text else []
        for group, reasons in said.items():
            found = [f"{item['rule']}: {item['reason']}" for item in items if _group(item["rule"]) == group]
            reasons.append("; ".join(found) or None)
    return {f"against_{group}": pa.array(reasons, pa.string()) for group, reasons in said.items()}


def _group(rule: str) -> str:
    """Return a rule's group; rules of an older extractor that are gone stand with the file's identity."""
    return FILE_RULES[rule].group if rule in FILE_RULES else "identity"


def _quarantine(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
    from hwosim_assets.catalog.products import PRODUCTS

    stages = [tables.scan(QUARANTINE, {"program": program, "stage": stage}) for stage in ("raw", "catalog")]
    rows = pa.concat_tables(stages)
    usable = set(tables.scan(PRODUCTS, {"program": program}, ["product_name"])["product_name"].to_pylist())
    listing = tables.scan(ARCHIVE_PRODUCTS, {"program": program}, ["productFilename"])
    gone = _files(rows)
    return SuiteInput(
        rows,
        {
            "quarantined": len(gone),
            "quarantined_and_usable": len(usable & set(stages[1]["product_name"].to_pylist())),
            "files_unknown": len(gone - set(listing["productFilename"].to_pylist())),
        },
    )


_READERS: Mapping[str, Callable[[str, Lake, Tables, str], SuiteInput]] = MappingProxyType(
    {
        "mast_observations": _mast_observations,
        "mast_products": _mast_products,
        "raw_fits_files": _raw_fits_files,
        "header_cards": _header_cards,
        "products": _products,
        "quarantine": _quarantine,
        "perturbed": perturbed_input,
        "report": report_input,
    }
)


def _with_proposal(rows: pa.Table) -> pa.Table:
    """Add ``proposal_program``: the archive's un-padded ``proposal_id`` as five digits, null where empty."""
    proposal = rows["proposal_id"]
    named = pc.if_else(pc.equal(proposal, ""), pa.scalar(None, pa.string()), proposal)
    return rows.append_column("proposal_program", pc.utf8_lpad(named, width=5, padding="0"))


def _files(rows: pa.Table) -> set[str]:
    return set(rows["product_name"].to_pylist())


def _objects_absent(rows: pa.Table, lake: Lake) -> int:
    """Count the rows whose object is not in the store with the row's size; asks by folder, not by file."""
    wanted = dict(zip(rows["key"].to_pylist(), rows["size_bytes"].to_pylist(), strict=True))
    folders = {"/".join(key.split("/")[:2]) for key in wanted}
    present = {stored.key: stored.size for folder in folders for stored in lake.list(folder)}
    return sum(1 for key, size in wanted.items() if present.get(key) != size)
