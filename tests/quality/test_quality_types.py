"""Great Expectations refuses to compare a column of text with a number: each suite meets its table's own types."""

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS
from hwosim_assets.catalog.cards import HEADER_CARDS
from hwosim_assets.catalog.file_rules import GROUPS
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.rejections import QUARANTINE
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.perturb.dataset import PERTURBED
from hwosim_assets.quality.report import QUALITY_REPORTS
from hwosim_assets.quality.run import run_suite
from hwosim_assets.quality.suites import suite_named
from hwosim_streaming.publication import PUBLICATIONS

TABLE_OF = {
    "mast_observations": OBSERVATIONS,
    "mast_products": ARCHIVE_PRODUCTS,
    "raw_fits_files": RAW_FILES,
    "header_cards": HEADER_CARDS,
    "products": PRODUCTS,
    "quarantine": QUARANTINE,
    "perturbed": PERTURBED,
    "stream": PUBLICATIONS,
    "report": QUALITY_REPORTS,
}
#: The columns that quality.inputs adds, with the types it gives them.
ADDED = {
    "proposal_program": pa.string(),
    "listed_size": pa.int64(),
    "raw_remainder": pa.int32(),
    "values": pa.int64(),
    "catalog_sha256": pa.string(),
    "bytes_differ": pa.bool_(),
    "key_folder": pa.string(),
    "hash_folder": pa.string(),
    "expected": pa.int64(),
    "lost_share": pa.float64(),
    "out_of_order": pa.int64(),
    "longest_seconds": pa.float64(),
    "outside_deg": pa.float64(),
    "public_before_release": pa.string(),
    "exposure_excess_s": pa.float64(),
    "uri_file": pa.string(),
    "name_program": pa.string(),
    "suffix_level": pa.int64(),
    "key_file": pa.string(),
    "key_program": pa.string(),
    "damaged_card": pa.string(),
    "listed_obs_id": pa.string(),
    "listed_level": pa.int64(),
    "listed_start_apart": pa.float64(),
    **{f"against_{group}": pa.string() for group in GROUPS},
    "catalog_time": pa.float64(),
    "scope_scenario": pa.string(),
    "changed_by_nothing": pa.string(),
    "unaccounted": pa.string(),
    "inconsistent": pa.string(),
    "off_plan": pa.string(),
    "due_verdict": pa.string(),
    "named_broken": pa.int64(),
    "unknown_rules": pa.string(),
    "misplaced": pa.string(),
}
SAMPLE: dict[pa.DataType, Any] = {
    pa.string(): "a",
    pa.int64(): 1,
    pa.int32(): 1,
    pa.float64(): 0.5,
    pa.bool_(): True,
    pa.binary(): b"a",
    pa.timestamp("us", "UTC"): dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
}


def _table(suite: str, spec: TableSpec, *, nulls: bool) -> pa.Table:
    columns = {}
    for name in suite_named(suite).row_columns():
        kind, nullable = (
            (spec.schema.field(name).type, spec.schema.field(name).nullable)
            if name in spec.schema.names
            else (ADDED[name], True)
        )
        columns[name] = pa.array([None if nulls and nullable else SAMPLE[kind]], kind)
    return pa.table(columns)


@pytest.mark.parametrize("suite", sorted(TABLE_OF))
def test_a_suite_runs_over_its_table_with_values_and_with_nulls(suite: str) -> None:
    rows = pa.concat_tables(_table(suite, TABLE_OF[suite], nulls=nulls) for nulls in (False, True))
    counts: dict[str, float] = dict.fromkeys(suite_named(suite).count_columns(), 1)
    rules = {rule.name for rule in suite_named(suite).rules}
    assert {result.name for result in run_suite(suite, rows, counts).rules} == rules


@pytest.mark.parametrize("suite", sorted(TABLE_OF))
def test_no_rule_over_rows_is_broken_where_there_are_none(suite: str) -> None:
    rows = _table(suite, TABLE_OF[suite], nulls=True).slice(0, 0)
    counts: dict[str, float] = dict.fromkeys(suite_named(suite).count_columns(), 1)
    found = run_suite(suite, rows, counts)
    assert not [rule.name for rule in found.rules if not rule.passed and not rule.found]
