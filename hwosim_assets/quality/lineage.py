"""Where a delivered file or a row came from: each step back to what the archive said, and by which code.

Holds: :func:`lineage`, which follows content hashes and names through the lake's tables. Each step says what
the row holds, and of the asset's latest check which data version, code version and run it was. Keep out how
it is shown (``quality.lineage_page``, ``hwosim lineage``) and the lineage between columns
(``hwosim_assets.column_lineage``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.names import program_in_name
from hwosim_assets.quality.history import history, runs_of

if TYPE_CHECKING:
    from hwosim_assets.lake.spec import TableSpec
    from hwosim_assets.lake.tables import Tables

__all__ = ["Step", "lineage"]

_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
#: What a step shows of its row; the rest can be asked for with SQL.
_SHOWN = {
    "perturbed": ("out_sha256", "in_sha256", "plan_sha256", "seed", "scale", "engine", "changed", "uri", "created_at"),
    "quarantine": ("rule", "reason", "data_uri", "sha256"),
    "products": ("sha256", "product_type", "extractor_version", "warnings", "uri", "cataloged_at"),
    "raw_files": ("sha256", "size_bytes", "etag", "ingest_id", "uri", "ingested_at"),
    "raw_versions": ("sha256", "version", "size_bytes", "cal_ver", "crds_ctx", "uri", "seen_at"),
    "archive_products": ("dataURI", "obsID", "parent_obsid", "size", "prvversion", "productSubGroupDescription"),
    "observations": (
        "obsid",
        "obs_id",
        "instrument_name",
        "target_name",
        "t_min",
        "t_max",
        "proposal_pi",
        "dataRights",
    ),
}


@dataclass(frozen=True)
class Step:
    """One step of a chain.

    Attributes
    ----------
    asset : str
        The asset's name with slashes.
    table : str
        The Iceberg table that holds the row.
    name : str
        What the row is of: a file, an archive URI, an observation.
    facts : dict
        What the row says.
    made_by : dict
        code_version, data_version, run_id, when, verdict and report_key of the asset's latest check; empty where
        the asset was not checked.
    """

    asset: str
    table: str
    name: str
    facts: dict[str, Any]
    made_by: dict[str, Any]

    def as_document(self) -> dict[str, Any]:
        """Return the step as JSON takes it, but for moments."""
        return asdict(self)


def lineage(tables: Tables, name: str, scenario: str = "") -> list[Step]:
    """Follow a file from what was delivered back to the archive's reply.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    name : str
        A product's file name, its archive URI, the SHA-256 of a raw or delivered file, or a path or URI that
        ends in a name or has such a hash in it (what a claim check points at).
    scenario : str, optional
        Only the dataset of this scenario; with a hash of a delivered file that file's alone.

    Returns
    -------
    list of Step
        The delivered files first (one for each scenario), then the catalogued product or its rejections, the raw
        file, the archive's product and its observation. A step that has no row is left out.

    Raises
    ------
    BadInputError
        If nothing in the lake has this name or hash.
    """
    product, delivered = _resolved(tables, name)
    if not delivered and product:
        program = program_in_name(product)
        delivered = _rows(tables, _perturbed(), {"program": program, "product_name": product})
    if scenario:
        delivered = [row for row in delivered if row["scenario"] == scenario]
    found = [(f"perturbed/{row['scenario']}", "perturbed", row) for row in delivered]
    found += _upstream(tables, product, {row["in_sha256"] for row in delivered})
    if not found:
        raise BadInputError(name[:200], "is nothing that the lake knows", "hwosim search lists what there is")
    program = found[0][2]["program"]
    made = {asset: _made_by(tables, program, asset) for asset in {asset for asset, _, _ in found}}
    return [_step(asset, table, row, made[asset]) for asset, table, row in found]


def _resolved(tables: Tables, name: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the product's file name that is meant, and the delivered files if a hash names them."""
    from hwosim_assets.lake.ingest import RAW_FILES
    from hwosim_assets.lake.versions import RAW_VERSIONS

    hashed = _SHA256.search(name)
    if hashed is None:
        return name.rstrip("/").rsplit("/", 1)[-1], []
    sha256 = hashed.group()
    delivered = _rows(tables, _perturbed(), {"out_sha256": sha256})
    raw = delivered or _rows(tables, RAW_FILES, {"sha256": sha256}) or _rows(tables, RAW_VERSIONS, {"sha256": sha256})
    return (raw[0]["product_name"] if raw else ""), delivered


def _upstream(tables: Tables, product: str, inputs: set[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return asset, table and row of each step before the delivered files.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    product : str
        Its file name.
    inputs : set of str
        Hashes of the versions that the delivered files were made of; the present one where there are none.
    """
    from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS
    from hwosim_assets.catalog.products import PRODUCTS
    from hwosim_assets.lake.ingest import RAW_FILES
    from hwosim_assets.lake.rejections import QUARANTINE
    from hwosim_assets.lake.versions import RAW_VERSIONS

    where = {"program": program_in_name(product), "product_name": product}
    found = [("catalog/products", "products", row) for row in _rows(tables, PRODUCTS, where)]
    found += [("catalog/quarantine", "quarantine", row) for row in _rows(tables, QUARANTINE, where)]
    raw = _rows(tables, RAW_FILES, where)
    found += [("raw/fits_files", "raw_files", row) for row in raw]
    earlier = inputs - {row["sha256"] for row in raw}
    versions = _rows(tables, RAW_VERSIONS, where) if earlier else []
    found += [("raw/fits_files", "raw_versions", row) for row in versions if row["sha256"] in earlier]
    listed = _rows(tables, ARCHIVE_PRODUCTS, {"program": where["program"], "productFilename": product})
    found += [("mast/products", "archive_products", row) for row in listed]
    parents = {row["parent_obsid"] or row["obsID"]: row["program"] for row in listed}
    for obsid, program in parents.items():
        rows = _rows(tables, OBSERVATIONS, {"program": program, "obsid": obsid})
        found += [("mast/observations", "observations", row) for row in rows]
    return found


def _rows(tables: Tables, spec: TableSpec, where: dict[str, str | None]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tables.scan(
        spec, {name: value for name, value in where.items() if value is not None}
    ).to_pylist()
    return rows


def _perturbed() -> TableSpec:
    from hwosim_assets.perturb.dataset import PERTURBED

    return PERTURBED


def _made_by(tables: Tables, program: str, asset: str) -> dict[str, Any]:
    runs: Sequence[dict[str, Any]] = runs_of(history(tables, program, asset))
    told = ("code_version", "data_version", "run_id", "when", "verdict", "report_key")
    return {name: runs[-1][name] for name in told} if runs else {}


def _step(asset: str, table: str, row: dict[str, Any], made_by: dict[str, Any]) -> Step:
    names = ("product_name", "productFilename", "obs_id")
    name = next(str(row[column]) for column in names if row.get(column))
    return Step(asset, table, name, {column: row[column] for column in _SHOWN[table]}, made_by)
