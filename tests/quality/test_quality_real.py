"""Malformed files are caught for their own defect; real ones raise no alarm that a JWST user would not call true."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from real_verdicts import MALFORMED, REAL, Malformed, Real

from hwosim_assets.catalog.extract import Extract, extract
from hwosim_assets.catalog.file_rules import FILE_RULES
from hwosim_assets.fits.blocks import UnreadableFitsError, scan
from hwosim_assets.fits.describe import describe_scan


def judged(path: Path) -> Extract:
    """Judge a file as one that is listed under the program that it names."""
    content = path.read_bytes()
    try:
        program = describe_scan(scan(path), path.name).program
    except UnreadableFitsError:
        program = "00000"
    row = {
        "program": program, "product_name": path.name, "data_uri": f"mast:JWST/product/{path.name}", "obs_id": "",
        "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "key": f"k/{path.name}",
        "uri": path.as_uri(), "etag": "", "ingest_id": "i1", "ingested_at": 0,
    }  # fmt: skip
    return extract(row, path)


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.file)
def test_a_malformed_file_is_refused_and_its_own_rule_says_why(case: Malformed, real_data: Path) -> None:
    made = judged(real_data / "evil" / case.file)
    assert made.product is None
    found = {item.rule: item for item in made.findings}
    assert set(found) == {case.rule, *case.also.split()}
    assert found[case.rule].reason
    assert any(item.severity == "reject" for item in made.findings)


@pytest.mark.parametrize("case", REAL, ids=lambda case: case.file)
def test_a_real_file_raises_no_alarm_but_those_that_are_true(case: Real, real_data: Path) -> None:
    made = judged(real_data / "jwst" / case.file)
    assert {item.rule for item in made.findings} == set(case.rules.split())
    rejected = any(FILE_RULES[rule].severity == "reject" for rule in case.rules.split())
    assert (made.product is None) == rejected


def test_no_file_is_left_out(real_data: Path) -> None:
    for folder, cases in (("evil", MALFORMED), ("jwst", REAL)):
        there = {path.relative_to(real_data / folder).as_posix() for path in (real_data / folder).rglob("*.*")}
        there = {name for name in there if (real_data / folder / name).is_file()}
        assert there == {case.file for case in cases}
    assert all(case.why for case in REAL if case.rules)
