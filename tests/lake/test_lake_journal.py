"""The journal of an ingest by itself; what an ingest makes of it is tried in test_lake_ingest.py."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hwosim_assets.lake.journal import Journal


def test_threads_write_whole_lines_into_a_journal_whatever_the_disk_takes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nearly full disk takes a part of what it is given, and says nothing."""
    real = os.write
    turns = iter(range(1_000_000))
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:50] if next(turns) % 5 == 0 else data))
    rows = [
        {"data_uri": f"mast:{number}", "text": "x" * 200, "ingested_at": datetime.now(UTC)} for number in range(200)
    ]
    with closing(Journal(tmp_path / "journal.jsonl", "a")) as journal, ThreadPoolExecutor(8) as pool:
        list(pool.map(journal.add, rows))
    assert next(turns) > len(rows)
    assert Journal(journal.path, "a").read() == (
        {row["data_uri"]: row for row in rows},
        {row["data_uri"] for row in rows},
    )
