"""Public files from the S3 mirror where it has them, everything else from the archive."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.errors import ArchiveMissingError, ArchiveRefusedError, ArchiveUnreachableError
from hwosim_assets.archive.mirror import MirroredArchive
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.errors import BadInputError

CAL = "jw01979002001_02101_00001_nrca1_cal.fits"
I2D = "jw01979-o002_t001_nircam_clear-f150w_i2d.fits"
EXCLUSIVE = "jw02107002001_02103_00002_mirimage_uncal.fits"
KEY = f"jwst/public/jw01979/jw01979002001/{CAL}"


def uri(name: str) -> str:
    return f"mast:JWST/product/{name}"


class Bucket:
    """The mirror's bucket."""

    def __init__(self, endpoint: str, name: str) -> None:
        import boto3

        keys = {"aws_access_key_id": "hwosim", "aws_secret_access_key": "not-a-secret"}
        self.s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
        self.name, self.uri = name, f"{endpoint}/{name}"
        self.s3.create_bucket(Bucket=name)

    def put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=content, ACL="public-read")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, root: Path, request: pytest.FixtureRequest, state: Path) -> Bucket:
    made = Bucket(endpoint, request.node.name.replace("_", "-")[:40].strip("-"))
    made.put(KEY, (root / CAL).read_bytes())
    return made


@pytest.fixture
def downloads(client: ArchiveClient, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the files that were asked of the archive itself."""
    asked: list[str] = []
    real = client.open

    def noting(data_uri: str, offset: int = 0, etag: str | None = None) -> Any:
        asked.append(data_uri)
        return real(data_uri, offset, etag)

    monkeypatch.setattr(client, "open", noting)
    return asked


def read(source: MirroredArchive, name: str, offset: int = 0, etag: str | None = None) -> bytes:
    with source.open(uri(name), offset, etag) as stream:
        assert stream.offset == offset
        return b"".join(stream.chunks)


def test_a_public_file_comes_from_the_bucket(
    client: ArchiveClient, bucket: Bucket, downloads: list[str], root: Path
) -> None:
    source, content = MirroredArchive(client, bucket.uri), (root / CAL).read_bytes()
    assert read(source, CAL) == content
    facts = source.facts(uri(CAL))
    assert facts.size == len(content)
    assert facts.sha256 == client.facts(uri(CAL)).sha256, "the archive's digest is held against the mirror's bytes"
    assert read(source, CAL, 3000, facts.etag) == content[3000:]
    assert read(source, CAL, len(content), facts.etag) == b""
    with source.open(uri(CAL), 3000, '"another"') as stream:
        assert stream.offset == 0
    assert downloads == []


def test_what_the_mirror_does_not_have_comes_from_the_archive(
    client: ArchiveClient, bucket: Bucket, downloads: list[str], root: Path
) -> None:
    source = MirroredArchive(client, bucket.uri)
    assert read(source, I2D) == (root / "l3" / I2D).read_bytes()
    bucket.put(KEY, b"of another version")
    assert read(source, CAL) == (root / CAL).read_bytes()
    assert source.facts(uri(CAL)).etag == client.facts(uri(CAL)).etag
    assert downloads == [uri(I2D), uri(CAL)]
    with pytest.raises(ArchiveMissingError):
        source.facts(uri("none.fits"))


def test_the_mirror_is_no_way_around_exclusive_access(archive: LocalArchive, bucket: Bucket, root: Path) -> None:
    bucket.put(f"jwst/public/jw02107/jw02107002001/{EXCLUSIVE}", (root / EXCLUSIVE).read_bytes())
    with ArchiveClient(archive.url, timeout=10) as client:
        source = MirroredArchive(client, bucket.uri)
        with pytest.raises(ArchiveRefusedError), source.open(uri(EXCLUSIVE)):
            pass


def test_an_object_replaced_while_it_is_read_is_told(client: ArchiveClient, bucket: Bucket, root: Path) -> None:
    source = MirroredArchive(client, bucket.uri)
    with source.open(uri(CAL)) as stream:
        bucket.put(KEY, bytes((root / CAL).stat().st_size))
        with pytest.raises(ArchiveUnreachableError, match="HWOSIM_ARCHIVE_MIRROR"):
            b"".join(stream.chunks)


def test_a_file_may_come_for_longer_than_half_a_minute(client: ArchiveClient) -> None:
    """The default of the library under it breaks a whole request off after 30 s, however well it comes."""
    options = MirroredArchive(client, "s3://stpubdata")._store.client_options
    assert options is not None
    assert (options["timeout"], options["read_timeout"]) == ("1h", "1m"), "of a whole file; of a line that stalls"


def test_a_mirror_that_is_down_is_told(client: ArchiveClient, state: Path) -> None:
    source = MirroredArchive(client, "http://127.0.0.1:1/stpubdata")
    with pytest.raises(ArchiveUnreachableError, match=r"mirror http://127\.0\.0\.1:1/stpubdata") as caught:
        source.facts(uri(CAL))
    assert caught.value.rule == "broken_off"


@pytest.mark.parametrize("mirror", ["stpubdata", "ftp://host/bucket", "s3://", "http://host", "http://host/a/b"])
def test_what_is_no_mirror(client: ArchiveClient, mirror: str) -> None:
    with pytest.raises(BadInputError, match="HWOSIM_ARCHIVE_MIRROR"):
        MirroredArchive(client, mirror)


def test_the_mirror_is_a_setting(state: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwosim_assets.resources import ArchiveResource

    monkeypatch.setenv("HWOSIM_ARCHIVE_URL", "http://127.0.0.1:1")
    assert isinstance(ArchiveResource().source(), ArchiveClient)
    monkeypatch.setenv("HWOSIM_ARCHIVE_MIRROR", bucket.uri)
    assert isinstance(ArchiveResource().source(), MirroredArchive)
