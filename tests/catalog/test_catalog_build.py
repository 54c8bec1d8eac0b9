"""The catalog of a program on a real lake: what is written, what is read again, what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby
from typing import Any

import pyarrow as pa
import pytest
from astropy.io import fits

from hwosim_assets.catalog import build
from hwosim_assets.catalog.build import catalog_program
from hwosim_assets.catalog.cards import HEADER_CARDS
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.fits.cards import header_bytes
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.rejections import QUARANTINE

PROGRAM = "01093"
GOOD = "jw01093012001_03102_00001_nis_cal.fits"
CUT = "jw01093012001_03102_00002_nis_cal.fits"
PAGE = "jw01093012001_03102_00003_nis_cal.fits"

Put = Callable[..., dict[str, Any]]


@pytest.fixture
def rows(ingested: Put, cal: fits.HDUList, packed: Callable[..., bytes]) -> list[dict[str, Any]]:
    content = packed(cal)
    return [
        ingested(PROGRAM, GOOD, content),
        ingested(PROGRAM, CUT, content[:6000]),
        ingested(PROGRAM, PAGE, b"<html>500 Internal Server Error</html>"),
    ]


def raw(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=RAW_FILES.schema)


def test_good_and_bad_files_part_ways(rows: list[dict[str, Any]], lake: Any, tables: Any) -> None:
    seen: list[str] = []
    result = catalog_program(PROGRAM, raw(rows), lake, tables, on_file=seen.append)
    assert seen == [GOOD, CUT, PAGE]
    assert (result.read_files, result.kept_files) == (3, 0)
    stored = tables.scan(PRODUCTS, {"program": PROGRAM}).to_pylist()
    assert [row["product_name"] for row in stored] == [GOOD]
    product = stored[0]
    assert product["sha256"] == rows[0]["sha256"]
    assert product["uri"] == rows[0]["uri"]
    assert (product["calib_level"], product["product_type"], product["obs_collection"]) == (2, "cal", "JWST")
    assert product["stream_time_mjd"] == pytest.approx(59735.51)
    assert product["em_min"] == pytest.approx(1.33e-6)
    assert product["s_fov"] == pytest.approx(0.0217, abs=1e-3)
    assert product["kw_effexptm"] == 1234.5
    assert product["warnings"] is None
    layout = {hdu["extname"]: hdu for hdu in json.loads(product["layout_json"])}
    assert layout["DQ"]["dtype"] == "uint32"
    assert layout["SCI"]["shape"] == [16, 12]
    quarantine = tables.scan(QUARANTINE, {"program": PROGRAM, "stage": "catalog"}).to_pylist()
    reasons = {row["product_name"]: (row["rule"], row["reason"]) for row in quarantine}
    assert reasons[CUT][0] == "fits_structure"
    assert "truncated" in reasons[CUT][1]
    assert "web page" in reasons[PAGE][1]


def test_the_header_comes_back_out_of_the_table(
    rows: list[dict[str, Any]], lake: Any, tables: Any, cal: fits.HDUList, packed: Callable[..., bytes]
) -> None:
    catalog_program(PROGRAM, raw(rows), lake, tables)
    stored = tables.scan(HEADER_CARDS, {"program": PROGRAM}).sort_by(
        [("hdu", "ascending"), ("card_index", "ascending")]
    )
    content = packed(cal)
    with fits.open(rows[0]["uri"].removeprefix("file://")) as hdus:
        for index, cards in groupby(stored.to_pylist(), key=lambda row: row["hdu"]):
            place = hdus[index].fileinfo()
            assert header_bytes(row["raw"] for row in cards) == content[place["hdrLoc"] : place["datLoc"]]
    exposure = next(row for row in stored.to_pylist() if row["keyword"] == "EFFEXPTM")
    assert exposure["value_double"] == 1234.5
    assert [exposure[f"value_{kind}"] for kind in ("bool", "long", "string")] == [None, None, None]


def test_a_second_time_nothing_is_read(
    rows: list[dict[str, Any]], lake: Any, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = catalog_program(PROGRAM, raw(rows), lake, tables)
    monkeypatch.setattr(type(lake), "local_copy", None)  # reading a file would fail
    again = catalog_program(PROGRAM, raw(rows), lake, tables)
    assert (again.read_files, again.kept_files) == (0, 3)
    assert again.rejections == first.rejections
    assert again.cards.num_rows == first.cards.num_rows
    assert again.products.drop_columns(["cataloged_at"]) == first.products.drop_columns(["cataloged_at"])


def test_only_a_changed_file_is_read_again(
    rows: list[dict[str, Any]], ingested: Put, lake: Any, tables: Any, cal: fits.HDUList, packed: Callable[..., bytes]
) -> None:
    catalog_program(PROGRAM, raw(rows), lake, tables)
    cal[0].header["CAL_VER"] = "1.19.0"
    renewed = [ingested(PROGRAM, GOOD, packed(cal)), *rows[1:]]
    result = catalog_program(PROGRAM, raw(renewed), lake, tables)
    assert (result.read_files, result.kept_files) == (1, 2)
    stored = tables.scan(PRODUCTS, {"program": PROGRAM}).to_pylist()
    assert [(row["sha256"], row["kw_cal_ver"]) for row in stored] == [(renewed[0]["sha256"], "1.19.0")]
    assert set(tables.scan(HEADER_CARDS)["sha256"].to_pylist()) == {renewed[0]["sha256"]}


def test_new_rules_read_everything_again(
    rows: list[dict[str, Any]], lake: Any, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog_program(PROGRAM, raw(rows), lake, tables)
    monkeypatch.setattr(build, "EXTRACTOR_VERSION", build.EXTRACTOR_VERSION + 1)
    assert catalog_program(PROGRAM, raw(rows), lake, tables).read_files == 3


def test_a_file_that_left_the_archive_leaves_the_catalog(rows: list[dict[str, Any]], lake: Any, tables: Any) -> None:
    catalog_program(PROGRAM, raw(rows), lake, tables)
    result = catalog_program(PROGRAM, raw(rows[1:]), lake, tables)
    assert result.products.num_rows == tables.scan(PRODUCTS).num_rows == 0
    assert tables.scan(HEADER_CARDS).num_rows == 0


def test_bytes_that_changed_in_the_lake_are_noticed(rows: list[dict[str, Any]], lake: Any, tables: Any) -> None:
    damaged = [rows[0] | {"sha256": "0" * 64}]
    result = catalog_program(PROGRAM, raw(damaged), lake, tables)
    assert [(item.rule, item.product_name) for item in result.rejections] == [("checksum", GOOD)]


def test_a_file_of_another_program_is_refused(ingested: Put, lake: Any, tables: Any, cal: fits.HDUList, packed) -> None:
    result = catalog_program("01094", raw([ingested("01094", GOOD, packed(cal))]), lake, tables)
    assert [item.rule for item in result.rejections] == ["program"]
    assert result.cards.num_rows > 50


def test_two_files_of_one_name_are_one_product(
    rows: list[dict[str, Any]], ingested: Put, lake: Any, tables: Any, cal: fits.HDUList, packed: Callable[..., bytes]
) -> None:
    cal[0].header["CAL_VER"] = "0.0.1"
    double = ingested(PROGRAM, GOOD, packed(cal), folder="old/product")
    result = catalog_program(PROGRAM, raw([double, rows[0]]), lake, tables)
    assert result.products["sha256"].to_pylist() == [rows[0]["sha256"]]
    verdict = tables.scan(build.VERDICTS).to_pylist()[0]
    assert "old/product" in verdict["findings"]


def test_an_empty_program_is_an_empty_catalog(lake: Any, tables: Any) -> None:
    result = catalog_program(PROGRAM, raw([]), lake, tables)
    assert (result.cards.num_rows, result.products.num_rows, result.rejections) == (0, 0, [])
