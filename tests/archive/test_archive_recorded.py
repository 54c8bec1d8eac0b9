"""The client against what MAST really answered: products under many parents, pages, long polling."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from archive_material import recorded_mast

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.errors import ProgramsNotListedError
from hwosim_assets.archive.schema import PRODUCT_COLUMNS, product_rows


class RecordedMast:
    """MAST as recorded: program 5224's products, observations in pages, no list of programs."""

    def __init__(self, real_data: Path) -> None:
        self.folder = real_data / "mast"
        self.asked: list[dict[str, Any]] = []
        self.executing = 2

    def rows(self, name: str) -> list[dict[str, Any]]:
        with (self.folder / name).open() as stream:
            return [{key: value or None for key, value in row.items()} for row in csv.DictReader(stream)]

    def answer(self, path: str, asked: dict[str, Any]) -> object:
        self.asked.append(asked)
        if path.endswith("columnsconfig"):
            return json.loads((self.folder / "columnsconfig.json").read_text())
        if path.endswith("column_list"):
            return json.loads((self.folder / "mission_columns.json").read_text()) + [
                {"column_name": name, "qual_type": "string", "description": ""}
                for name in ("program", "fileSetName", "instrume")
            ]
        if path == "/search/jwst/api/v0.1/search":
            return json.loads((self.folder / "mast-jwst-mock.json").read_text())
        if path != "/api/v0/invoke":
            return None
        if self.executing:
            self.executing -= 1
            return {"status": "EXECUTING", "msg": ""}
        return self.products() if asked["service"] == "Mast.Caom.Products" else self.observations(asked["page"])

    def products(self) -> dict[str, Any]:
        rows = self.rows("JWST_0098_MAST_ALL_PRODUCTS.csv")
        for row in rows:
            row["size"], row["calib_level"] = int(row["size"]), int(row["calib_level"])
        return self.table(rows, {"size": "int", "calib_level": "int"}, 1, 1)

    def observations(self, page: int) -> dict[str, Any]:
        row = self.rows("JWST_0098_MAST_MATCHED_OBSERVATIONS.csv")[page - 1]
        numbers = dict.fromkeys(("s_ra", "s_dec", "t_min", "t_max", "t_exptime", "em_min", "em_max"), "float")
        for name in numbers:
            row[name] = float(row[name])
        row["calib_level"] = int(row["calib_level"])
        return self.table([row], numbers | {"calib_level": "int"}, page, 2)

    def table(self, rows: list[dict[str, Any]], types: dict[str, str], page: int, pages: int) -> dict[str, Any]:
        fields = [{"name": name, "type": types.get(name, "string")} for name in rows[0]]
        paging = {"page": page, "pageSize": len(rows), "pagesFiltered": pages, "rows": len(rows)}
        return {"status": "COMPLETE", "msg": "", "data": rows, "fields": fields, "paging": paging}


@pytest.fixture
def mast(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> RecordedMast:
    monkeypatch.setattr("hwosim_assets.archive.mast.POLL_SECONDS", 0.01)
    return RecordedMast(real_data)


def test_pages_and_long_polling(mast: RecordedMast) -> None:
    with recorded_mast(mast.answer) as url, ArchiveClient(url, timeout=5) as client:
        rows = client.observations(program="05224")
    assert [row["obs_id"] for row in rows] == [
        "jw05224-o004_s000277031_nirspec_clear-prism",
        "jw05224-o004_s000277193_nirspec_clear-prism",
    ]
    asked = [request for request in mast.asked if request.get("service") == "Mast.Caom.Filtered"]
    assert [request["page"] for request in asked] == [1, 1, 1, 2]
    assert {"paramName": "proposal_id", "values": ["5224"]} in asked[0]["params"]["filters"]
    assert rows[0]["em_max"] == 5300.0
    assert rows[0]["target_classification"] is None


def test_every_science_file_once(mast: RecordedMast) -> None:
    """Of 718 rows: FITS science products only, each file once, under its own observation where it is listed there."""
    listed = [row for row in mast.rows("JWST_0098_MAST_ALL_PRODUCTS.csv") if row["productType"] == "SCIENCE"]
    with recorded_mast(mast.answer) as url, ArchiveClient(url, timeout=5) as client:
        rows = client.products([{"obsid": "254258482"}, {"obsid": "254258368"}, {"obsid": None}])
    assert sorted(row["dataURI"] for row in rows) == sorted({row["dataURI"] for row in listed})
    assert len(rows) < len(listed)
    own = {row["dataURI"] for row in listed if row["obsID"] == row["parent_obsid"]}
    assert own == {row["dataURI"] for row in rows if row["obsID"] == row["parent_obsid"]}
    assert all(list(row) == list(PRODUCT_COLUMNS) and isinstance(row["size"], int) for row in rows)
    table = product_rows("5224", rows)
    assert table.num_rows == len(rows)
    assert set(table["program"].to_pylist()) == {"05224"}


def test_programs_are_named_to_mast(mast: RecordedMast) -> None:
    """MAST lists no programs; the ones asked for get a print of their file sets."""
    with recorded_mast(mast.answer) as url, ArchiveClient(url, timeout=5) as client:
        with pytest.raises(ProgramsNotListedError, match="hwosim programs register"):
            client.programs()
        prints = client.programs(of=["2107"])
        assert prints == client.programs(of=["02107"])
    assert list(prints) == ["02107"]
    assert len(prints["02107"]) == 64
    search = [request for request in mast.asked if "conditions" in request]
    assert search[0]["conditions"] == [{"program": 2107}]
    assert "ArchiveFileID" in search[0]["select_cols"]
