"""Files from the archive into the lake: each once, resumed, checked, one failure never another's."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_archive import (
    CHUNK,
    PROGRAM,
    ArchiveFailedError,
    FakeArchive,
    archive_of,
    breaking,
    endless,
    names,
    nothing,
    short,
    stalling,
    uri,
)

from hwosim_assets.errors import BackendAbsentError, HwosimError
from hwosim_assets.lake import ingest as ingest_module
from hwosim_assets.lake import transfer
from hwosim_assets.lake.ingest import RAW_FILES, IngestResult, ingest_program
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.lake.transfer import PartFile


@pytest.fixture
def local(state: Path) -> tuple[Lake, Tables]:
    return Lake((state / "lake").as_uri()), Tables(
        f"sqlite:///{state / 'catalog.db'}", (state / "lake/tables").as_uri()
    )


def run(archive: FakeArchive, place: tuple[Lake, Tables], home: Path, **options: Any) -> IngestResult:
    return ingest_program(PROGRAM, options.pop("products", archive.products()), archive, *place, home=home, **options)


def rules(result: IngestResult) -> dict[str, str]:
    return {rejection.product_name: rejection.rule for rejection in result.rejections}


def test_files_arrive_whole_with_their_rows(lake: Lake, tables: Tables, state: Path) -> None:
    archive = archive_of(3)
    seen: list[str] = []
    result = run(archive, (lake, tables), state, on_file=seen.append)
    assert (result.moved_files, result.kept_files, result.rejections) == (3, 0, [])
    assert result.moved_bytes == sum(map(len, archive.files.values()))
    assert sorted(seen) == names(3)
    assert tables.scan(RAW_FILES).equals(result.rows)
    for row in result.rows.to_pylist():
        content = archive.files[row["product_name"]]
        assert lake.read(row["key"]) == content
        assert lake.uri_of(row["key"]) == row["uri"]
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["size_bytes"] == len(content)
        assert row["key"].startswith(f"raw/jw{PROGRAM}/012/001/03102/")
    assert not list((state / "partial").rglob("*.part"))


def test_a_second_ingest_moves_nothing_and_commits_nothing(lake: Lake, tables: Tables, state: Path) -> None:
    archive = archive_of(3)
    first = run(archive, (lake, tables), state)
    archive.opened.clear()
    again = run(archive, (lake, tables), state)
    assert (again.moved_files, again.moved_bytes, again.kept_files) == (0, 0, 3)
    assert archive.opened == []
    assert again.rows.equals(first.rows)
    table = tables._load(RAW_FILES)
    assert table is not None
    assert len(table.metadata.snapshots) == 1


def test_threads_start_only_where_there_is_something_to_try(
    local: tuple[Lake, Tables], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    pool = ingest_module.ThreadPoolExecutor

    def counted(*given: Any, **named: Any) -> Any:
        started.append(given)
        return pool(*given, **named)

    monkeypatch.setattr(ingest_module, "ThreadPoolExecutor", counted)
    assert run(archive_of(3), local, state).moved_files == 3
    assert len(started) == 1  # nothing is left for a second round
    assert run(archive_of(0), local, state).moved_files == 0
    assert len(started) == 1


@pytest.mark.parametrize("known_by", ["etag", "digest", "size"])
def test_a_changed_file_comes_again(local: tuple[Lake, Tables], state: Path, known_by: str) -> None:
    archive = archive_of(3, etags=known_by == "etag", digests=known_by == "digest")
    run(archive, local, state)
    changed = names(3)[1]
    archive.files[changed] = b"!" * (len(archive.files[changed]) + (known_by == "size"))
    result = run(archive, local, state)
    assert (result.moved_files, result.kept_files) == (1, 2)
    keys = [stored.key for stored in local[0].list("raw") if changed in stored.key]
    assert len(keys) == 2
    row = next(row for row in result.rows.to_pylist() if row["product_name"] == changed)
    assert local[0].read(row["key"]) == archive.files[changed]


def test_a_new_tag_on_the_same_bytes_adds_no_object(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(1)
    run(archive, local, state)
    archive.etag = lambda _name: '"another"'  # type: ignore[method-assign]
    result = run(archive, local, state)
    assert (result.moved_files, result.kept_files) == (0, 1)
    assert len(list(local[0].list("raw"))) == 1
    assert run(archive, local, state).moved_bytes == 0


def test_what_the_archive_no_longer_lists_is_removed_but_kept_as_object(
    local: tuple[Lake, Tables], state: Path
) -> None:
    archive = archive_of(2)
    run(archive, local, state)
    gone = names(2)[0]
    archive.files.pop(gone)
    result = run(archive, local, state)
    assert result.removed == [uri(gone)]
    assert result.rows.num_rows == 1
    assert len(list(local[0].list("raw"))) == 2


def test_an_object_that_was_lost_comes_again(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(2)
    row = run(archive, local, state).rows.to_pylist()[0]
    local[0].delete(row["key"])
    result = run(archive, local, state)
    assert (result.moved_files, result.kept_files) == (1, 1)
    assert local[0].read(row["key"]) == archive.files[row["product_name"]]


def test_a_damaged_object_of_the_same_key_is_replaced(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(1)
    row = run(archive, local, state).rows.to_pylist()[0]
    local[0].delete(row["key"])
    local[0].write_new(row["key"], b"damaged")
    run(archive, local, state)
    assert local[0].read(row["key"]) == archive.files[row["product_name"]]


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (nothing, "incomplete"),
        (ArchiveFailedError("http_404"), "http_404"),
        (ArchiveFailedError("http_500"), "http_500"),
        (ArchiveFailedError("http_403"), "http_403"),
        (breaking(ArchiveFailedError("timeout")), "timeout"),
        (stalling(0.05), "timeout"),
        (breaking(ConnectionResetError("connection reset")), "unreachable"),
        (endless, "size_mismatch"),
    ],
)
def test_a_file_that_fails_does_not_fail_its_siblings(
    local: tuple[Lake, Tables], state: Path, fault: Any, rule: str
) -> None:
    bad = names(3)[1]
    archive = archive_of(3, faults={bad: fault})
    result = run(archive, local, state)
    assert rules(result) == {bad: rule}
    assert result.rejections[0].stage == "raw"
    assert result.rejections[0].data_uri == uri(bad)
    assert result.rejections[0].reason
    assert result.rows.column("product_name").to_pylist() == [names(3)[0], names(3)[2]]
    assert all(bad not in stored.key for stored in local[0].list())
    archive.faults.clear()
    assert run(archive, local, state).moved_files == 1


@pytest.mark.parametrize(
    ("fault", "awaited"),
    [
        (ArchiveFailedError("http_404"), False),
        (ArchiveFailedError("http_403"), False),
        (ArchiveFailedError("http_401"), False),
        (ArchiveFailedError("http_429"), True),
        (ArchiveFailedError("http_503"), True),
        (ArchiveFailedError("too_slow"), True),
        (breaking(ArchiveFailedError("timeout")), True),
        (nothing, True),
        (endless, True),
    ],
)
def test_what_may_pass_is_awaited_and_what_is_refused_for_good_is_not(
    local: tuple[Lake, Tables], state: Path, fault: Any, awaited: bool
) -> None:
    bad = names(3)[1]
    archive = archive_of(3, faults={bad: fault})
    result = run(archive, local, state)
    assert [item.product_name for item in result.rejections] == [bad]
    assert result.awaited == (result.rejections if awaited else [])
    asked = [name for name, _ in archive.opened].count(bad)
    assert asked >= 2 if awaited else asked == 1


def test_a_new_version_that_did_not_come_is_awaited(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(2)
    run(archive, local, state)
    archive.faults[names(2)[0]] = ArchiveFailedError("timeout")
    result = run(archive, local, state)
    assert result.rejections == []
    assert [(item.product_name, item.rule) for item in result.awaited] == [(names(2)[0], "timeout")]
    archive.faults.clear()
    assert run(archive, local, state).awaited == []


def test_a_file_that_fails_once_comes_after_the_others(local: tuple[Lake, Tables], state: Path) -> None:
    bad = names(3)[0]
    archive = archive_of(3, faults={bad: ArchiveFailedError("timeout")})
    real = archive.open

    def recovering(data_uri: str, offset: int = 0, etag: str | None = None) -> Any:
        if len(archive.opened) == 3:
            archive.faults.clear()
        return real(data_uri, offset, etag)

    archive.open = recovering  # type: ignore[method-assign]
    result = run(archive, local, state)
    assert (result.moved_files, result.rejections, result.awaited) == (3, [], [])
    assert archive.opened[-1][0] == bad


def test_failures_that_stay_do_not_take_the_other_files_with_them(
    local: tuple[Lake, Tables], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than an archive that is down would have in a row, but with files between them that came."""
    monkeypatch.setattr(ingest_module, "THREADS", 1)
    bad = names(40)[::2]
    archive = archive_of(40, faults=dict.fromkeys(bad, ArchiveFailedError("timeout")))
    result = run(archive, local, state)
    assert (result.moved_files, len(result.awaited)) == (20, 20)
    assert {item.rule for item in result.awaited} == {"timeout"}
    assert len(archive.opened) <= 40 + ingest_module.PATIENCE + 1


def test_a_part_that_the_archive_cannot_continue_is_given_up(local: tuple[Lake, Tables], state: Path) -> None:
    bad = names(2)[0]
    archive = archive_of(2, faults={bad: short})
    run(archive, local, state)
    real = archive.open

    def without_ranges(data_uri: str, offset: int = 0, etag: str | None = None) -> Any:
        if offset:
            raise ArchiveFailedError("bad_range")
        return real(data_uri, offset, etag)

    archive.faults.clear()
    archive.open = without_ranges  # type: ignore[method-assign]
    assert run(archive, local, state).moved_files == 1


def test_a_short_body_is_asked_for_the_rest(local: tuple[Lake, Tables], state: Path) -> None:
    bad = names(1)[0]
    archive = archive_of(1, faults={bad: short})
    products = archive.products()
    with pytest.raises(BackendAbsentError, match="0 of 1 files"):
        run(archive, local, state, products=products)
    assert [offset for _, offset in archive.opened] == [0, 5000, 7500]
    archive.faults.clear()
    result = run(archive, local, state)
    assert archive.opened[-1] == (bad, 8750)
    assert result.moved_bytes == len(archive.files[bad]) - 8750
    assert local[0].read(result.rows["key"][0].as_py()) == archive.files[bad]


def test_without_a_tag_nothing_is_continued(local: tuple[Lake, Tables], state: Path) -> None:
    bad = names(2)[0]
    archive = archive_of(2, etags=False, faults={bad: short})
    assert rules(run(archive, local, state)) == {bad: "incomplete"}
    archive.faults.clear()
    result = run(archive, local, state)
    assert archive.opened[-1] == (bad, 0)
    assert result.moved_bytes == len(archive.files[bad])


def test_a_file_that_changed_meanwhile_begins_anew(local: tuple[Lake, Tables], state: Path) -> None:
    bad = names(2)[0]
    archive = archive_of(2, faults={bad: breaking(ArchiveFailedError("timeout"))})
    run(archive, local, state)
    archive.faults.clear()
    archive.files[bad] = b"#" * len(archive.files[bad])
    result = run(archive, local, state)
    assert archive.opened[-1] == (bad, 0)
    row = next(row for row in result.rows.to_pylist() if row["product_name"] == bad)
    assert local[0].read(row["key"]) == archive.files[bad]


def test_an_archive_that_continues_another_version_is_not_believed(local: tuple[Lake, Tables], state: Path) -> None:
    bad = names(2)[0]
    archive = archive_of(2, faults={bad: breaking(ArchiveFailedError("timeout"))})
    run(archive, local, state)
    archive.faults.clear()
    archive.files[bad] = b"#" * len(archive.files[bad])
    real = archive.open

    def heedless(data_uri: str, offset: int = 0, etag: str | None = None) -> Any:
        return real(data_uri, offset, archive.etag(bad) if offset else etag)

    archive.open = heedless  # type: ignore[method-assign]
    archive.opened.clear()
    result = run(archive, local, state)
    assert [offset for name, offset in archive.opened if name == bad] == [7500, 0]
    row = next(row for row in result.rows.to_pylist() if row["product_name"] == bad)
    assert local[0].read(row["key"]) == archive.files[bad]


def test_sizes_must_agree_before_a_byte_moves(local: tuple[Lake, Tables], state: Path) -> None:
    bad = names(2)[0]
    archive = archive_of(2, announce={bad: 12})
    result = run(archive, local, state)
    assert rules(result) == {bad: "size_mismatch"}
    assert "lists 10001 bytes and sends 12" in result.rejections[0].reason
    assert result.moved_bytes == len(archive.files[names(2)[1]])


def test_sizes_may_be_unknown(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(2, announce=dict.fromkeys(names(2)), etags=False)
    products = [row | {"size": None} for row in archive.products()]
    assert run(archive, local, state, products=products).moved_files == 2


def test_an_endless_file_stops_at_its_size(local: tuple[Lake, Tables], state: Path) -> None:
    bad = names(2)[0]
    result = run(archive_of(2, faults={bad: endless}), local, state)
    assert rules(result) == {bad: "size_mismatch"}
    assert result.moved_bytes <= 3 * 10_002 + 2 * CHUNK  # asked for twice, cut off at its size each time


def test_bytes_that_belie_their_hash_are_refused(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(2, wrong_digest=True)
    result = run(archive, local, state)
    assert rules(result) == dict.fromkeys(names(2), "checksum_mismatch")
    assert list(local[0].list("raw")) == []
    assert not list((state / "partial").rglob("*.part"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b.fits", "..", "a\0b.fits", "", "x" * 300 + ".fits"])
def test_a_name_that_could_leave_the_lake_is_refused(local: tuple[Lake, Tables], state: Path, name: str) -> None:
    archive = archive_of(1)
    products = [
        *archive.products(),
        {"productFilename": name, "dataURI": "mast:x/" + names(1)[0], "size": 1, "obs_id": ""},
    ]
    result = run(archive, local, state, products=products)
    assert rules(result) == {name: "file_name"}
    assert len(archive.opened) == 1


def test_two_files_of_one_name_are_not_mixed_up(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(1)
    products = [*archive.products(), archive.products()[0] | {"dataURI": "mast:ZOTHER/" + names(1)[0]}]
    result = run(archive, local, state, products=products)
    assert rules(result) == {names(1)[0]: "duplicate_name"}
    assert result.rows.num_rows == 1


def test_the_same_file_listed_twice_comes_once(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(2)
    assert run(archive, local, state, products=archive.products() * 2).moved_files == 2
    assert len(archive.opened) == 2


def test_an_archive_that_is_down_is_no_rejection(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(3, faults=dict.fromkeys(names(3), ArchiveFailedError("http_500")))
    with pytest.raises(BackendAbsentError, match=r"program 01093: the archive gave 0 of 3 files.*http_500; try later"):
        run(archive, local, state)
    assert local[1].scan(RAW_FILES).num_rows == 0


def test_an_archive_that_falls_silent_is_not_asked_for_every_file(
    local: tuple[Lake, Tables], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "THREADS", 1)
    archive = archive_of(40, faults=dict.fromkeys(names(40)[3:], ArchiveFailedError("unreachable")))
    with pytest.raises(BackendAbsentError, match="gave 3 of 11 files"):
        run(archive, local, state)
    assert len(archive.opened) <= 3 + ingest_module.PATIENCE + 2
    archive.faults.clear()
    result = run(archive, local, state)
    assert (result.moved_files, result.kept_files) == (37, 3)


def test_a_version_that_cannot_be_had_leaves_the_earlier_one(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(2)
    first = run(archive, local, state)
    archive.faults[names(2)[0]] = ArchiveFailedError("http_404")
    result = run(archive, local, state)
    assert result.rows.equals(first.rows)
    assert result.rejections == []
    assert [(stale.product_name, stale.rule) for stale in result.stale] == [(names(2)[0], "http_404")]


def test_an_empty_list_is_an_empty_table(local: tuple[Lake, Tables], state: Path) -> None:
    assert run(archive_of(0), local, state).rows.num_rows == 0


def test_memory_does_not_grow_with_the_file(local: tuple[Lake, Tables], state: Path) -> None:
    import tracemalloc

    size = 64 * 1024 * 1024
    name = names(1)[0]

    def large(_content: bytes, _offset: int) -> Iterator[bytes]:
        for _ in range(size // 65_536):
            yield bytes(65_536)

    archive = FakeArchive({name: b""}, faults={name: large}, announce={name: size})
    products = [archive.products()[0] | {"size": size}]
    run(archive_of(1), local, state)  # imports
    tracemalloc.start()
    run(archive, local, state, products=products)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 4


KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from fake_archive import PROGRAM, archive_of, names
    from hwosim_assets.lake import ingest, transfer
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

    ingest.THREADS = 1
    transfer.HELD_BYTES = int(sys.argv[4])
    chunks = 0
    def die_in_the_third_file(name):
        global chunks
        chunks += name == names(4)[2]
        if chunks == 5:
            os.kill(os.getpid(), signal.SIGKILL)
    archive = archive_of(4, on_chunk=die_in_the_third_file)
    home, uri = Path(sys.argv[1]), sys.argv[2]
    tables = Tables(f"sqlite:///{home / 'catalog.db'}", uri + "/tables")
    ingest.ingest_program(PROGRAM, archive.products(), archive, Lake(uri), tables, home=home)
"""


@pytest.mark.parametrize(("held", "came"), [(0, 5 * CHUNK), (transfer.HELD_BYTES, 0)])
def test_a_killed_ingest_goes_on_where_it_was(lake: Lake, tables: Tables, state: Path, held: int, came: int) -> None:
    """At the last chunk of a file that is on the disk, at the last whole file where it was small and in memory."""
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(state), lake.uri, str(Path(__file__).parent)]
    command.append(str(held))
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert tables.scan(RAW_FILES).num_rows == 0
    archive = archive_of(4)
    result = run(archive, (lake, tables), state)
    missing = sum(len(archive.files[name]) for name in names(4)[2:]) - came
    assert result.kept_files == 2
    assert sorted(archive.opened) == [(names(4)[2], came), (names(4)[3], 0)]
    assert result.moved_bytes == missing
    assert result.rows.num_rows == 4
    for row in result.rows.to_pylist():
        assert lake.read(row["key"]) == archive.files[row["product_name"]]


def test_a_journal_with_a_torn_line_is_read_up_to_it(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(2)
    row = run(archive, local, state).rows.to_pylist()[0]
    journal = state / "partial" / f"jw{PROGRAM}" / "journal.jsonl"
    line = json.dumps({"look": "a", "row": row}, default=str)
    journal.write_text(line + "\n" + line[: len(line) // 2])
    assert run(archive, local, state).kept_files == 2


def test_the_rows_told_are_those_committed(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(5)
    listed = list(reversed(archive.products()))
    told = [run(archive, local, state, products=listed).rows]
    assert told[0].equals(local[1].scan(RAW_FILES, {"program": PROGRAM}))
    archive.files[names(5)[2]] = b"reprocessed"
    told += [run(archive, local, state).rows, run(archive, local, state).rows]
    assert told[1].equals(told[2])
    assert told[2].equals(local[1].scan(RAW_FILES, {"program": PROGRAM}))
    same = [before == after for before, after in zip(told[0].to_pylist(), told[2].to_pylist(), strict=True)]
    assert same == [True, True, False, True, True], "what did not change keeps the time of its ingest"


def test_after_a_kill_a_file_is_asked_about_once_in_a_look(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(4)
    run(archive, local, state, look="a")
    settled: list[str] = []

    def killed(name: str) -> None:
        settled.append(name)
        if len(settled) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(archive, local, state, look="b", on_file=killed)
    archive.asked.clear()
    run(archive, local, state, look="b")
    assert not set(settled) & set(archive.asked)
    archive.asked.clear()
    run(archive, local, state, look="b")
    assert sorted(archive.asked) == names(4), "that look is over"


def test_what_was_settled_yesterday_is_asked_about_again(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(2)

    def killed(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(archive, local, state, look="a", on_file=killed)
    os.utime(state / "partial" / f"jw{PROGRAM}" / "journal.jsonl", (0, 0))
    archive.asked.clear()
    result = run(archive, local, state, look="a")
    assert len(archive.asked) == result.kept_files >= 1


def test_a_look_that_lists_something_else_asks_about_every_file(local: tuple[Lake, Tables], state: Path) -> None:
    archive = archive_of(2)

    def killed(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(archive, local, state, look="a", on_file=killed)
    for name in names(2):
        archive.files[name] = b"#" * len(archive.files[name])
    result = run(archive, local, state, look="b")
    assert {local[0].read(row["key"]) for row in result.rows.to_pylist()} == set(archive.files.values())


def test_a_part_file_that_is_an_object_already_is_not_written_to(local: tuple[Lake, Tables], state: Path) -> None:
    """A kill between the two steps of moving a file leaves it under both names."""
    archive = archive_of(1)
    row = run(archive, local, state).rows.to_pylist()[0]
    content, part = archive.files[names(1)[0]], PartFile(state / "partial" / f"jw{PROGRAM}", uri(names(1)[0]))
    part.begin()
    part.add(b"x", None)
    part.keep(archive.etag(names(1)[0]))
    part.close()
    part.path.unlink()
    os.link(local[0].place.folder / row["key"], part.path)  # type: ignore[operator]
    local[1].replace(RAW_FILES, {"program": PROGRAM}, RAW_FILES.schema.empty_table())
    archive.files[names(1)[0]] = content + b"more"
    result = run(archive, local, state)
    assert local[0].read(row["key"]) == content
    assert local[0].read(result.rows["key"][0].as_py()) == content + b"more"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 2 MB, where the machine lets us."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("full", ["part files", "lake"])
def test_a_full_disk_is_nobodys_rejection(state: Path, small_disk: Path, full: str) -> None:
    lake = Lake((small_disk / "lake").as_uri() if full == "lake" else (state / "lake").as_uri())
    home = state if full == "lake" else small_disk
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", (state / "tables").as_uri())
    # Part files go as soon as they are stored: only one that is larger than the disk fills it at any speed.
    archive = archive_of(4, size=1_000_000 if full == "lake" else 3_000_000)
    with pytest.raises(HwosimError, match=r"(?i)no space") as caught:
        run(archive, (lake, tables), home)
    assert not isinstance(caught.value, BackendAbsentError)
    assert tables.scan(RAW_FILES).num_rows == 0
    for stored in lake.list():
        assert lake.read(stored.key) in archive.files.values()
