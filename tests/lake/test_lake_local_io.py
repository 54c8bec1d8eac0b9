"""A power cut after a commit leaves a table that can be read: the disk has all files before the catalog names them."""

from __future__ import annotations

import errno
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from hwosim_assets.errors import HwosimError
from hwosim_assets.lake import local_io
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.tables import Tables

SPEC = TableSpec(
    name="notes",
    schema=pa.schema([pa.field("program", pa.string(), nullable=False), pa.field("note", pa.string())]),
    scope=("program",),
    key=("note",),
    doc="Notes.",
)
WIDER = TableSpec(
    name="notes", schema=SPEC.schema.append(pa.field("more", pa.string())), scope=("program",), key=("note",), doc="."
)


class Disk:
    """What the disk has: the folder as it was when it was waited for last; the catalog is a database of its own."""

    def __init__(self, folder: Path, safe: Path) -> None:
        self.folder, self._safe = folder, safe
        self.waits = 0

    def wait(self, _folder: Path) -> None:
        self.waits += 1
        shutil.rmtree(self._safe, ignore_errors=True)
        shutil.copytree(self.folder, self._safe)

    def cut(self) -> None:
        """Lose what the disk does not have."""
        shutil.rmtree(self.folder)
        self._safe.rename(self.folder)


@pytest.fixture
def disk(state: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(state / "lake", state / "safe")
    monkeypatch.setattr(local_io, "flush", disk.wait)
    return disk


def tables(state: Path) -> Tables:
    return Tables(f"sqlite:///{state / 'catalog.db'}", (state / "lake/tables").as_uri())


def notes(*texts: str, program: str = "01093", spec: TableSpec = SPEC) -> pa.Table:
    rows = [dict.fromkeys(spec.schema.names) | {"program": program, "note": text} for text in texts]
    return pa.Table.from_pylist(rows, schema=spec.schema)


def put(state: Path, *texts: str, program: str = "01093", spec: TableSpec = SPEC) -> None:
    tables(state).replace(spec, {"program": program}, notes(*texts, program=program, spec=spec))


def read(state: Path) -> list[str]:
    return [row["note"] for row in tables(state).scan(SPEC).to_pylist()]


def test_what_was_committed_is_read_after_a_power_cut(state: Path, disk: Disk) -> None:
    put(state, "a")
    disk.cut()
    assert read(state) == ["a"]
    put(state, "a", "b")
    disk.cut()
    assert read(state) == ["a", "b"]
    put(state, "c", program="01094")
    disk.cut()
    assert read(state) == ["a", "b", "c"]
    put(state, "d", spec=WIDER)
    disk.cut()
    assert read(state) == ["d", "c"]
    assert tables(state).expire(SPEC.name, keep=1, older_than=timedelta(0)).snapshots > 0
    disk.cut()
    assert read(state) == ["d", "c"]


def test_rows_that_are_stored_already_are_not_waited_for(state: Path, disk: Disk) -> None:
    put(state, "a")
    waits = disk.waits
    put(state, "a")
    assert disk.waits == waits
    put(state, "b")
    assert disk.waits == waits + 1, "one wait a commit, however many files"


def test_a_disk_that_fails_leaves_the_table_as_it_was(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    put(state, "a")
    with monkeypatch.context() as broken, pytest.raises(HwosimError, match="Input/output error"):
        broken.setattr(local_io, "flush", failing)
        put(state, "b")
    assert read(state) == ["a"]
    put(state, "b")
    assert read(state) == ["b"]
