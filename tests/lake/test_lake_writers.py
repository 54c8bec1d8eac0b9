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


def test_two_processes_lose_nothing_and_leave_the_rows_of_one_where_both_wrote(tables: Tables, state: Path) -> None:
    ours, theirs, shared = ["00001", "00003", "00005"], ["00002", "00004", "00006"], "00009"
    _writers(tables, state, [[*ours, shared], [*theirs, shared]])
    found = tables.scan(QUARANTINE)
    programs = found.column("program").to_pylist()
    assert {program: programs.count(program) for program in programs} == dict.fromkeys([*ours, *theirs, shared], 3)
    writers: dict[str, set[str]] = {program: set() for program in programs}
    for row in found.select(["program", "reason"]).to_pylist():
        writers[row["program"]].add(row["reason"])
    assert len(writers.pop(shared)) == 1
    assert writers == {program: {"writer 0" if program in ours else "writer 1"} for program in [*ours, *theirs]}


def test_threads_lose_nothing(tables: Tables) -> None:
    programs = [f"{number:05d}" for number in range(4)]

    def write(program: str) -> None:
        rows = rejection_rows(program, [Rejection("a.fits", "raw", "rule", "reason")])
        tables.replace(QUARANTINE, {"program": program, "stage": "raw"}, rows)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, programs))
    assert tables.scan(QUARANTINE).column("program").to_pylist() == programs
