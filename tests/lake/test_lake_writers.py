"""Several writers of one table at once lose nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows
from hwosim_assets.lake.tables import Tables

WRITER = """
    import sys
    import pyarrow as pa
    from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows
    from hwosim_assets.lake.tables import Tables

    catalog, warehouse, programs = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
    tables = Tables(catalog, warehouse)
    for count in (1, 3):
        for program in programs:
            rows = rejection_rows(program, [Rejection(f"f{n}", "raw", "rule", sys.argv[4]) for n in range(count)])
            tables.replace(QUARANTINE, {"program": program, "stage": "raw"}, rows)
"""


def _writers(tables: Tables, state: Path, programs: list[list[str]]) -> None:
    catalog = f"sqlite:///{state / 'catalog.db'}"
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                textwrap.dedent(WRITER),
                catalog,
                tables.place.uri,
                ",".join(part),
                f"writer {number}",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, part in enumerate(programs)
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_two_processes_lose_nothing(tables: Tables, state: Path) -> None:
    ours, theirs = ["00001", "00003", "00005"], ["00002", "00004", "00006"]
    _writers(tables, state, [ours, theirs])
    found = tables.scan(QUARANTINE)
    counts = {program: found.column("program").to_pylist().count(program) for program in ours + theirs}
    assert counts == dict.fromkeys(ours + theirs, 3)


def test_two_processes_on_one_scope_leave_the_rows_of_one(state: Path) -> None:
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", (state / "tables").as_uri())
    _writers(tables, state, [["00001"], ["00001"]])
    found = tables.scan(QUARANTINE)
    assert found.num_rows == 3
    assert len(set(found.column("reason").to_pylist())) == 1


def test_threads_lose_nothing(tables: Tables) -> None:
    programs = [f"{number:05d}" for number in range(4)]

    def write(program: str) -> None:
        rows = rejection_rows(program, [Rejection("a.fits", "raw", "rule", "reason")])
        tables.replace(QUARANTINE, {"program": program, "stage": "raw"}, rows)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, programs))
    assert tables.scan(QUARANTINE).column("program").to_pylist() == programs
