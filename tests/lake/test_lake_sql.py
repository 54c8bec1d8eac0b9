"""SQL over the lake: it reads tables, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.lake import sql
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.sql import query
from hwosim_assets.lake.tables import Tables

SPEC = TableSpec(
    "readings",
    pa.schema([("program", pa.string()), ("name", pa.string()), ("value", pa.float64())]),
    ("program",),
    ("name",),
)
GROWN = TableSpec("readings", SPEC.schema.append(pa.field("unit", pa.string())), SPEC.scope, SPEC.key)


def rows(program: str, **columns: list[object]) -> pa.Table:
    count = len(next(iter(columns.values())))
    return pa.table({"program": [program] * count, **columns})


def filled(made: Tables) -> Tables:
    made.replace(SPEC, {"program": "00001"}, rows("00001", name=["a", "b"], value=[9.0, 100.0]))
    made.replace(GROWN, {"program": "00002"}, rows("00002", name=["c"], value=[None], unit=["s"]))
    return made


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("lake")
    return filled(Tables(f"sqlite:///{folder}/catalog.db", (folder / "tables").as_uri()))


def test_numbers_compare_as_numbers_and_columns_that_came_later_are_null(tables: Tables) -> None:
    filled(tables)
    found = query(tables, "SELECT name, value, unit FROM readings WHERE value > 10 OR value IS NULL ORDER BY name")
    assert found.to_pylist() == [{"name": "b", "value": 100.0, "unit": None}, {"name": "c", "value": None, "unit": "s"}]


def test_rows_that_were_replaced_are_gone(tables: Tables) -> None:
    filled(tables).replace(GROWN, {"program": "00001"}, rows("00001", name=["z"], value=[1.0], unit=[None]))
    assert query(tables, "FROM readings ORDER BY name").column("name").to_pylist() == ["c", "z"]


@pytest.mark.parametrize(
    "statement",
    ["SHOW TABLES", "DESCRIBE readings", "SUMMARIZE readings", "EXPLAIN SELECT * FROM readings", "VALUES (1), (2)"],
)
def test_other_ways_of_reading(readings: Tables, statement: str) -> None:
    assert query(readings, statement).num_rows


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('{outside}')",
        "SELECT * FROM read_parquet('{outside}')",
        "SELECT * FROM read_text('{outside}')",
        "SELECT * FROM read_blob('{outside}')",
        "SELECT * FROM sniff_csv('{outside}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM '{outside}'",
        "SELECT * FROM 'https://example.org/a.parquet'",
        "COPY readings TO '{folder}/stolen.csv'",
        "COPY (SELECT 1) TO '{folder}/stolen.csv'",
        "EXPORT DATABASE '{folder}/stolen'",
        "ATTACH '{folder}/other.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA enable_profiling",
        "CALL pragma_version()",
        "CREATE TABLE more (a INT)",
        "INSERT INTO readings VALUES ('1', 'x', 1, 's')",
        "DELETE FROM readings",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW readings",
        "SELECT * FROM tables",
        "SELECT getenv('HOME')",
        "",
        "SELEKT 1",
        "SELECT * FROM absent",
    ],
)
def test_everything_else_is_refused_in_one_line(readings: Tables, tmp_path: Path, statement: str) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text("secret\n42\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInputError) as caught:
        query(readings, statement.format(outside=outside, folder=tmp_path))
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_statement_without_end_is_interrupted(readings: Tables) -> None:
    began = time.monotonic()
    with pytest.raises(HwosimError, match=r"interrupted after 0\.3 s"):
        query(readings, "SELECT count(*) FROM range(1000000000) a, range(1000000) b", timeout_s=0.3)
    assert time.monotonic() - began < 10


def test_too_much_memory_is_told(readings: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sql._LIMITS, "memory_limit", "50MB")
    with pytest.raises(HwosimError, match="needs more than the 50MB"):
        query(readings, "SELECT list(repeat('x', 100000)) FROM range(10000)")
