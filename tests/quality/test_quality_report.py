import json
from pathlib import Path

import pytest

from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.quality.report import summary, summary_page, write_report, write_summary
from hwosim_assets.quality.run import RuleResult, SuiteResult
from hwosim_assets.settings import Settings

EVIL = '<script>alert("x")</script>'


def result(*, passed: bool = True, value: str = "1") -> SuiteResult:
    shown = ({"product_name": EVIL, "column": "s_ra", "value": value},) if not passed else ()
    return SuiteResult(
        "products",
        3,
        (
            RuleResult(
                "counts_reconcile", "critical", True, 1, 0, (), "Files are accounted for.", {"files": 3, "accounted": 3}
            ),
            RuleResult("coordinates_in_range", "warning", passed, 6, len(shown), shown, "On the sky.", {}),
        ),
    )


@pytest.fixture
def lake(state: Path) -> Lake:
    return Lake.from_settings(Settings())


@pytest.fixture
def tables(state: Path) -> Tables:
    return Tables.from_settings(Settings())


def test_a_report_is_a_page_and_a_document_that_say_the_same(lake: Lake, tables: Tables) -> None:
    written = write_report(lake, tables, "catalog/products", "01093", result(passed=False, value="400.0"))
    assert written.key.startswith("reports/catalog/products/jw01093/")
    assert written.url == f"http://127.0.0.1:3080/{written.key}"
    page = lake.read(written.key).decode()
    said = json.loads(lake.read(written.key.removesuffix("html") + "json"))
    assert said["verdict"] == "warned"
    assert [rule["name"] for rule in said["rules"]] == ["counts_reconcile", "coordinates_in_range"]
    assert "400.0" in page
    assert "files: 3, accounted: 3" in page
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def test_the_same_findings_are_the_same_object_and_the_time_is_kept(lake: Lake, tables: Tables) -> None:
    first = write_report(lake, tables, "catalog/products", "01093", result())
    before = summary(tables, "01093")
    again = write_report(lake, tables, "catalog/products", "01093", result())
    assert again == first
    assert summary(tables, "01093") == before
    other = write_report(lake, tables, "catalog/products", "01093", result(passed=False))
    assert other.key != first.key
    assert lake.head(first.key) is not None  # what an old check links to stays
    [latest] = summary(tables, "01093")
    assert (latest["html_key"], latest["verdict"], latest["broken_rules"]) == (
        other.key,
        "warned",
        "coordinates_in_range",
    )


def test_a_program_is_summed_up_in_the_order_of_the_chain_with_its_refused_files(lake: Lake, tables: Tables) -> None:
    for asset in ("stream/clean", "mast/products", "catalog/products"):
        write_report(lake, tables, asset, "01093", result(passed=asset != "catalog/products"))
    write_report(lake, tables, "mast/products", "02739", result())
    refused = [Rejection("jw01093_bad_cal.fits", "catalog", "fits_structure", f"it ends early {EVIL}")]
    tables.replace(QUARANTINE, {"program": "01093", "stage": "catalog"}, rejection_rows("01093", refused))
    assert [row["asset"] for row in summary(tables, "01093")] == ["mast/products", "catalog/products", "stream/clean"]
    page = summary_page(tables, "01093")
    assert "jw01093_bad_cal.fits" in page
    assert "it ends early" in page
    assert EVIL not in page
    written = write_summary(lake, tables, "01093")
    assert written.url == "http://127.0.0.1:3080/program/01093"
    assert write_summary(lake, tables, "01093") == written
    assert json.loads(lake.read(written.key.removesuffix("html") + "json"))["verdict"] == "warned"
    assert summary(tables, "09999") == []


def test_a_name_from_outside_cannot_leave_the_reports(lake: Lake, tables: Tables) -> None:
    with pytest.raises(Exception, match="cannot be part of a lake key"):
        write_report(lake, tables, "../../etc", "01093", result())
