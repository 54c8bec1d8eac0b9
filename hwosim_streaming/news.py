"""What ``hwosim dev`` tells while it runs: each publication, and how long a new file took to get there.

Holds: :class:`News`, which looks at the table of publications and at the archive's folder. Keep out
showing the stream itself (``live``, ``watch``).
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwosim_streaming.publication import PUBLICATIONS

if TYPE_CHECKING:
    from hwosim_assets.archive.folder import Folder
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

__all__ = ["News"]

#: Seconds for which a file has to be unreadable in the same way: one that is still being copied is truncated, too.
SETTLED_SECONDS = 5.0
_SHOWN = [
    "program",
    "scenario",
    "plan_sha256",
    "broker_id",
    "published",
    "verified",
    "discrepancies",
    "published_at",
    "plan_key",
]


class News:
    """Tells what happened since the last question.

    Parameters
    ----------
    lake, tables
        Where publications are recorded.
    folder : Folder or None
        The archive's folder, where it is served here.
    """

    def __init__(self, lake: Lake, tables: Tables, folder: Folder | None) -> None:
        self._lake = lake
        self._tables = tables
        self._folder = folder
        self._told = {self._identity(row) for row in self._publications()}
        self._arrived: dict[tuple[str, str], set[str]] = {}
        self._known = set(folder.index().files) if folder is not None else set()
        self._unreadable: dict[tuple[str, str], float] = {}

    def lines(self) -> Iterator[str]:
        """Yield one line for each publication and each file left out since the last call."""
        for row in sorted(self._publications(), key=lambda row: row["published_at"]):
            if self._identity(row) not in self._told:
                self._told.add(self._identity(row))
                yield self._publication(row)
        if self._folder is not None:
            yield from self._left_out(self._folder)

    def _publications(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._tables.scan(PUBLICATIONS, columns=_SHOWN).to_pylist()
        return rows

    @staticmethod
    def _identity(row: dict[str, Any]) -> tuple[str, str]:
        return row["plan_sha256"], row["broker_id"]

    def _publication(self, row: dict[str, Any]) -> str:
        proof = "all verified" if row["verified"] else f"{row['discrepancies']} NOT reconciled"
        line = f"published {row['program']} {row['scenario']}: {row['published']} messages, {proof}"
        seconds = self._seconds_of_new_files(row)
        if not seconds:
            return line
        newest = ", ".join(f"{name} after {took:.0f} s" for name, took in sorted(seconds.items())[:3])
        return f"{line}; new: {newest}{f' and {len(seconds) - 3} more' if len(seconds) > 3 else ''}"

    def _seconds_of_new_files(self, row: dict[str, Any]) -> dict[str, float]:
        """Return how long each file that came since we began took onto the topic, where this row is its first there."""
        import pyarrow.parquet as pq

        if self._folder is None:
            return {}
        plan = pq.read_table(io.BytesIO(self._lake.read(row["plan_key"])), columns=["product_name"])
        there = set(plan["product_name"].to_pylist())
        before = self._arrived.setdefault((row["program"], row["scenario"]), set())
        new = there - before - self._known
        before |= new
        came = {name: _came(file.path) for name, file in self._folder.index().files.items() if name in new}
        return {name: row["published_at"].timestamp() - at for name, at in came.items() if at is not None}

    def _left_out(self, folder: Folder) -> Iterator[str]:
        now = time.monotonic()
        skipped = {(each.path, each.reason) for each in folder.index().skipped}
        self._unreadable = {each: self._unreadable.get(each, now) for each in skipped}
        for each, since in self._unreadable.items():
            if now - since >= SETTLED_SECONDS:
                self._unreadable[each] = float("inf")  # told once
                yield f"left out  {each[0]}: {each[1]}"


def _came(path: Path) -> float | None:
    """Return when a file came, seconds since 1970; None if it is gone.

    It comes when it is written, or moved in: its status changes then, whatever time of change it carries.
    """
    try:
        return path.stat().st_ctime
    except FileNotFoundError:
        return None
