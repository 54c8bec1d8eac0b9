"""Two programs' writers beside a process that compacts, expires and evolves the table: no row is lost.

The writers go on until the keeper has merged something beside them (``kept``): on a busy machine two rounds of its
work took longer than all of theirs, and both gave way to a writer's commit.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from hwosim_assets.lake.rejections import QUARANTINE
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.tables import Tables

HEAD = """
    import sys
    from datetime import timedelta
    from pathlib import Path
    import pyarrow as pa
    from hwosim_assets.lake import upkeep
    from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows
    from hwosim_assets.lake.spec import TableSpec
    from hwosim_assets.lake.tables import Tables
    catalog, warehouse, part, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    upkeep.GRACE = timedelta(seconds=20)  # of an hour: what lies unreferred that long is swept within the test
    tables = Tables(catalog, warehouse)
"""
WRITER = (
    HEAD
    + """
    kept = Path(sys.argv[5])
    count = 0
    while count < rounds or not kept.exists():
        count += 1
        for stage in ("raw", "catalog"):
            names = (f"f{n}" for n in range(min(count, rounds)))
            rows = rejection_rows(part, [Rejection(name, stage, "rule", "reason") for name in names])
            tables.replace(QUARANTINE, {"program": part, "stage": stage}, rows)
"""
)
KEEPER = (
    HEAD
    + """
    merged = number = 0
    kept = Path(sys.argv[5])
    while not Path(part).exists():
        number += 1
        merged += tables.compact(QUARANTINE.name).rows
        tables.expire(QUARANTINE.name, 2, timedelta(seconds=5))
        if number <= rounds:
            added = pa.field(f"note{number}", pa.string())
            grown = TableSpec(QUARANTINE.name, QUARANTINE.schema.append(added), QUARANTINE.scope, QUARANTINE.key)
            rows = rejection_rows("00009", [Rejection("x", "raw", "rule", str(number))])
            rows = rows.append_column(added, pa.array([f"round {number}"]))
            tables.replace(grown, {"program": "00009", "stage": "raw"}, rows)
        if merged and number >= 2:
            kept.touch()
"""
)


def _started(script: str, tables: Tables, state: Path, part: str, rounds: int) -> subprocess.Popen[str]:
    words = [f"sqlite:///{state / 'catalog.db'}", tables.place.uri, part, str(rounds), str(state / "kept")]
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), *words], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("rounds", [6, pytest.param(60, marks=pytest.mark.integration)])
def test_no_row_is_lost(state: Path, rounds: int) -> None:
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", (state / "tables").as_uri())
    tables.replace(QUARANTINE, {"program": "00001", "stage": "raw"}, _one_row())
    finished = state / "finished"
    keeper = _started(KEEPER, tables, state, str(finished), 5)
    writers = [_started(WRITER, tables, state, program, rounds) for program in ("00001", "00002")]
    try:
        for writer in writers:
            _, errors = writer.communicate(timeout=280)
            assert writer.returncode == 0, errors
    finally:
        finished.touch()
        _, errors = keeper.communicate(timeout=60)
    assert keeper.returncode == 0, errors
    found = tables.scan(QUARANTINE).select(["program", "stage"]).to_pylist()
    for program in ("00001", "00002"):
        for stage in ("raw", "catalog"):
            assert found.count({"program": program, "stage": stage}) == rounds
    grown = TableSpec("quarantine", QUARANTINE.schema.append(pa.field("note1", pa.string())), QUARANTINE.scope, ("x",))
    assert len(found) == 4 * rounds + 1
    assert tables.scan(grown, columns=["note1"]).num_rows == len(found)


def _one_row() -> pa.Table:
    from hwosim_assets.lake.rejections import Rejection, rejection_rows

    return rejection_rows("00001", [Rejection("f0", "raw", "rule", "reason")])
