"""The rest of a large body over a quick line, read from the connection itself: same bytes, same failures told."""

from __future__ import annotations

import hashlib
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from archive_material import bare_server, read_request

from hwosim_assets.archive import body
from hwosim_assets.archive.body import raw_bytes
from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.download import ByteStream
from hwosim_assets.archive.errors import ArchiveSilentError, ArchiveUnreachableError

CONTENT = random.Random(1).randbytes(3_000_001)
HEAD = b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: %d\r\n\r\n' % len(CONTENT)
URI = "mast:JWST/product/jw01979002001_02101_00001_nrca1_cal.fits"
Talk = Callable[[socket.socket, int], None]


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Judge every line quick after 100 kB; return the lengths of what is read from connections themselves."""
    monkeypatch.setattr(body, "TRIAL_BYTES", 100_000)
    monkeypatch.setattr(body, "QUICK", 0.0)
    lengths: list[int] = []
    inner = body._from_connection

    def counted(response: httpx.Response, came: int, size: int) -> Iterator[bytes]:
        for piece in inner(response, came, size):
            lengths.append(len(piece))
            yield piece

    monkeypatch.setattr(body, "_from_connection", counted)
    return lengths


@contextmanager
def reading(talk: Talk, timeout: float = 30.0) -> Iterator[tuple[ByteStream, list[int]]]:
    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=timeout) as client, client.open(URI) as stream:
        yield stream, seen


def whole(stream: ByteStream) -> str:
    digest = hashlib.sha256()
    for chunk in stream.chunks:
        digest.update(chunk)
    return digest.hexdigest()


@pytest.mark.parametrize("first", [0, 1, 99_999, 100_001, 2_900_001, 2_999_999])
def test_the_bytes_are_the_same_however_they_arrive(direct: list[int], first: int) -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        connection.sendall(HEAD + CONTENT[:first])
        connection.sendall(CONTENT[first:])
        connection.recv(1)  # the client hangs up

    with reading(talk) as (stream, seen):
        assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
        assert sum(direct) > 2_000_000
        assert len(seen) == 1


def test_two_files_after_each_other_do_not_mix(direct: list[int]) -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        while read_request(connection):
            connection.sendall(HEAD + CONTENT)

    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=30) as client:
        for _ in range(2):
            with client.open(URI) as stream:
                assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
    assert len(seen) == 2
    assert direct


def test_a_connection_that_breaks_is_continued(direct: list[int]) -> None:
    def talk(connection: socket.socket, number: int) -> None:
        start = 1_500_000 if number else 0
        request = read_request(connection).decode().lower()
        if not number:
            connection.sendall(HEAD + CONTENT[:1_500_000])
            return
        assert f"range: bytes={start}-\r\n" in request
        head = (
            b'HTTP/1.1 206 Partial Content\r\nETag: "v1"\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n\r\n'
        )
        connection.sendall(head % (len(CONTENT) - start, start, len(CONTENT) - 1, len(CONTENT)) + CONTENT[start:])

    with reading(talk) as (stream, seen):
        assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
        assert len(seen) == 2
        assert direct


def test_one_that_always_breaks_is_told(direct: list[int]) -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        connection.sendall(HEAD.replace(b'ETag: "v1"\r\n', b"") + CONTENT[:1_500_000])

    with reading(talk) as (stream, _seen):
        with pytest.raises(ArchiveUnreachableError, match="broke off") as broken:
            whole(stream)
        assert broken.value.rule == "broken_off"
        assert direct


def test_one_that_falls_silent_is_told(direct: list[int]) -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        connection.sendall(HEAD.replace(b'ETag: "v1"\r\n', b"") + CONTENT[:1_500_000])
        connection.recv(1)

    with reading(talk, timeout=1.0) as (stream, _seen):
        with pytest.raises(ArchiveSilentError, match="time-out"):
            whole(stream)
        assert direct


def test_a_body_of_unknown_length_is_left_to_httpx(direct: list[int]) -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(CONTENT), 500_000):
            piece = CONTENT[start : start + 500_000]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")

    with bare_server(talk) as (url, _seen), httpx.Client(trust_env=False) as http, http.stream("GET", url) as response:
        assert b"".join(raw_bytes(response)) == CONTENT
    assert not direct


def test_a_slow_line_is_left_to_httpx_and_its_connection_kept(
    direct: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "QUICK", 1e12)

    def talk(connection: socket.socket, _number: int) -> None:
        while read_request(connection):
            connection.sendall(HEAD + CONTENT[:1000])
            time.sleep(0.01)
            connection.sendall(CONTENT[1000:])

    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=30) as client:
        for _ in range(2):
            with client.open(URI) as stream:
                assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
    assert len(seen) == 1
    assert not direct
