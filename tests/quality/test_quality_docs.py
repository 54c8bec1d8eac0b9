"""The SQL of docs/quality.md runs as it stands."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.commands.sql import sql
from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.quality.history import Evaluation, record_results
from hwosim_assets.quality.report import write_report
from hwosim_assets.quality.run import RuleResult, SuiteResult
from hwosim_assets.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "quality.md").read_text()
QUERIES = [shlex.split(line)[2] for line in PAGE.splitlines() if line.startswith("hwosim sql ")]
PROGRAM = "97001"


@pytest.fixture
def checked(state: Path) -> None:
    lake, tables = Lake.from_settings(Settings()), Tables.from_settings(Settings())
    broken = RuleResult("files_keep_sky", "warning", False, 2, 1, (), "As it should be.", {})
    found = SuiteResult("products", 2, (broken,))
    report = write_report(lake, tables, "catalog/products", PROGRAM, found)
    record_results(tables, "catalog/products", PROGRAM, found, Evaluation("run-1", "data", "code"), report.key)
    blank = {pa.string(): "", pa.int64(): 0, pa.float64(): 0.0}
    row = {field.name: blank.get(field.type) for field in PRODUCTS.schema if not field.nullable}
    row |= {
        "program": PROGRAM,
        "product_name": "a.fits",
        "warnings": '[{"rule": "footprint", "reason": "half the sky"}]',
    }
    tables.replace(PRODUCTS, {"program": PROGRAM}, pa.Table.from_pylist([row], schema=PRODUCTS.schema))
    refused = rejection_rows(PROGRAM, [Rejection("b.fits", "catalog", "fits_structure", "it ends early")])
    tables.replace(QUARANTINE, {"program": PROGRAM, "stage": "catalog"}, refused)


def test_there_are_queries() -> None:
    assert len(QUERIES) >= 7


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_page_answers_with_what_is_there(query: str, checked: None) -> None:
    done = CliRunner().invoke(sql, [query, "--json"], catch_exceptions=False, standalone_mode=False)
    assert done.exception is None
    answer = json.loads(done.stdout)
    rows = answer["rows"] if isinstance(answer, dict) else answer
    assert len(rows) == 1
