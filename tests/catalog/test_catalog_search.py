"""Searching the catalog, in Python and from the shell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from astropy.io import fits
from click.testing import CliRunner

from hwosim_assets.catalog.build import catalog_program
from hwosim_assets.catalog.search import search
from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def lake(home: Path) -> Lake:
    return Lake((home / "lake").as_uri())


@pytest.fixture(scope="module")
def filled(
    home: Path, lake: Lake, put_into: Callable[..., dict[str, Any]], make_cal: Callable[[], fits.HDUList], packed: Any
) -> Tables:
    """Return tables with three products of two programs; one near RA 0, one without position."""
    tables = Tables(f"sqlite:///{home / 'catalog.db'}", (home / "lake" / "tables").as_uri())
    cal = make_cal()
    places = {
        "jw01093012001_03102_00001_nis_cal.fits": (
            "01093",
            "POLYGON 82.1 -65.5 82.2 -65.5 82.2 -65.4 82.1 -65.4 POLYGON 84.1 -65.5 84.2 -65.5 84.2 -65.4 84.1 -65.4",
        ),
        "jw01094012001_03102_00001_nis_cal.fits": ("01094", "POLYGON 359.9 -0.1 0.1 -0.1 0.1 0.1 359.9 0.1"),
        "jw01094012001_03102_00002_nis_cal.fits": ("01094", ""),
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    for number, (name, (program, region)) in enumerate(places.items()):
        primary, science = cal[0].header, cal["SCI"].header
        primary["PROGRAM"], primary["FILENAME"], primary["EXPOSURE"] = program, name, name.split("_")[2]
        for offset, keyword in enumerate(("EXPSTART", "EXPMID", "EXPEND")):
            primary[keyword] = 59735.0 + 10 * number + offset
        science["S_REGION"] = region
        if not region:
            del primary["TARG_RA"], primary["TARG_DEC"]
        rows.setdefault(program, []).append(put_into(lake, program, name, packed(cal)))
    for program, files in rows.items():
        result = catalog_program(program, pa.Table.from_pylist(files, schema=RAW_FILES.schema), lake, tables)
        assert result.rejections == []
    return tables


def names(found: pa.Table) -> list[str]:
    return [name[2:7] + name[23:25] for name in found["product_name"].to_pylist()]


def test_each_criterion_narrows(filled: Tables) -> None:
    assert names(search(filled)) == ["0109301", "0109401", "0109402"]
    assert names(search(filled, program=1093)) == ["0109301"]
    assert names(search(filled, instrument="niriss")) == ["0109301", "0109401", "0109402"]
    assert names(search(filled, instrument="NIRISS/AMI")) == []
    assert names(search(filled, product_type="CAL", level=2, program="1094")) == ["0109401", "0109402"]
    assert names(search(filled, level=3)) == []


def test_cones_know_the_sphere(filled: Tables) -> None:
    assert names(search(filled, cone=(82.18, -65.45, 0.001))) == ["0109301"]
    assert names(search(filled, cone=(84.18, -65.45, 0.001))) == ["0109301"]  # in the second of its polygons
    assert names(search(filled, cone=(83.15, -65.45, 0.001))) == []  # between them
    assert names(search(filled, cone=(0.2, 0.0, 0.11))) == ["0109401"]
    assert names(search(filled, cone=(359.8, 0.0, 0.09))) == []
    assert names(search(filled, cone=(10, 0, 180))) == ["0109301", "0109401"]


def test_spans_of_time_overlap_exposures(filled: Tables) -> None:
    assert names(search(filled, between=(59736.5, 59736.6))) == ["0109301"]
    assert names(search(filled, between=(59738, 59744))) == []
    assert names(search(filled, between=(59737, 59745))) == ["0109301", "0109401"]


def test_impossible_questions_are_refused(filled: Tables) -> None:
    for question in ({"cone": (400, 0, 1)}, {"cone": (0, 0, -1)}, {"between": (2, 1)}, {"program": "x"}):
        with pytest.raises(BadInputError):
            search(filled, **question)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="none of the products table"):
        search(filled, columns=["nonsense"])


def test_columns_can_be_chosen(filled: Tables) -> None:
    assert search(filled, columns=["kw_cal_ver"]).column_names == ["kw_cal_ver"]


@pytest.fixture
def shell(filled: Tables, home: Path, monkeypatch: pytest.MonkeyPatch, state: Path) -> CliRunner:
    monkeypatch.setenv("HWOSIM_LAKE_URI", (home / "lake").as_uri())
    monkeypatch.setenv("HWOSIM_CATALOG_URI", f"sqlite:///{home / 'catalog.db'}")
    return CliRunner()


def test_the_search_command(shell: CliRunner) -> None:
    from hwosim_assets.commands.search import search as command

    found = shell.invoke(command, ["--program", "1094", "--between", "2022-06-15", "2022-06-18T01:00", "--json"])
    assert found.exit_code == 0, found.output
    assert [row["product_name"] for row in json.loads(found.stdout)] == ["jw01094012001_03102_00001_nis_cal.fits"]
    wrong = shell.invoke(command, ["--between", "yesterday", "today"])
    assert wrong.exit_code == 2
    assert "neither an MJD nor an ISO date" in wrong.output


def test_the_headers_command_on_path_and_uri(shell: CliRunner, filled: Tables) -> None:
    from hwosim_assets.commands.headers import headers as command

    uri = search(filled, program=1093)["uri"].to_pylist()[0]
    for place in (uri, uri.removeprefix("file://")):
        found = shell.invoke(command, [place, "--hdu", "1", "--key", "bunit"])
        assert found.exit_code == 0, found.output
        assert found.stdout.splitlines() == ["# HDU 1 SCI,1", "BUNIT   = 'MJy/sr  '"]
    cards = json.loads(shell.invoke(command, [uri, "--key", "EFFEXPTM", "--json"]).stdout)["cards"]
    assert [card["value"] for card in cards] == [1234.5]
    for arguments in ([uri, "--hdu", "99"], [uri, "--key", "NOSUCH"], ["nowhere.fits"]):
        assert isinstance(shell.invoke(command, arguments).exception, BadInputError)
