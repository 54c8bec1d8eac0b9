"""The catalog of one program, brought up to date.

Holds: :func:`catalog_program`: which files must be read, what is kept from last time, the writing of
cards, products, quarantine and verdicts. Keep out how one file is read (``extract``).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.catalog.cards import HEADER_CARDS
from hwosim_assets.catalog.finding import found
from hwosim_assets.catalog.products import EXTRACTOR_VERSION, PRODUCTS, located
from hwosim_assets.catalog.verdicts import VERDICTS
from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

__all__ = ["CatalogResult", "catalog_program"]


@dataclass(frozen=True)
class CatalogResult:
    """The catalog of one program.

    Attributes
    ----------
    cards, products : pyarrow.Table
        All rows of the program now.
    rejections : list of Rejection
        Files that are no products, one for each broken rule.
    read_files, kept_files : int
        Files that were read, and files whose rows were kept from last time.
    warnings : int
        Products that carry warnings.
    """

    cards: pa.Table
    products: pa.Table
    rejections: list[Rejection]
    read_files: int
    kept_files: int
    warnings: int


@dataclass(frozen=True)
class _Known:
    """What the tables hold of a program from last time."""

    verdicts: dict[str, dict[str, Any]]
    cards: pa.Table
    card_counts: Counter[tuple[str, str]]
    products: dict[str, dict[str, Any]]

    def keeps(self, raw: dict[str, Any]) -> bool:
        """Say whether everything known of a raw file still holds and is still there."""
        name, digest = raw["product_name"], raw["sha256"]
        verdict = self.verdicts.get(name)
        if verdict is None or (verdict["sha256"], verdict["extractor_version"]) != (digest, EXTRACTOR_VERSION):
            return False
        if verdict["cards"] != self.card_counts[name, digest]:
            return False
        return verdict["verdict"] == "rejected" or bool(self.products.get(name, {}).get("sha256") == digest)


def catalog_program(
    program: str, raw: pa.Table, lake: Lake, tables: Tables, *, on_file: Callable[[str], None] | None = None
) -> CatalogResult:
    """Read the headers of a program's raw files, judge each, and write the catalog tables.

    Parameters
    ----------
    program : str
        Five digits.
    raw : pyarrow.Table
        The program's rows of the raw-files table; they are all its files: what is not among them
        leaves the catalog.
    lake : Lake
        Where the files lie.
    tables : Tables
        Where rows are written: header cards, products, verdicts, and the quarantine scope of stage
        ``catalog``.
    on_file : callable, optional
        Called with the product name after each file.

    Returns
    -------
    CatalogResult
        A file that breaks a rule is a rejection, never an error. Files whose bytes and rules did not
        change since last time are not read.

    Raises
    ------
    HwosimError
        When lake or tables fail.
    """
    files, doubles = _files_by_name(raw)
    known = _known(program, tables)
    cards, products, verdicts, rejections = [], [], [], []
    kept: set[tuple[str, str]] = set()
    for name, row in files.items():
        if known.keeps(row):
            kept.add((name, row["sha256"]))
            verdict = known.verdicts[name]
            product = located(known.products[name], row) if verdict["verdict"] == "validated" else None
        else:
            verdict, product, new_cards = _read(row, doubles.get(name, []), lake)
            cards.append(new_cards)
        verdicts.append(verdict)
        if product is not None:
            products.append(product)
        rejections += _rejections(verdict, row)
        if on_file:
            on_file(name)
    all_cards = pa.concat_tables([_kept_cards(known.cards, kept), *cards])
    product_rows = pa.Table.from_pylist(products, schema=PRODUCTS.schema)
    scope = {"program": program}
    tables.replace(HEADER_CARDS, scope, all_cards)
    tables.replace(PRODUCTS, scope, product_rows)
    tables.replace(QUARANTINE, {**scope, "stage": "catalog"}, rejection_rows(program, rejections))
    # last, since a verdict says that the rows above are written
    tables.replace(VERDICTS, scope, pa.Table.from_pylist(verdicts, schema=VERDICTS.schema))
    warned = sum(1 for row in products if row["warnings"])
    return CatalogResult(all_cards, product_rows, rejections, len(files) - len(kept), len(kept), warned)


def _files_by_name(raw: pa.Table) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Return one raw row for each name, first data URI first, and the URIs left out."""
    rows: dict[str, dict[str, Any]] = {}
    doubles: dict[str, list[str]] = defaultdict(list)
    for row in sorted(raw.to_pylist(), key=lambda item: (item["product_name"], item["data_uri"])):
        if row["product_name"] in rows:
            doubles[row["product_name"]].append(row["data_uri"])
        else:
            rows[row["product_name"]] = row
    return rows, doubles


def _known(program: str, tables: Tables) -> _Known:
    """Return what the tables hold of a program."""
    scope = {"program": program}
    cards = tables.scan(HEADER_CARDS, scope)
    grouped = cards.group_by(["product_name", "sha256"]).aggregate([("keyword", "count")]).to_pylist()
    return _Known(
        {row["product_name"]: row for row in tables.scan(VERDICTS, scope).to_pylist()},
        cards,
        Counter({(row["product_name"], row["sha256"]): row["keyword_count"] for row in grouped}),
        {row["product_name"]: row for row in tables.scan(PRODUCTS, scope).to_pylist()},
    )


def _read(
    row: dict[str, Any], doubles: list[str], lake: Lake
) -> tuple[dict[str, Any], dict[str, Any] | None, pa.Table]:
    """Read one file from the lake; return its verdict, product row and cards."""
    from hwosim_assets.catalog.extract import extract

    with lake.local_copy(row["key"]) as path:
        result = extract(row, path)
    findings = result.findings
    if doubles:
        reason = f"the archive lists other files of this name, which were left out: {', '.join(doubles)}"
        findings = [*findings, found("repeated_name", reason)]
    verdict = {
        "program": row["program"],
        "product_name": row["product_name"],
        "sha256": row["sha256"],
        "extractor_version": EXTRACTOR_VERSION,
        "verdict": "validated" if result.product else "rejected",
        "cards": result.cards.num_rows,
        "findings": json.dumps([asdict(item) for item in findings]),
    }
    return verdict, result.product, result.cards


def _rejections(verdict: dict[str, Any], row: dict[str, Any]) -> list[Rejection]:
    """Return the quarantine rows of a verdict, one for each rule; reasons of one rule are joined."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for item in json.loads(verdict["findings"]):
        if item["severity"] == "reject":
            reasons[item["rule"]].append(item["reason"])
    return [
        Rejection(row["product_name"], "catalog", rule, "; ".join(said), row["data_uri"], row["sha256"])
        for rule, said in reasons.items()
    ]


def _kept_cards(cards: pa.Table, kept: set[tuple[str, str]]) -> pa.Table:
    """Return the stored cards of the files that were not read again."""
    if not kept:
        return HEADER_CARDS.schema.empty_table()
    digests = dict(kept)
    names = pa.array(list(digests), pa.string())
    wanted = pa.array(list(digests.values()), pa.string())
    expected = wanted.take(pc.index_in(cards["product_name"].combine_chunks(), names))
    return cards.filter(pc.fill_null(pc.equal(cards["sha256"].combine_chunks(), expected), False)).cast(
        HEADER_CARDS.schema
    )
