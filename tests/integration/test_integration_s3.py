"""The lake on an S3-compatible server of its own process; what S3 says of wrong credentials is told apart elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_program import PROGRAM, write_program

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.catalog.build import catalog_program
from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.lake.ingest import RAW_FILES, ingest_program
from hwosim_assets.lake.store import AlreadyStoredError, Lake
from hwosim_assets.lake.tables import Tables

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture
def lake(bucket: str) -> Lake:
    return Lake(f"{bucket}/lake")


def test_objects_are_written_once_whole_and_read_in_parts(lake: Lake) -> None:
    lake.check()
    large = bytes(range(256)) * (17 * 4096)
    lake.write_new("raw/large", large)
    assert lake.read("raw/large") == large
    assert lake.read_part("raw/large", 1000, 10)[0] == large[1000:1010]
    with pytest.raises(AlreadyStoredError):
        lake.write_new("raw/large", large)

    lake.write_new("raw/a b %20.fits", b"first")
    with pytest.raises(AlreadyStoredError):
        lake.write_new("raw/a b %20.fits", b"second")
    assert lake.read("raw/a b %20.fits") == b"first"
    assert sorted(stored.key for stored in lake.list("raw")) == ["raw/a b %20.fits", "raw/large"]


def test_a_missing_bucket_is_said(bucket: str) -> None:
    with pytest.raises(BackendAbsentError, match="bucket does not exist"):
        Lake("s3://no-such-bucket/lake").check()


def test_a_program_is_ingested_and_catalogued_and_a_second_time_moves_nothing(
    lake: Lake, tmp_path: Path, state: Path
) -> None:
    paths = write_program(tmp_path / "archive", 20)
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", f"{lake.uri}/tables")
    with LocalArchive(tmp_path / "archive") as served, ArchiveClient(served.url) as client:
        listed = client.products(client.observations(program=PROGRAM))
        first = ingest_program(PROGRAM, listed, client, lake, tables, home=state)
        again = ingest_program(PROGRAM, listed, client, lake, tables, home=state)
    assert (first.moved_files, again.moved_files, again.moved_bytes) == (len(paths), 0, 0)
    for row in tables.scan(RAW_FILES).to_pylist():
        assert lake.read(row["key"]) == (tmp_path / "archive" / row["product_name"]).read_bytes()
    done = catalog_program(PROGRAM, first.rows, lake, tables)
    assert (done.products.num_rows, done.rejections) == (len(paths), [])
