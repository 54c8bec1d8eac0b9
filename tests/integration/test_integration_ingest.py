"""Whole programs through archive, lake and catalog: over a hostile archive, killed at random moments, side by side.

``HWOSIM_INGEST_PRODUCTS`` and ``HWOSIM_INGEST_KILLS`` make the first test larger than it is by default.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from small_program import PROGRAM, Place, Watcher, reprocess, write_program

from hwosim_assets.archive.hostile import Faults
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.rejections import QUARANTINE

pytestmark = pytest.mark.integration

PRODUCTS_COUNT = int(os.environ.get("HWOSIM_INGEST_PRODUCTS", "300"))
#: A kill comes after so many seconds at the latest.
LONGEST = 20.0
KILLS = int(os.environ.get("HWOSIM_INGEST_KILLS", "10"))
#: Every way of failing that may pass; what never passes (403, 404) makes no program complete.
HOSTILE = Faults(
    seed=1,
    latency=0.002,
    error=0.03,
    busy=0.001,
    reset=0.02,
    stall=0.001,
    slow=0.001,
    truncate=0.02,
    short=0.02,
    corrupt=0.02,
    drop=0.0002,
    duplicate=0.05,
    wrong_size=0.01,
)
#: An ingest that leaves files to be asked for again is repeated, as the sensor would; so often at the most.
LOOKS = 12


@pytest.mark.timeout(3600)
def test_kills_and_a_hostile_archive_leave_nothing_partial_and_a_complete_program(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    root, random, began = tmp_path / "archive", Random(1), time.monotonic()
    paths = write_program(root, PRODUCTS_COUNT)
    with LocalArchive(root, faults=HOSTILE) as hostile, LocalArchive(root) as friendly:
        hostile.folder.index()  # of thousands of files it takes longer than this archive may be silent
        place = Place(tmp_path / "home", hostile.url, patience=3)
        watcher = Watcher(place, root)
        longest, ended, version = 3.0, 0, 0
        for _ in range(KILLS):
            seconds = _killed(place, random.uniform(0, longest))
            watcher.look()
            if seconds is None:  # nothing ended it; the next kill comes later
                longest = min(longest * 1.2, LONGEST)
                continue
            # it came to its end: there is work again when the archive holds other versions
            ended, version, longest = ended + 1, version + 1, min(seconds, LONGEST)
            changed = random.sample(paths, max(1, len(paths) // 10))
            for path in changed:
                reprocess(path, version)
            watcher.note(changed)
        looks = _to_the_end(place, watcher, paths)
        other = Place(tmp_path / "undisturbed", friendly.url)
        assert other.ingest(PROGRAM) == 0
    assert place.tables.scan(QUARANTINE).num_rows == 0
    rows = {row["product_name"]: row for row in place.tables.scan(RAW_FILES).to_pylist()}
    assert rows.keys() == {path.name for path in paths}
    for path in paths:
        content = path.read_bytes()
        assert rows[path.name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert place.lake.read(rows[path.name]["key"]) == content
    assert place.tables.scan(PRODUCTS).num_rows == len(paths)
    ours, theirs = place.state([PROGRAM]), other.state([PROGRAM])
    different = {name for name in ours if ours[name] != theirs[name]}
    assert different <= {f"raw_versions {PROGRAM}"}, "earlier versions stay; all else is as if nothing had happened"
    say(
        f"{len(paths)} products, {KILLS} kills ({ended} runs ended before theirs), then {looks} looks, "
        f"{time.monotonic() - began:.0f} s; nothing partial, complete and exact"
    )


def _killed(place: Place, seconds: float) -> float | None:
    """Kill a process after so long; return how long it took if it ended before."""
    began = time.monotonic()
    process = place.start(PROGRAM)
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    if process.exitcode == -signal.SIGKILL:
        return None
    place.ended(process)
    return time.monotonic() - began


def _to_the_end(place: Place, watcher: Watcher, paths: list[Path]) -> int:
    """Look at the archive until the lake holds what it holds; return how often."""
    wanted = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    for look in range(1, LOOKS + 1):
        ended = place.ingest(PROGRAM)
        watcher.look()
        rows = place.tables.scan(RAW_FILES, columns=["product_name", "sha256"]).to_pylist()
        if ended == 0 and {row["product_name"]: row["sha256"] for row in rows} == wanted:
            return look
    pytest.fail(f"not complete after {LOOKS} looks")


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
