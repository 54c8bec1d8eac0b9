"""Bytes of the archive: whole, in ranges, continued, refused."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from archive_material import bare_server, read_request

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.download import ByteStream
from hwosim_assets.archive.errors import (
    ArchiveAnswerError,
    ArchiveMissingError,
    ArchiveRefusedError,
    ArchiveUnreachableError,
)
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.errors import BadInputError

CAL = "jw01979002001_02101_00001_nrca1_cal.fits"
URI = f"mast:JWST/product/{CAL}"
EXCLUSIVE = "mast:JWST/product/jw02107002001_02103_00002_mirimage_uncal.fits"


def test_a_whole_file(client: ArchiveClient, root: Path) -> None:
    expected = (root / CAL).read_bytes()
    with client.open(URI) as stream:
        assert b"".join(stream.chunks) == expected
        assert (stream.size, stream.offset) == (len(expected), 0)
        assert stream.sha256 == hashlib.sha256(expected).hexdigest()
        assert stream.etag
        assert stream.etag.startswith('"')
    facts = client.facts(URI)
    assert (facts.size, facts.etag, facts.sha256) == (stream.size, stream.etag, stream.sha256)


@pytest.mark.parametrize("offset", [1, 2880, 5759])
def test_from_an_offset(client: ArchiveClient, root: Path, offset: int) -> None:
    expected = (root / CAL).read_bytes()
    tag = client.facts(URI).etag
    with client.open(URI, offset=offset, etag=tag) as stream:
        assert stream.offset == offset
        assert stream.size == len(expected)
        assert b"".join(stream.chunks) == expected[offset:]


def test_from_the_end_there_is_nothing_left(client: ArchiveClient, root: Path) -> None:
    size = (root / CAL).stat().st_size
    with client.open(URI, offset=size) as stream:
        assert (stream.offset, stream.size) == (size, size)
        assert b"".join(stream.chunks) == b""
    with pytest.raises(ArchiveAnswerError, match="asked for bytes from"), client.open(URI, offset=size + 1):
        pass


def test_another_file_by_now_begins_at_zero(client: ArchiveClient, root: Path) -> None:
    tag = client.facts(URI).etag
    path = root / CAL
    changed = path.read_bytes()[:-1] + b"\x01"
    path.write_bytes(changed)
    os.utime(path, ns=(1, 1))
    with client.open(URI, offset=100, etag=tag) as stream:
        assert stream.offset == 0
        assert b"".join(stream.chunks) == changed
        assert stream.etag != tag
        assert stream.sha256 == hashlib.sha256(changed).hexdigest()


def test_exclusive_access_needs_the_token(archive: LocalArchive, root: Path) -> None:
    name = EXCLUSIVE.rpartition("/")[2]
    for token in (None, "wrong"):
        with ArchiveClient(archive.url, token=token, timeout=10) as client:
            with (
                pytest.raises(ArchiveRefusedError, match="set MAST_API_TOKEN") as refused,
                client.open(EXCLUSIVE),
            ):
                pass
            assert refused.value.rule == "http_401"
            assert "wrong;" not in str(refused.value)
            assert len(client.observations(program=2107)) == 2  # metadata are public
    with ArchiveClient(archive.url, token="let-me-in", timeout=10) as client, client.open(EXCLUSIVE) as stream:
        assert b"".join(stream.chunks) == (root / name).read_bytes()


def test_without_a_token_set_nobody_may(root: Path) -> None:
    with LocalArchive(root, exclusive=("jw02107*",)) as served:
        client = ArchiveClient(served.url, token="")
        with client, pytest.raises(ArchiveRefusedError), client.open(EXCLUSIVE):
            pass


@pytest.mark.parametrize(
    "uri",
    [
        "mast:JWST/product/none.fits",
        "mast:JWST/product/../../etc/passwd",
        "mast:JWST/product/l3/jw01979-o002_t001_nircam_clear-f150w_i2d.fits",
        "mast:JWST/product/%2e%2e%2fsecret.fits",
        "mast:JWST/product/",
        "mast:HST/product/jw01979002001_02101_00001_nrca1_cal.fits",
        f"mast:JWST/product/{CAL}/",
    ],
)
def test_what_is_not_there(client: ArchiveClient, root: Path, uri: str) -> None:
    (root.parent / "secret.fits").write_bytes((root / CAL).read_bytes())
    with pytest.raises(ArchiveMissingError) as missing, client.open(uri):
        pass
    assert missing.value.rule == "http_404"


@pytest.mark.parametrize("uri", ["/etc/passwd", "http://elsewhere/x.fits", "mast:a\r\nX-Y: 1"])
def test_what_is_no_archive_uri(client: ArchiveClient, uri: str) -> None:
    with pytest.raises(BadInputError, match="not an archive URI"), client.open(uri):
        pass


def test_gzip_content_stays_as_it_is(client: ArchiveClient, root: Path) -> None:
    """Under a `.gz` name and under a plain `.fits` name (as some MAST products are)."""
    packed = gzip.compress((root / CAL).read_bytes())
    for name in ("packed_cal.fits.gz", "packed_i2d.fits"):
        (root / name).write_bytes(packed)
        assert name in {row["productFilename"] for row in client.products(client.observations())}
        with client.open(f"mast:JWST/product/{name}") as stream:
            assert b"".join(stream.chunks) == packed
            assert stream.size == len(packed)


def test_ranges_as_other_clients_ask_them(archive: LocalArchive, root: Path) -> None:
    expected = (root / CAL).read_bytes()
    url = f"{archive.url}/api/v0.1/Download/file?uri={URI}"
    with httpx.Client(trust_env=False) as http:
        part = http.get(url, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, expected[10:20])
        assert part.headers["content-range"] == f"bytes 10-19/{len(expected)}"
        assert http.get(url, headers={"Range": "bytes=-5"}).content == expected[-5:]
        beyond = http.get(url, headers={"Range": f"bytes={len(expected)}-"})
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(expected)}")
        head = http.head(url)
        assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(expected)), b"")
        assert head.headers["accept-ranges"] == "bytes"
        mission = http.get(
            f"{archive.url}/search/jwst/api/v0.1/retrieve_product",
            params={"product_name": f"jw01979002001_02101_00001/{CAL}"},
        )
        assert mission.content == expected


def breaking_archive(content: bytes, breaks: int, ranges: bool = True) -> Callable[[socket.socket, int], None]:
    """Return a talk that sends 40 % of what is left and hangs up, `breaks` times."""

    def talk(connection: socket.socket, number: int) -> None:
        request = read_request(connection).decode().lower()
        start = int(request.split("range: bytes=")[1].split("-")[0]) if ranges and "range: bytes=" in request else 0
        left = content[start:]
        status = b"206 Partial Content" if start else b"200 OK"
        head = b'HTTP/1.1 %s\r\nETag: "v1"\r\nContent-Length: %d\r\n' % (status, len(left))
        if start:
            head += b"Content-Range: bytes %d-%d/%d\r\n" % (start, len(content) - 1, len(content))
        sent = left if number >= breaks else left[: len(left) * 2 // 5]
        connection.sendall(head + b"\r\n" + sent)

    return talk


@contextmanager
def reading(talk: Callable[[socket.socket, int], None]) -> Iterator[tuple[ByteStream, list[int]]]:
    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=5) as client, client.open(URI) as stream:
        yield stream, seen


CONTENT = bytes(range(256)) * 4000


def test_a_broken_connection_is_continued() -> None:
    with reading(breaking_archive(CONTENT, breaks=3)) as (stream, seen):
        assert b"".join(stream.chunks) == CONTENT
        assert len(seen) == 4


def test_a_connection_that_always_breaks_is_told() -> None:
    with reading(breaking_archive(CONTENT, breaks=99)) as (stream, seen):
        with pytest.raises(ArchiveUnreachableError, match="broke off") as broken:
            b"".join(stream.chunks)
        assert broken.value.rule == "broken_off"
        assert len(seen) == 4


def test_an_archive_without_ranges_that_breaks_off_never_mixes() -> None:
    with reading(breaking_archive(CONTENT, breaks=1, ranges=False)) as (stream, seen):
        with pytest.raises(ArchiveAnswerError, match="changed while it was read"):
            b"".join(stream.chunks)
        assert len(seen) == 2
