"""A lake whose folder was moved, and mended: every row says where its object is now, and every command finds it."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from shelf import Shelf, name_of

from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.cli import main
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.moved import mend_uris
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.lake.versions import RAW_VERSIONS

ONE, TWO = name_of("01093", "001"), name_of("02000", "001")


@pytest.fixture
def old(state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fill a lake, move its folder, and let the settings name the new one; return the old place."""
    shelf = Shelf(state / "old")
    shelf.put(ONE, TWO)
    shelf.put(TWO, content="1.18.0")
    shutil.move(state / "old/lake", state / "a new lake")
    shutil.move(state / "old/catalog.db", state / "catalog.db")
    monkeypatch.setenv("HWOSIM_LAKE_URI", (state / "a new lake").as_uri())
    monkeypatch.setenv("HWOSIM_CATALOG_URI", f"sqlite:///{state / 'catalog.db'}")
    return state / "old"


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(str(ended.value.code))


def test_after_the_mend_every_row_names_the_new_place(
    old: Path, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("lake", "moved") == 1
    assert "hwosim lake moved --mend" in capsys.readouterr().err
    assert run("lake", "moved", "--mend", "--json") == 0
    told = {row["table"]: row for row in json.loads(capsys.readouterr().out)}
    assert {row["is"] for row in told.values()} == {"here"}
    assert {name: told[name]["rows_mended"] for name in ("raw_files", "raw_versions", "products")} == {
        "raw_files": 2, "raw_versions": 3, "products": 2,
    }  # fmt: skip
    lake = Lake((state / "a new lake").as_uri())
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", lake.uri + "/tables")
    for spec in (RAW_FILES, RAW_VERSIONS, PRODUCTS):
        rows = tables.scan(spec).to_pylist()
        assert rows
        assert {row["uri"]: lake.head(lake.key_of(row["uri"])) is not None for row in rows} == {
            lake.uri_of(row["key"]): True for row in rows
        }
    assert not old.exists() or not list(old.rglob("*.fits"))

    assert run("lake", "verify") == 0
    assert run("bundle", "--program", "2000", "--output", str(tmp_path / "b.zip")) == 0
    with zipfile.ZipFile(tmp_path / "b.zip") as packed:
        manifest = json.loads(packed.read("manifest.json"))
    assert [row["uri"] for row in manifest["files"]] == [
        lake.uri_of(lake.key_of(row["uri"])) for row in manifest["files"]
    ]
    capsys.readouterr()
    assert run("lake", "moved", "--mend", "--json") == 0
    assert {row["rows_mended"] for row in json.loads(capsys.readouterr().out)} == {0}


def test_rows_of_a_lake_that_was_mended_by_an_earlier_version_are_mended_too(state: Path) -> None:
    shelf = Shelf(state)
    shelf.put(ONE, TWO)
    rows = shelf.tables.scan(PRODUCTS)
    at = rows.schema.get_field_index("uri")
    stale = rows.set_column(at, rows.schema.field(at), [[f"file:///gone/{row['key']}" for row in rows.to_pylist()]])
    for program in ("01093", "02000"):
        some = [row for row in stale.to_pylist() if row["program"] == program]
        shelf.tables.replace(PRODUCTS, {"program": program}, type(rows).from_pylist(some, schema=PRODUCTS.schema))
    assert shelf.tables.scan(PRODUCTS) == stale
    assert mend_uris(shelf.tables, shelf.lake, PRODUCTS) == 2
    assert shelf.tables.scan(PRODUCTS) == rows
    assert mend_uris(shelf.tables, shelf.lake, PRODUCTS) == 0
