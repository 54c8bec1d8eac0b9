"""What ``hwosim dev`` tells while it runs: each publication, and how long its newest file took to get there.

Holds: :class:`News`, which looks at the table of publications and at the archive's folder. Keep out
showing the stream itself (``live``, ``watch``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hwosim_streaming.publication import PUBLICATIONS

if TYPE_CHECKING:
    from hwosim_assets.archive.folder import Folder
    from hwosim_assets.lake.tables import Tables

__all__ = ["News"]

#: Seconds for which a file has to be unreadable in the same way: one that is still being copied is truncated, too.
SETTLED_SECONDS = 5.0
_SHOWN = ["program", "scenario", "plan_sha256", "broker_id", "published", "verified", "discrepancies", "published_at"]


class News:
    """Tells what happened since the last question.

    Parameters
    ----------
    tables : Tables
        Where publications are recorded.
    folder : Folder or None
        The archive's folder, where it is served here.
    """

    def __init__(self, tables: Tables, folder: Folder | None) -> None:
        self._tables = tables
        self._folder = folder
        self._began = time.time()
        self._told = {self._identity(row) for row in self._publications()}
        self._newest: dict[tuple[str, str], float] = {}
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
        proof = "every one verified" if row["verified"] else f"{row['discrepancies']} NOT reconciled"
        line = f"published {row['program']} {row['scenario']}: {row['published']} messages, {proof}"
        seconds = self._seconds(row["program"], row["scenario"], row["published_at"])
        return line if seconds is None else f"{line}, {seconds:.0f} s after the program's newest file came"

    def _seconds(self, program: str, scenario: str, published_at: datetime) -> float | None:
        """Return the seconds since the newest file came, ``None`` if it was told of before or came before us.

        A file comes when it is written, or moved in: its status changes then, whatever time of change it carries.
        """
        if self._folder is None:
            return None
        came = [
            file.path.stat().st_ctime
            for file in self._folder.index().files.values()
            if file.facts.program == program and file.path.exists()
        ]
        newest = max(came, default=0.0)
        if newest <= max(self._began, self._newest.get((program, scenario), 0.0)):
            return None
        self._newest[program, scenario] = newest
        return published_at.timestamp() - newest

    def _left_out(self, folder: Folder) -> Iterator[str]:
        now = time.monotonic()
        skipped = {(each.path, each.reason) for each in folder.index().skipped}
        self._unreadable = {each: self._unreadable.get(each, now) for each in skipped}
        for each, since in self._unreadable.items():
            if now - since >= SETTLED_SECONDS:
                self._unreadable[each] = float("inf")  # told once
                yield f"left out  {each[0]}: {each[1]}"
