"""Tables in an S3 store: what a write and a read ask of the store, and that nothing is lost by asking less."""

from __future__ import annotations

import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from obstore.exceptions import PermissionDeniedError

from hwosim_assets.lake import iceberg_io
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables

SPEC = TableSpec(
    name="things",
    schema=pa.schema([pa.field("program", pa.string(), nullable=False), pa.field("content", pa.binary())]),
    scope=("program",),
    key=(),
    volatile=(),
    doc="Things.",
)


@pytest.fixture
def asked() -> list[str]:
    """Return what is asked of the counting store: method and kind of file."""
    return []


@pytest.fixture
def tables(asked: list[str], state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tables]:
    """Return tables in a store that notes each request."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_arguments: object) -> None:
            return

    store = DomainDispatcherApplication(create_backend_app)

    def noting(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        path, kind = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        for ending in (".parquet", ".metadata.json", ".avro"):
            if path.endswith(ending):
                kind += ending
        asked.append(kind)
        return store(environ, start)  # type: ignore[no-any-return]

    server = make_server("127.0.0.1", 0, noting, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hwosim")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    bucket = f"hwosim-{uuid.uuid4().hex[:12]}"  # moto's servers of one process hold the same buckets
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    yield Tables(f"sqlite:///{state / 'catalog.db'}", f"s3://{bucket}/lake/tables")
    server.shutdown()
    server.server_close()


def things(program: int, content: bytes = b"x") -> pa.Table:
    return pa.table({"program": [f"{program:05d}"], "content": [content]}, schema=SPEC.schema)


def write(tables: Tables, program: int, content: bytes = b"x") -> None:
    assert tables.replace(SPEC, {"program": f"{program:05d}"}, things(program, content)).changed


def content_of(tables: Tables, program: int) -> bytes:
    (row,) = tables.scan(SPEC, {"program": f"{program:05d}"}).to_pylist()
    return bytes(row["content"])


def test_a_commit_is_one_request_for_each_file_that_it_writes(tables: Tables, asked: list[str]) -> None:
    write(tables, 1)
    asked.clear()
    write(tables, 2)
    assert Counter(asked) == {"PUT.parquet": 1, "PUT.avro": 2, "PUT.metadata.json": 1}


def test_reading_anew_asks_for_the_rows_alone(tables: Tables, asked: list[str]) -> None:
    write(tables, 1)
    for _ in range(2):
        asked.clear()
        assert content_of(tables, 1) == b"x"
        assert asked == ["GET.parquet"]


def test_a_process_that_knows_nothing_reads_each_file_once(
    tables: Tables, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tables, 1)
    monkeypatch.setattr(iceberg_io, "_kept", iceberg_io._Kept(1 << 20))
    asked.clear()
    assert content_of(tables, 1) == b"x"
    assert Counter(asked) == {"GET.metadata.json": 1, "GET.avro": 2, "GET.parquet": 1}


def test_what_is_kept_is_bounded(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = iceberg_io._Kept(10_000)
    monkeypatch.setattr(iceberg_io, "_kept", kept)
    for program in range(6):
        write(tables, program)
        assert kept._held == sum(map(len, kept._files.values())) <= 10_000
    assert [content_of(tables, program) for program in range(6)] == [b"x"] * 6


def test_a_large_file_goes_in_parts_and_is_read_by_ranges(tables: Tables, asked: list[str]) -> None:
    large = os.urandom(2 * iceberg_io.PART)
    asked.clear()
    write(tables, 1, large)
    assert Counter(asked)["POST.parquet"] == 2, "begun and completed"
    asked.clear()
    assert content_of(tables, 1) == large
    assert Counter(asked)["GET.parquet"] > 1
    (stored,) = Lake(tables.place.uri + "/hwosim/things/data").list()
    (task,) = tables.open("things").scan().plan_files()
    assert task.file.file_size_in_bytes == stored.size > len(large)


def test_whether_a_file_is_there_is_asked_of_the_store(tables: Tables) -> None:
    write(tables, 1)
    table = tables.open("things")
    file = table.io.new_input(table.metadata_location)
    assert file.exists()
    lake = Lake(tables.place.uri)
    lake.delete(lake.key_of(table.metadata_location))
    assert not file.exists()


def test_a_deleted_file_is_not_kept(tables: Tables) -> None:
    write(tables, 1)
    table = tables.open("things")
    table.io.delete(table.metadata_location)
    with pytest.raises(FileNotFoundError):
        table.io.new_input(table.metadata_location).open()


def test_a_store_that_does_not_delete_fails_no_commit(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyIceberg deletes old metadata once it has committed, and forgives an OSError."""

    def refused(*_arguments: object) -> None:
        raise PermissionDeniedError("AccessDenied")

    write(tables, 1)
    table = tables.open("things")
    monkeypatch.setattr(iceberg_io.obstore, "delete", refused)
    with pytest.raises(OSError, match="access is denied"):
        table.io.delete(table.metadata_location)


def test_a_file_of_a_lake_on_disk_is_read_too(tmp_path: Path) -> None:
    """A catalog may still name the tables of before."""
    (tmp_path / "a.json").write_bytes(b"{}")
    files = iceberg_io.S3FileIO({"s3.endpoint": "http://127.0.0.1:9"})
    with files.new_input(f"file://{tmp_path}/a.json").open() as stream:
        assert stream.read() == b"{}"
    with files.new_output(f"file://{tmp_path}/b.json").create() as stream:
        stream.write(b"[]")
    assert (tmp_path / "b.json").read_bytes() == b"[]"
    files.delete(f"file://{tmp_path}/a.json")
    assert not (tmp_path / "a.json").exists()


def test_what_is_kept_twice_counts_once() -> None:
    kept = iceberg_io._Kept(10)
    for _ in range(5):
        kept.put(("store", "file"), b"four")
    assert kept._held == 4
    assert kept.get(("store", "file")) == b"four"
