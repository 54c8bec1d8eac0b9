"""Whole programs through archive, lake and catalog: over a hostile archive, killed at random moments, side by side.

``HWOSIM_INGEST_PRODUCTS`` and ``HWOSIM_INGEST_KILLS`` make the first test larger than it is by default.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from killed_program import HOSTILE, expect_exact, kill_at_random, to_the_end
from small_program import PROGRAM, Place, Watcher, write_program

from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.lake.ingest import RAW_FILES

pytestmark = pytest.mark.integration

PRODUCTS_COUNT = int(os.environ.get("HWOSIM_INGEST_PRODUCTS", "300"))
KILLS = int(os.environ.get("HWOSIM_INGEST_KILLS", "10"))


@pytest.mark.timeout(3600)
def test_kills_and_a_hostile_archive_leave_nothing_partial_and_a_complete_program(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    root, began = tmp_path / "archive", time.monotonic()
    paths = write_program(root, PRODUCTS_COUNT)
    with LocalArchive(root, faults=HOSTILE) as hostile, LocalArchive(root) as friendly:
        hostile.folder.index()  # of thousands of files it takes longer than this archive may be silent
        place = Place(tmp_path / "home", hostile.url, patience=3)
        watcher = Watcher(place, root)
        ended = kill_at_random(place, watcher, paths, KILLS, Random(1))
        looks = to_the_end(place, watcher, paths)
        other = Place(tmp_path / "undisturbed", friendly.url)
        assert other.ingest(PROGRAM) == 0
    expect_exact(place, other, paths)
    say(
        f"{len(paths)} products, {KILLS} kills ({ended} runs ended before theirs), then {looks} looks, "
        f"{time.monotonic() - began:.0f} s; nothing partial, complete and exact"
    )


@pytest.mark.timeout(1200)
def test_processes_side_by_side_end_as_one_after_the_other(tmp_path: Path) -> None:
    """Two of different programs and two of the same one, all four at once."""
    programs = ["01093", "01094", "01095"]
    root = tmp_path / "archive"
    for program in programs:
        write_program(root, 30, program)
    with LocalArchive(root) as served:
        together, alone = Place(tmp_path / "together", served.url), Place(tmp_path / "alone", served.url)
        watcher = Watcher(together, root)
        started = [together.start(program) for program in (*programs, programs[0])]
        while any(process.is_alive() for process in started):
            watcher.look()
            time.sleep(0.5)
        for process in started:
            assert together.ended(process) == 0
        for program in programs:
            assert alone.ingest(program) == 0
    assert together.tables.scan(RAW_FILES).num_rows == 30 * len(programs)
    assert together.state(programs) == alone.state(programs)
    keys = [sorted(stored.key for stored in place.lake.list("raw")) for place in (together, alone)]
    assert keys[0] == keys[1]
