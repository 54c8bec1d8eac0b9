"""What each suite reads: the asset's rows of one program, and counts about the program.

Holds: one function per suite that scans the lake's tables, adds the columns that a rule compares
with (the size that the archive lists, the hash that the catalog holds) and counts what must
reconcile. Add a count here when a rule over counts needs it. Keep out the rules
(``quality.suites``) and publications, which the streaming package scans and hands to
:func:`stream_input`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.lake.rejections import QUARANTINE

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

__all__ = ["SuiteInput", "read_input", "stream_input"]


@dataclass(frozen=True)
class SuiteInput:
    """What a suite is evaluated over.

    Attributes
    ----------
    rows : pyarrow.Table
        The asset's rows, with the columns that the suite's rules over rows read.
    counts : mapping of str to float
        Counts and shares about the whole program, for the rules over counts.
    """

    rows: pa.Table
    counts: Mapping[str, float]


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


def stream_input(publications: pa.Table) -> SuiteInput:
    """Return what the suite ``stream`` reads.

    Parameters
    ----------
    publications : pyarrow.Table
        Rows of the table ``publications`` for one program and scenario. The latest is judged; the
        table keeps those of earlier plans, which no new publication could mend.

    Returns
    -------
    SuiteInput
        With the columns ``expected`` (planned - lost + duplicated) and ``lost_share``.
    """
    rows = publications.sort_by([("published_at", "descending")]).slice(0, 1)
    expected = pc.add(pc.subtract(rows["planned"], rows["lost"]), rows["duplicated"])
    planned = pc.cast(rows["planned"], pa.float64())
    share = pc.divide(pc.cast(rows["lost"], pa.float64()), pc.if_else(pc.equal(planned, 0.0), 1.0, planned))
    rows = rows.append_column("expected", expected).append_column("lost_share", share)
    return SuiteInput(rows, {"publications": publications.num_rows})


def _mast_observations(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.archive.schema import OBSERVATIONS

    rows = tables.scan(OBSERVATIONS, {"program": program})
    return SuiteInput(_with_proposal(rows), {"observations": rows.num_rows})


def _mast_products(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS

    rows = tables.scan(ARCHIVE_PRODUCTS, {"program": program})
    observations = set(tables.scan(OBSERVATIONS, {"program": program}, ["obsid"])["obsid"].to_pylist())
    parents = zip(rows["parent_obsid"].to_pylist(), rows["obsID"].to_pylist(), strict=True)
    alone = sum(1 for parent, own in parents if parent not in observations and own not in observations)
    return SuiteInput(_with_proposal(rows), {"products": rows.num_rows, "products_without_observation": alone})


def _raw_fits_files(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
    from hwosim_assets.lake.ingest import RAW_FILES

    rows = tables.scan(RAW_FILES, {"program": program})
    listing = tables.scan(ARCHIVE_PRODUCTS, {"program": program}, ["dataURI", "size"])
    sizes = dict(zip(listing["dataURI"].to_pylist(), listing["size"].to_pylist(), strict=True))
    refused = set(_refused(tables, program, "raw", "data_uri"))
    ingested = set(rows["data_uri"].to_pylist())
    listed_size = pa.array([sizes.get(uri) for uri in rows["data_uri"].to_pylist()], pa.int64())
    return SuiteInput(
        rows.append_column("listed_size", listed_size),
        {
            "listed": len(sizes),
            "ingested": len(ingested),
            "accounted": len(sizes.keys() & (ingested | refused)),
            "rejected_share": _share(len(sizes.keys() & refused), len(sizes)),
            "objects_absent": _objects_absent(rows, lake),
        },
    )


def _header_cards(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.catalog.cards import HEADER_CARDS
    from hwosim_assets.lake.ingest import RAW_FILES

    rows = tables.scan(HEADER_CARDS, {"program": program})
    raw = set(tables.scan(RAW_FILES, {"program": program}, ["product_name"])["product_name"].to_pylist())
    refused = set(_refused(tables, program, "catalog", "product_name"))
    files = set(rows["product_name"].to_pylist())
    primary = rows.filter(pc.equal(rows["hdu"], 0))
    simple = primary.filter(pc.and_(pc.equal(primary["card_index"], 0), pc.equal(primary["keyword"], "SIMPLE")))
    telescope = primary.filter(pc.equal(primary["keyword"], "TELESCOP"))
    checksum, datasum = (_files(rows.filter(pc.equal(rows["keyword"], name))) for name in ("CHECKSUM", "DATASUM"))
    values = [pc.cast(pc.is_valid(rows[f"value_{kind}"]), pa.int64()) for kind in ("bool", "long", "double", "string")]
    length = pc.binary_length(rows["raw"])
    remainder = pc.subtract(length, pc.multiply(pc.divide(length, 80), 80))
    return SuiteInput(
        rows.append_column("raw_remainder", remainder).append_column(
            "values", pc.add(pc.add(values[0], values[1]), pc.add(values[2], values[3]))
        ),
        {
            "files": len(files),
            "files_without_cards": len(raw - files - refused),
            "files_not_simple": len(files - _files(simple)),
            "files_without_telescope": len(files - _files(telescope)),
            "files_without_checksum": len(files - (checksum & datasum)),
        },
    )


def _products(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.catalog.products import PRODUCTS
    from hwosim_assets.lake.ingest import RAW_FILES

    rows = tables.scan(PRODUCTS, {"program": program})
    files = set(tables.scan(RAW_FILES, {"program": program}, ["product_name"])["product_name"].to_pylist())
    refused = set(_refused(tables, program, "catalog", "product_name"))
    usable = set(rows["product_name"].to_pylist())
    return SuiteInput(
        rows,
        {
            "usable": len(usable),
            "files": len(files),
            "accounted": len(files & (usable | refused)),
            "quarantined_share": _share(len(files & refused), len(files)),
        },
    )


def _quarantine(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
    from hwosim_assets.catalog.products import PRODUCTS

    stages = [tables.scan(QUARANTINE, {"program": program, "stage": stage}) for stage in ("raw", "catalog")]
    rows = pa.concat_tables(stages)
    usable = set(tables.scan(PRODUCTS, {"program": program}, ["product_name"])["product_name"].to_pylist())
    listing = tables.scan(ARCHIVE_PRODUCTS, {"program": program}, ["productFilename"])
    refused = set(rows["product_name"].to_pylist())
    return SuiteInput(
        rows,
        {
            "quarantined": len(refused),
            "quarantined_and_usable": len(usable & set(stages[1]["product_name"].to_pylist())),
            "files_unknown": len(refused - set(listing["productFilename"].to_pylist())),
        },
    )


def _perturbed(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    from hwosim_assets.catalog.products import PRODUCTS
    from hwosim_assets.perturb.dataset import PERTURBED, TRUTH

    scope = {"program": program, "scenario": scenario}
    rows = tables.scan(PERTURBED, scope)
    catalog = tables.scan(PRODUCTS, {"program": program}, ["product_name", "sha256"])
    hashes = dict(zip(catalog["product_name"].to_pylist(), catalog["sha256"].to_pylist(), strict=True))
    refused = set(_refused(tables, program, f"perturbed/{scenario}", "product_name"))
    named = ["product_name", "in_sha256", "out_sha256", "plan_sha256"]
    truth = {tuple(row.values()) for row in tables.scan(TRUTH, scope, named).select(named).to_pylist()}
    made = {tuple(row.values()) for row in rows.select(named).to_pylist()}
    names = rows["product_name"].to_pylist()
    compared = {
        "catalog_sha256": pa.array([hashes.get(name) for name in names], pa.string()),
        "bytes_differ": pc.not_equal(rows["in_sha256"], rows["out_sha256"]),
        "key_folder": pa.array([key and key.rpartition("/")[0] for key in rows["key"].to_pylist()], pa.string()),
        "hash_folder": pa.array([f"delivered/{sha[:2]}/{sha}" for sha in rows["out_sha256"].to_pylist()], pa.string()),
    }
    for name, column in compared.items():
        rows = rows.append_column(name, column)
    return SuiteInput(
        rows,
        {
            "perturbed": len(set(names)),
            "usable": len(hashes),
            "accounted": len(hashes.keys() & (set(names) | refused)),
            "without_truth": len(made - truth),
            "changed_products": int(pc.sum(pc.cast(rows["changed"], pa.int64())).as_py() or 0),
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
        "perturbed": _perturbed,
    }
)


def _with_proposal(rows: pa.Table) -> pa.Table:
    """Add ``proposal_program``: the archive's un-padded ``proposal_id`` as five digits, null where empty."""
    proposal = rows["proposal_id"]
    named = pc.if_else(pc.equal(proposal, ""), pa.scalar(None, pa.string()), proposal)
    return rows.append_column("proposal_program", pc.utf8_lpad(named, width=5, padding="0"))


def _refused(tables: Tables, program: str, stage: str, column: str) -> list[str]:
    names: list[str] = tables.scan(QUARANTINE, {"program": program, "stage": stage}, [column])[column].to_pylist()
    return names


def _files(cards: pa.Table) -> set[str]:
    return set(cards["product_name"].to_pylist())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _objects_absent(rows: pa.Table, lake: Lake) -> int:
    """Count the rows whose object is not in the store with the row's size; asks by folder, not by file."""
    wanted = dict(zip(rows["key"].to_pylist(), rows["size_bytes"].to_pylist(), strict=True))
    folders = {"/".join(key.split("/")[:2]) for key in wanted}
    present = {stored.key: stored.size for folder in folders for stored in lake.list(folder)}
    return sum(1 for key, size in wanted.items() if present.get(key) != size)
