"""What an ingest has done so far, on disk, for the case that it is killed.

Holds: :class:`Journal`, one line for each file that lies in the lake, stored or found there. Keep out the
ingest itself (``lake.ingest``) and half-received files (``lake.transfer``).
"""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from hwosim_assets.lake.transfer import local_disk

__all__ = ["Journal"]

#: What an ingest found unchanged and then was killed longer ago than this is asked about again, in seconds.
JOURNAL_LIFE = 24 * 3600


class Journal:
    """The journal of one program's ingest; threads may write at once.

    Parameters
    ----------
    path : pathlib.Path
        The file; it is made when needed.
    look : str
        What the archive listed, as a hash; empty where that is not known.
    """

    def __init__(self, path: Path, look: str) -> None:
        self.path = path
        self._look = look
        self._file: int | None = None
        self._opening = threading.Lock()

    def read(self) -> tuple[dict[str, dict[str, Any]], set[str]]:
        """Return the rows of a killed ingest by archive URI, and the URIs that it settled in the same look."""
        rows: dict[str, dict[str, Any]] = {}
        settled: set[str] = set()
        if not self.path.exists():
            return rows, settled
        recent = time.time() - self.path.stat().st_mtime < JOURNAL_LIFE
        for line in self.path.read_text(errors="replace").splitlines():
            try:
                note = json.loads(line)
                row = note["row"] | {"ingested_at": datetime.fromisoformat(note["row"]["ingested_at"])}
            except (ValueError, KeyError, TypeError):
                continue  # the line that was being written when the ingest was killed or the power was cut
            rows[row["data_uri"]] = row
            if recent and self._look and note["look"] == self._look:
                settled.add(row["data_uri"])
            else:
                settled.discard(row["data_uri"])
        return rows, settled

    def add(self, row: dict[str, Any]) -> None:
        """Note a file before its object is stored, or when it was found unchanged.

        Raises
        ------
        HwosimError
            If the disk is full or cannot be written.
        """
        note = {"look": self._look, "row": row | {"ingested_at": row["ingested_at"].isoformat()}}
        line = b"\n" + json.dumps(note).encode()  # the new line ends what a kill left unfinished
        with local_disk(self.path.parent):
            while os.write(self._opened(), line) < len(line):
                continue  # the disk took a part of it: it is full and says so now, or takes the whole line anew

    def _opened(self) -> int:
        """Return the file; the system puts each line behind the last one, whichever thread writes it."""
        if self._file is None:
            with self._opening:
                if self._file is None:
                    self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        return self._file

    def close(self) -> None:
        """Close the file; what it says stays."""
        if self._file is not None:
            file, self._file = self._file, None
            with local_disk(self.path.parent):
                os.close(file)

    def forget(self) -> None:
        """Remove it: what it says lies in the tables."""
        self.close()
        self.path.unlink(missing_ok=True)
