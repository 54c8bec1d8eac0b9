"""A power cut leaves no row without its bytes: the disk has the files of an ingest before their rows are committed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_archive import PROGRAM, FakeArchive, archive_of, names, uri

from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.disk import flush
from hwosim_assets.lake.ingest import RAW_FILES, IngestResult, ingest_program
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.lake.transfer import PartFile


def run(archive: FakeArchive, lake: Lake, tables: Tables, home: Path, **options: Any) -> IngestResult:
    return ingest_program(PROGRAM, archive.products(), archive, lake, tables, home=home, **options)


def test_the_disk_has_new_files_before_rows_name_them(
    lake: Lake, tables: Tables, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, seen = archive_of(3), list[tuple[int, int]]()
    real = Lake.settle

    def settled(self: Lake) -> None:
        stored = len(list(self.list("raw")))
        seen.append((stored, tables.scan(RAW_FILES).num_rows))
        real(self)

    monkeypatch.setattr(Lake, "settle", settled)
    run(archive, lake, tables, state)
    assert seen == [(3, 0)]
    run(archive, lake, tables, state)
    assert seen == [(3, 0)], "nothing is new: nothing to wait for"
    archive.files[names(3)[0]] += b"more"
    run(archive, lake, tables, state)
    assert seen == [(3, 0), (4, 3)]


def test_files_of_a_killed_ingest_are_waited_for_by_the_next(
    lake: Lake, tables: Tables, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, waited = archive_of(2), list[Lake]()

    def killed(_self: Lake) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lake, "settle", killed)
    with pytest.raises(KeyboardInterrupt):
        run(archive, lake, tables, state, look="a")
    monkeypatch.setattr(Lake, "settle", lambda self: waited.append(self))
    result = run(archive, lake, tables, state, look="a")
    assert (result.moved_files, result.kept_files) == (0, 2)
    assert len(waited) == 1


def test_a_disk_that_loses_files_at_the_end_is_said_and_no_row_names_them(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake((state / "lake").as_uri())
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", (state / "lake/tables").as_uri())

    def failing(_folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("hwosim_assets.lake.store.flush", failing)
    with pytest.raises(HwosimError, match="Input/output error"):
        run(archive_of(2), lake, tables, state)
    assert tables.scan(RAW_FILES).num_rows == 0


@pytest.fixture
def after_a_power_cut(state: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return how the machine starts anew."""

    def cut() -> None:
        (state / "boot").write_text("another")
        monkeypatch.setattr("hwosim_assets.lake.disk.BOOT", state / "boot")

    return cut


def test_what_a_killed_ingest_stored_is_read_after_a_power_cut_before_it_is_believed(
    state: Path, monkeypatch: pytest.MonkeyPatch, after_a_power_cut: Callable[[], None]
) -> None:
    """The disk may have a file's size and not its bytes: zeros then."""
    lake, archive = Lake((state / "lake").as_uri()), archive_of(3)
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", (state / "lake/tables").as_uri())

    def killed(_self: Lake) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(Lake, "settle", killed)
        run(archive, lake, tables, state, look="a")
    zeroed = next(path for path in (state / "lake/raw").rglob(names(3)[0]) if path.is_file())
    zeroed.chmod(0o644)
    zeroed.write_bytes(bytes(zeroed.stat().st_size))
    after_a_power_cut()
    result = run(archive, lake, tables, state, look="a")
    assert (result.moved_files, result.kept_files) == (1, 2)
    for row in result.rows.to_pylist():
        assert lake.read(row["key"]) == archive.files[row["product_name"]]


def test_a_half_received_file_is_not_continued_after_a_power_cut(
    lake: Lake, tables: Tables, state: Path, after_a_power_cut: Callable[[], None]
) -> None:
    archive = archive_of(1)
    run(archive_of(0), lake, tables, state)
    part = PartFile(state / "partial" / f"jw{PROGRAM}", uri(names(1)[0]))
    part.add(bytes(5_000), archive.etag(names(1)[0]))
    part.keep(archive.etag(names(1)[0]))
    part.close()
    after_a_power_cut()
    result = run(archive, lake, tables, state)
    assert archive.opened == [(names(1)[0], 0)]
    assert lake.read(result.rows["key"][0].as_py()) == archive.files[names(1)[0]]


def test_notes_that_a_power_cut_made_unreadable_stop_no_ingest(lake: Lake, tables: Tables, state: Path) -> None:
    """Some file systems leave what lay on the disk before, where bytes did not get to it."""
    folder = state / "partial" / f"jw{PROGRAM}"
    folder.mkdir(parents=True)
    for name in ("journal.jsonl", "boot"):
        (folder / name).write_bytes(b'\n{"look": "\xff\x00\n')
    assert run(archive_of(2), lake, tables, state).moved_files == 2


@pytest.mark.parametrize("size", [0, 10_000, 20 << 20])
@pytest.mark.parametrize("nameless", [True, False])
def test_the_disk_has_an_objects_bytes_before_it_has_its_name(
    state: Path, monkeypatch: pytest.MonkeyPatch, size: int, nameless: bool
) -> None:
    lake, had, real = Lake((state / "lake").as_uri()), list[tuple[int, bool]](), os.fsync

    def waiting(file: int) -> None:
        real(file)
        had.append((os.fstat(file).st_size, lake.head("plans/a") is not None))

    monkeypatch.setattr(os, "fsync", waiting)
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    lake.write_new("plans/a", b"x" * size)
    assert had == [(size, False)]
    assert lake.read("plans/a") == b"x" * size


def test_a_disk_that_loses_an_objects_bytes_gives_it_no_name(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake((state / "lake").as_uri())

    def failing(_file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(HwosimError, match="Input/output error"):
        lake.write_new("plans/a", b"content")
    assert list(lake.list()) == []


def test_waiting_for_a_disk_that_has_everything_returns(state: Path) -> None:
    (state / "file").write_bytes(b"content")
    flush(state)
    with pytest.raises(FileNotFoundError):
        flush(state / "nowhere")
