"""Every rule is broken by its own defect and by no other; good files and good programs break none."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from file_defects import FILE_DEFECTS, FileDefect
from table_defects import COUNTS, GOOD, TABLE_DEFECTS, TableDefect

from hwosim_assets.archive.sample import write_sample
from hwosim_assets.catalog.build import catalog_program
from hwosim_assets.catalog.extract import extract
from hwosim_assets.catalog.file_rules import FILE_RULES
from hwosim_assets.catalog.verdicts import VERDICTS
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.quality.registry import registry
from hwosim_assets.quality.run import run_suite
from hwosim_assets.quality.suites import SUITES


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample")
    write_sample(root)
    return root


def raw_row(name: str, content: bytes, program: str) -> dict[str, Any]:
    return {
        "program": program, "product_name": name, "data_uri": f"mast:JWST/product/{name}", "obs_id": "",
        "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "key": f"k/{name}",
        "uri": f"file:///{name}", "etag": "", "ingest_id": "i1", "ingested_at": 0,
    }  # fmt: skip


def found_rules(defect: FileDefect, sample: Path, folder: Path) -> dict[str, str]:
    """Return what is said against a spoilt file, by rule."""
    name, content = defect.made(sample)
    path = folder / name
    path.write_bytes(content)
    row = raw_row(name, content, defect.listed or "97001")
    program = name[2:7] if name.startswith("jw9") else "97001"
    row = {**row, "program": defect.listed or program}
    if defect.rotten:
        row["sha256"] = "0" * 64
    if defect.doubled:
        return doubled(row, content, folder)
    return {item.rule: item.severity for item in extract(row, path).findings}


def doubled(row: dict[str, Any], content: bytes, folder: Path) -> dict[str, str]:
    """Catalogue a program that lists two files of one name."""
    import json

    lake = Lake((folder / "lake").as_uri())
    tables = Tables(f"sqlite:///{folder / 'catalog.db'}", (folder / "lake" / "tables").as_uri())
    key = f"raw/jw{row['program']}/other/{row['product_name']}/i1/{row['product_name']}"
    lake.write_new(key, content)
    rows = [{**row, "key": key, "data_uri": f"mast:{folder}/{row['product_name']}"} for folder in ("A", "B")]
    catalog_program(row["program"], pa.Table.from_pylist(rows, schema=RAW_FILES.schema), lake, tables)
    (verdict,) = tables.scan(VERDICTS, {"program": row["program"]}).to_pylist()
    return {item["rule"]: item["severity"] for item in json.loads(verdict["findings"])}


@pytest.mark.parametrize(
    "defect", FILE_DEFECTS, ids=[f"{number}-{defect.rule}" for number, defect in enumerate(FILE_DEFECTS)]
)
def test_a_spoilt_file_is_caught_by_its_rule_and_by_no_other(defect: FileDefect, sample: Path, tmp_path: Path) -> None:
    found = found_rules(defect, sample, tmp_path)
    assert set(found) == {defect.rule, *defect.also}
    assert found == {rule: FILE_RULES[rule].severity for rule in found}


def test_the_sample_archive_raises_no_alarm(sample: Path) -> None:
    for path in sorted(sample.rglob("*.fits")):
        made = extract(raw_row(path.name, path.read_bytes(), path.name[2:7]), path)
        assert made.findings == [], path.name
        assert made.product is not None


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_a_good_program_breaks_no_rule(suite: str) -> None:
    result = run_suite(suite, pa.table(GOOD[suite]), COUNTS[suite])
    assert [rule.name for rule in result.rules if not rule.passed] == []
    assert [rule.name for rule in result.rules if rule.name in ("",)] == []


@pytest.mark.parametrize("defect", TABLE_DEFECTS, ids=[f"{defect.suite}-{defect.rule}" for defect in TABLE_DEFECTS])
def test_a_spoilt_program_is_caught_by_its_rule_and_by_no_other(defect: TableDefect) -> None:
    result = run_suite(defect.suite, defect.rows(), defect.counts())
    assert {rule.name for rule in result.rules if not rule.passed} == {defect.rule, *defect.also}
    (broken,) = [rule for rule in result.rules if rule.name == defect.rule]
    assert broken.unexpected >= 1
    assert broken.examples


def test_every_rule_has_a_defect_of_its_own() -> None:
    shown = {f"file.{defect.rule}" for defect in FILE_DEFECTS}
    shown |= {f"{defect.suite}.{defect.rule}" for defect in TABLE_DEFECTS}
    assert {entry.id for entry in registry()} == shown


def test_the_registry_says_of_every_rule_what_it_is_and_who_promises_it() -> None:
    entries = registry()
    assert len(entries) >= 80
    assert max(Counter(entry.id for entry in entries).values()) == 1
    for entry in entries:
        assert entry.doc.endswith("."), entry
        assert len(entry.source) > 3, entry
        assert entry.severity in ("critical", "warning", "info", "reject", "warn")
    assert {entry.stage for entry in entries} == {
        "query", "raw", "catalog", "perturbed", "stream", "report",
    }  # fmt: skip
