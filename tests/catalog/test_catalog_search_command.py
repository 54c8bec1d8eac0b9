"""``hwosim search``: every criterion, every output, and what was read for it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from hwosim_assets.commands.search import search as command

NAMES = [f"jw0109{program}0{visit}2001_03102_00001_nis_cal.fits" for program, visit in ((3, 1), (3, 2), (4, 1))]


@pytest.fixture
def ask(three_products: Path, monkeypatch: pytest.MonkeyPatch, state: Path) -> Callable[..., Result]:
    monkeypatch.setenv("HWOSIM_LAKE_URI", (three_products / "lake").as_uri())
    monkeypatch.setenv("HWOSIM_CATALOG_URI", f"sqlite:///{three_products / 'catalog.db'}")
    return lambda *words: CliRunner().invoke(command, list(words))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--program", "1093", "--observation", "22"], [1]),
        (["--product", NAMES[2]], [2]),
        (["--filter", "f150w"], [0, 1, 2]),
        (["--filter", "F150"], []),
        (["--polygon", "45 89.95 165 89.95 285 89.95"], [2]),
        (["--polygon", "359 -1 1 -1 1 1 359 1"], [0]),
        (["--cone", "359.85", "0", "0.06"], [0]),
        (["--cone", "200", "90", "0.01"], [2]),
        (["--key", "effexptm>=200"], [1, 2]),
        (["--key", "EFFEXPTM>150", "--key", "OBSERVTN='022'"], [1]),
        (["--key", "FILTER>5"], []),
        (["--rights", "exclusive_access"], [0, 2]),
        (["--where", "t_exptime < 250 and program = '01093'"], [0, 1]),
        (["--where", "kw_targname like 'AB%' and s_dec > 50"], [2]),
    ],
)
def test_criteria(ask: Callable[..., Result], words: list[str], found: list[int]) -> None:
    done = ask(*words, "--json")
    assert done.exit_code == 0, done.output
    assert [NAMES.index(row["product_name"]) for row in json.loads(done.stdout)] == found


def test_keywords_are_read_by_sql_in_one_column(ask: Callable[..., Result]) -> None:
    from hwosim_assets.commands.sql import sql

    done = CliRunner().invoke(
        sql,
        [
            "--json",
            """
        SELECT product_name, keyword, value, number FROM header_keywords
        WHERE keyword IN ('EFFEXPTM', 'TARGNAME') AND (number > 150 OR value = 'AB Dor') AND hdu = 0
        ORDER BY product_name, keyword
    """,
        ],
    )
    assert done.exit_code == 0, done.output
    found = [(NAMES.index(row["product_name"]), row["value"], row["number"]) for row in json.loads(done.stdout)]
    assert found == [
        (0, "AB Dor", None),
        (1, "200.0", 200.0),
        (1, "AB Dor", None),
        (2, "300.0", 300.0),
        (2, "AB Dor", None),
    ]
    assert "header_keywords" in CliRunner().invoke(sql, ["SHOW TABLES"]).output


def test_target_lists(ask: Callable[..., Result], state: Path) -> None:
    (state / "places").write_text("# places\n10.05 0\n0 89.99\n")
    (state / "names").write_text("ab DOR\n")
    (state / "empty").write_text("# nothing\n")
    for file, found in (("places", 2), ("names", 3)):
        assert len(json.loads(ask("--targets", str(state / file), "--json").stdout)) == found
    assert "names no target" in str(ask("--targets", str(state / "empty")).exception)


def test_what_was_read_is_said(ask: Callable[..., Result]) -> None:
    assert "read 1 of 2 files, 1 row groups, 2 of 3 rows" in ask("--program", "1093", "--explain").stderr
    assert "read 1 of 2 files" in ask("--cone", "10", "0", "0.1", "--explain").stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--where", "1=1; drop table products"], ["--where", "nonsense = 1"], ["--where", "t_exptime > 'x'"],
        ["--where", "read_csv('/etc/passwd')"], ["--key", "EXPTIME"], ["--polygon", "1 2 3"],
        ["--polygon", "1 2 3 4"], ["--cone", "0", "0", "1", "--polygon", "0 0 1 0 1 1"],
        ["--source", "archive", "--key", "A>1"], ["--output", "found.xls"],
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_words(ask: Callable[..., Result], words: list[str]) -> None:
    done = ask(*words)
    assert done.exit_code != 0
    assert "Traceback" not in done.output
    assert str(done.exception) if done.exit_code == 1 else "Error" in done.output


def test_files_for_the_virtual_observatory(ask: Callable[..., Result], state: Path) -> None:
    from astropy.io.votable import parse_single_table, validate

    for suffix in ("vot", "csv", "parquet"):
        assert ask("--output", str(state / f"found.{suffix}")).exit_code == 0
    report = io.StringIO()
    assert validate(str(state / "found.vot"), output=report, xmllint=False), report.getvalue()
    table = parse_single_table(str(state / "found.vot"))
    assert list(table.array["product_name"]) == NAMES
    place = table.get_field_by_id("s_ra")
    assert (place.ucd, str(place.unit)) == ("pos.eq.ra", "deg")
    assert place.utype == "obscore:Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C1"
    read = [
        pyarrow.csv.read_csv(state / "found.csv"),
        pyarrow.parquet.read_table(state / "found.parquet"),
    ]
    for rows in read:
        assert rows["product_name"].to_pylist() == NAMES
        assert rows["t_exptime"].to_pylist() == [100.0, 200.0, 300.0]
