"""Versions of products and what reprocessing changed, in the tables and from the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from astropy.io import fits

from hwosim_assets.catalog.changes import PRODUCT_CHANGES, note_versions, record_reprocessing, report_of
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.lake.versions import RAW_VERSIONS, versions_of

PROGRAM = "01093"
NAMES = [f"jw{PROGRAM}012001_03102_0000{number}_nis_cal.fits" for number in (1, 2)]

Archive = Callable[..., None]


@pytest.fixture
def archive(
    lake: Lake,
    tables: Tables,
    ingested: Callable[..., dict[str, Any]],
    make_cal: Callable[[], fits.HDUList],
    packed: Any,
) -> Archive:
    """Return what brings two products into the lake, the first as the archive has it now."""

    def bring(cal_ver: str = "1.18.0", shift: float = 0.0, content: bytes = b"", dropped: bool = False) -> None:
        cal = make_cal()
        cal[0].header["CAL_VER"] = cal_ver
        cal["SCI"].data[:, 0] += shift
        files = [] if dropped else [ingested(PROGRAM, NAMES[0], content or packed(cal))]
        files.append(ingested(PROGRAM, NAMES[1], packed(make_cal())))
        tables.replace(RAW_FILES, {"program": PROGRAM}, pa.Table.from_pylist(files, schema=RAW_FILES.schema))

    return bring


def told(tables: Tables, name: str = NAMES[0]) -> list[tuple[int, str | None, bool]]:
    return [(row["version"], row["cal_ver"], row["current"]) for row in versions_of(tables, PROGRAM, name)]


def test_a_new_version_stands_beside_the_old_which_stays_readable(archive: Archive, lake: Lake, tables: Tables) -> None:
    archive("1.17.1")
    assert note_versions(PROGRAM, lake, tables) == 2
    archive("1.18.0")
    assert note_versions(PROGRAM, lake, tables) == 1
    assert told(tables) == [(1, "1.17.1", False), (2, "1.18.0", True)]
    assert told(tables, NAMES[1]) == [(1, "1.18.0", True)]
    for row in versions_of(tables, PROGRAM):
        assert hashlib.sha256(lake.read(row["key"])).hexdigest() == row["sha256"]
        assert row["crds_ctx"] == "jwst_1364.pmap"
        assert row["size_bytes"] == len(lake.read(row["key"]))


def test_noting_again_writes_nothing(archive: Archive, lake: Lake, tables: Tables) -> None:
    archive()
    note_versions(PROGRAM, lake, tables)
    before = tables.open(RAW_VERSIONS.name).current_snapshot()
    assert note_versions(PROGRAM, lake, tables) == 0
    assert tables.open(RAW_VERSIONS.name).current_snapshot() == before


def test_a_file_that_goes_back_has_its_earlier_bytes_as_a_further_version(
    archive: Archive, lake: Lake, tables: Tables
) -> None:
    for cal_ver in ("1.17.1", "1.18.0", "1.17.1"):
        archive(cal_ver)
        record_reprocessing(PROGRAM, lake, tables)
    assert told(tables) == [(1, "1.17.1", False), (2, "1.18.0", False), (3, "1.17.1", True)]
    rows = versions_of(tables, PROGRAM, NAMES[0])
    assert rows[0]["sha256"] == rows[2]["sha256"]
    changes = tables.scan(PRODUCT_CHANGES).to_pylist()
    assert [(row["cal_ver_before"], row["cal_ver"]) for row in changes] == [("1.17.1", "1.18.0"), ("1.18.0", "1.17.1")]


def test_a_dropped_file_has_no_current_version(archive: Archive, lake: Lake, tables: Tables) -> None:
    archive()
    note_versions(PROGRAM, lake, tables)
    archive(dropped=True)
    note_versions(PROGRAM, lake, tables)
    assert told(tables) == [(1, "1.18.0", False)]
    archive()
    note_versions(PROGRAM, lake, tables)
    assert told(tables) == [(1, "1.18.0", True)]


def test_a_report_says_what_changed_and_of_whom(archive: Archive, lake: Lake, tables: Tables) -> None:
    archive("1.17.1")
    assert record_reprocessing(PROGRAM, lake, tables) == []
    archive("1.18.0", shift=0.5)
    (row,) = record_reprocessing(PROGRAM, lake, tables)
    assert (row["product_name"], row["version"], row["not_comparable"]) == (NAMES[0], 2, None)
    assert [row[f"cards_{change}"] for change in ("added", "removed", "changed")] == [0, 0, 1]
    assert (row["planes_changed"], row["most_changed_plane"], row["largest_share"]) == (1, "SCI,1", 1 / 12)
    report = report_of(row, lake)
    assert report["before"]["cal_ver"] == "1.17.1"
    assert report["after"]["cal_ver"] == "1.18.0"
    assert report["differences"]["cards"] == [
        {"hdu": "PRIMARY,1", "keyword": "CAL_VER", "change": "changed", "before": "1.17.1", "after": "1.18.0"}
    ]
    (plane,) = report["differences"]["planes"]
    assert (plane["changed"], plane["min"], plane["max"]) == (16, 0.0, pytest.approx(0.5, abs=1e-6))
    assert record_reprocessing(PROGRAM, lake, tables) == []
    assert tables.scan(PRODUCT_CHANGES).num_rows == 1


def test_a_kill_before_the_rows_are_written_loses_no_report(
    archive: Archive, lake: Lake, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive("1.17.1")
    note_versions(PROGRAM, lake, tables)
    archive("1.18.0")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("hwosim_assets.catalog.changes._counts", _killed)
        record_reprocessing(PROGRAM, lake, tables)
    assert len(list(lake.list("changes"))) == 1
    assert len(record_reprocessing(PROGRAM, lake, tables)) == 1
    assert len(list(lake.list("changes"))) == 1


def _killed(_differences: object) -> None:
    raise KeyboardInterrupt


def test_versions_that_cannot_be_compared_say_why(archive: Archive, lake: Lake, tables: Tables) -> None:
    archive("1.17.1")
    note_versions(PROGRAM, lake, tables)
    archive(content=b"<html>moved</html>")
    (row,) = record_reprocessing(PROGRAM, lake, tables)
    assert row["not_comparable"] == "is a web page (HTML), not FITS"
    assert told(tables)[-1] == (2, None, True)
    lake.delete(versions_of(tables, PROGRAM, NAMES[0])[-1]["key"])
    archive("1.19.0")
    (row,) = record_reprocessing(PROGRAM, lake, tables)
    assert row["not_comparable"].endswith("is not in the lake")
    assert report_of(row, lake)["differences"] is None
