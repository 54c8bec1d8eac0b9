"""A lake's folder that was moved is told apart from one that is lost, and mended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.moved import mend, whereabouts
from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows
from hwosim_assets.lake.tables import Tables


def put(tables: Tables, program: str, count: int) -> None:
    rows = rejection_rows(program, [Rejection(f"f{n}", "raw", "rule", "reason") for n in range(count)])
    tables.replace(QUARANTINE, {"program": program, "stage": "raw"}, rows)


def test_a_moved_lake_is_mended_and_a_lost_one_said_to_be(state: Path) -> None:
    catalog = f"sqlite:///{state / 'catalog.db'}"
    old, new = state / "old", state / "a new place"
    before = Tables(catalog, (old / "tables").as_uri())
    for program, count in (("00001", 3), ("00002", 2), ("00001", 4)):
        put(before, program, count)
    rows = before.scan(QUARANTINE)
    assert whereabouts(before) == {"quarantine": "here"}
    with pytest.raises(HwosimError, match="was not moved"):
        mend(before, "quarantine")

    shutil.copytree(old, new)
    after = Tables(catalog, (new / "tables").as_uri())
    assert whereabouts(after) == {"quarantine": "elsewhere"}
    shutil.rmtree(old)
    assert whereabouts(after) == {"quarantine": "moved"}
    assert whereabouts(before) == {"quarantine": "lost"}
    mend(after, "quarantine")
    assert whereabouts(after) == {"quarantine": "here"}
    assert after.scan(QUARANTINE) == rows

    put(after, "00002", 5)
    put(after, "00003", 1)
    after.compact("quarantine")
    assert after.scan(QUARANTINE).num_rows == 10
    assert not old.exists()
