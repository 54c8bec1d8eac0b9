"""The lake on an S3-compatible server of its own process: Adobe's S3Mock, a jar of Maven Central, without a container.

It knows conditional writes (one after the other: of two at once it may take both), parts and ranges. It takes any
credentials; what S3 says of wrong ones is told apart elsewhere.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from filelock import FileLock
from small_program import PROGRAM, write_program

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.catalog.build import catalog_program
from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.lake.ingest import RAW_FILES, ingest_program
from hwosim_assets.lake.store import AlreadyStoredError, Lake
from hwosim_assets.lake.tables import Tables

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

VERSION = "4.8.0"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"


def s3mock_jar() -> Path:
    """Return the server, fetched by Maven where it is not there; skip where nothing can fetch it."""
    for tool, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} (Debian: apt-get install {package})")
    folder = servers.ROOT / ".tools" / "s3mock"
    folder.mkdir(parents=True, exist_ok=True)
    jar = folder / f"s3mock-{VERSION}-exec.jar"
    with FileLock(folder / "lock"):
        if not jar.exists():
            artifact = f"com.adobe.testing:s3mock:{VERSION}:jar:exec"
            command = ["mvn", "-q", "-B", COPY, f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=servers.FETCH_SECONDS)
            if done.returncode:
                pytest.skip(f"Maven could not fetch S3Mock: {done.stdout.strip()[:500]}")
    return jar


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, (port, secure) = tmp_path_factory.mktemp("s3mock"), servers.free_ports(2)
    options = [f"--com.adobe.testing.s3mock.httpPort={port}", f"--server.port={secure}", "--server.address=127.0.0.1"]
    command = ["java", *servers.JVM, "-jar", str(s3mock_jar()), *options]
    with servers.running(command, folder / "log", port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def bucket(endpoint: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "hwosim",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    import boto3

    name = f"hwosim-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


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
