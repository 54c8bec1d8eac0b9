"""A program taken from a hostile archive by processes that are killed, and what is asked of the lake after it.

Holds: the archive's faults, kills at random moments, looks until the program is complete, and the comparison with an
ingest that nothing disturbed. Keep out where the lake lies and what else is done to the processes.
"""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from small_program import PROGRAM, Place, Watcher, reprocess

from hwosim_assets.archive.hostile import Faults
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.rejections import QUARANTINE

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
#: A kill comes after so many seconds at the latest.
LONGEST = 20.0
#: An ingest that leaves files to be asked for again is repeated, as the sensor would; so often at the most.
LOOKS = 12


def kill_at_random(place: Place, watcher: Watcher, paths: Sequence[Path], kills: int, random: Random) -> int:
    """Ingest again and again, each time killed; return how many processes came to their end before."""
    longest, ended = 3.0, 0
    for _ in range(kills):
        seconds = _killed(place, random.uniform(0, longest))
        watcher.look()
        if seconds is None:  # nothing ended it; the next kill comes later
            longest = min(longest * 1.2, LONGEST)
            continue
        # it came to its end: there is work again when the archive holds other versions
        ended, longest = ended + 1, min(seconds, LONGEST)
        reprocess_some(watcher, random.sample(paths, max(1, len(paths) // 10)), ended)
    return ended


def reprocess_some(watcher: Watcher, paths: Sequence[Path], version: int) -> None:
    """Put another version of files into the archive."""
    for path in paths:
        reprocess(path, version)
    watcher.note(paths)


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


def to_the_end(place: Place, watcher: Watcher, paths: Sequence[Path]) -> int:
    """Look at the archive until the lake holds what it holds; return how often."""
    wanted = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    for look in range(1, LOOKS + 1):
        ended = place.ingest(PROGRAM)
        watcher.look()
        rows = place.tables.scan(RAW_FILES, columns=["product_name", "sha256"]).to_pylist()
        if ended == 0 and {row["product_name"]: row["sha256"] for row in rows} == wanted:
            return look
    pytest.fail(f"not complete after {LOOKS} looks")


def expect_exact(place: Place, undisturbed: Place, paths: Sequence[Path]) -> None:
    """Compare every object with its file, and every table with that of an ingest that nothing disturbed."""
    assert place.tables.scan(QUARANTINE).num_rows == 0
    rows = {row["product_name"]: row for row in place.tables.scan(RAW_FILES).to_pylist()}
    assert rows.keys() == {path.name for path in paths}
    for path in paths:
        content = path.read_bytes()
        assert rows[path.name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert place.lake.read(rows[path.name]["key"]) == content
    assert place.tables.scan(PRODUCTS).num_rows == len(paths)
    ours, theirs = place.state([PROGRAM]), undisturbed.state([PROGRAM])
    different = {name for name in ours if ours[name] != theirs[name]}
    assert different <= {f"raw_versions {PROGRAM}"}, "earlier versions stay; all else is as if nothing had happened"
