"""Bodies as the line gives them: same bytes however they arrive, failures told, connections used again."""

from __future__ import annotations

import gzip
import hashlib
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from archive_material import bare_server, read_request
from urllib3.util import parse_url

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.download import ByteStream
from hwosim_assets.archive.errors import ArchiveAnswerError, ArchiveSilentError, ArchiveUnreachableError
from hwosim_assets.archive.transport import Transport
from hwosim_assets.archive.wire import CONNECTIONS, PACKED_BYTES, Wire
from hwosim_assets.errors import BadInputError

CONTENT = random.Random(1).randbytes(3_000_001)
HEAD = b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: %d\r\n\r\n' % len(CONTENT)
URI = "mast:JWST/product/jw01979002001_02101_00001_nrca1_cal.fits"
Talk = Callable[[socket.socket, int], None]


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
def test_the_bytes_are_the_same_however_they_arrive(first: int) -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        connection.sendall(HEAD + CONTENT[:first])
        connection.sendall(CONTENT[first:])

    with reading(talk) as (stream, seen):
        assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
        assert len(seen) == 1


def test_files_after_each_other_share_a_connection_and_do_not_mix() -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        while request := read_request(connection):
            connection.sendall(HEAD + (b"" if request.startswith(b"HEAD") else CONTENT))

    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=30) as client:
        for _ in range(2):
            assert client.facts(URI).size == len(CONTENT)
            with client.open(URI) as stream:
                assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
    assert len(seen) == 1


def test_a_body_that_nobody_wanted_to_the_end_costs_its_connection_only() -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        while read_request(connection):
            connection.sendall(HEAD + CONTENT)

    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=30) as client:
        with client.open(URI) as stream:
            next(stream.chunks)
        with client.open(URI) as stream:
            assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
    assert len(seen) == 2


def test_a_reply_without_a_body_leaves_its_connection_open() -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        while read_request(connection):
            connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: 0\r\n\r\n')

    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=30) as client:
        for _ in range(3):
            with client.open(URI) as stream:
                assert stream.size == 0
                assert b"".join(stream.chunks) == b""
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("early", "lines"),
    [("100 Continue", 1), ("102 Processing", 1), ("103 Early Hints", 1), ("101 Switching Protocols", 2)],
)
def test_an_answer_before_the_answer_is_never_another_requests_answer(early: str, lines: int) -> None:
    def talk(connection: socket.socket, number: int) -> None:
        while asked := read_request(connection):
            name = asked.split(b" ")[1]
            if number == 0:
                connection.sendall(b"HTTP/1.1 %s\r\nLink: </a.css>\r\n\r\n" % early.encode() * 2)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name))

    with bare_server(talk) as (url, seen):
        archive = Transport(url, timeout=30)
        assert [archive.request("GET", f"{url}/{name}").content for name in ("one", "two")] == [b"/one", b"/two"]
        archive.close()
    assert len(seen) == lines


@pytest.mark.parametrize("early", [b"100 Continue", b"103 Early Hints"])
def test_an_archive_that_never_answers_but_early_is_told(early: bytes) -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        while True:
            connection.sendall(b"HTTP/1.1 %s\r\n\r\n" % early)

    with bare_server(talk) as (url, _seen), ArchiveClient(url, timeout=30) as client:
        with pytest.raises(ArchiveUnreachableError, match=r"broke off .*status 10[03]") as told, client.open(URI):
            pass
        assert told.value.rule == "broken_off"


@pytest.mark.parametrize(("longest", "connections"), [(3600.0, 1), (0.2, 2)])
def test_a_connection_that_was_idle_for_long_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch, longest: float, connections: int
) -> None:
    monkeypatch.setattr("hwosim_assets.archive.wire.IDLE_SECONDS", longest)

    def talk(connection: socket.socket, _number: int) -> None:
        while read_request(connection):
            connection.sendall(HEAD + CONTENT)

    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=30) as client:
        for _ in range(2):
            with client.open(URI) as stream:
                assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
            time.sleep(0.4)
    assert len(seen) == connections


def test_the_time_that_a_reply_takes_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwosim_assets.archive.wire.IDLE_SECONDS", 5.0)
    clock = [1000.0]
    monkeypatch.setattr("hwosim_assets.archive.wire.monotonic", lambda: clock[0])

    def talk(connection: socket.socket, _number: int) -> None:
        while read_request(connection):
            connection.sendall(HEAD + CONTENT)

    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=30) as client:
        for _ in range(2):
            with client.open(URI) as stream:
                for _chunk in stream.chunks:
                    clock[0] += 4.0
    assert len(seen) == 1


def test_threads_have_a_connection_each() -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        while read_request(connection):
            connection.sendall(HEAD + CONTENT)

    def one(_number: int) -> str:
        with client.open(URI) as stream:
            return whole(stream)

    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=30) as client, ThreadPoolExecutor(4) as pool:
        assert set(pool.map(one, range(12))) == {hashlib.sha256(CONTENT).hexdigest()}
    assert len(seen) <= 4 < CONNECTIONS


def test_a_connection_that_breaks_is_continued() -> None:
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


def test_one_that_always_breaks_is_told() -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        connection.sendall(HEAD.replace(b'ETag: "v1"\r\n', b"") + CONTENT[:1_500_000])

    with reading(talk) as (stream, _seen):
        with pytest.raises(ArchiveUnreachableError, match="broke off") as broken:
            whole(stream)
        assert broken.value.rule == "broken_off"


def test_one_that_falls_silent_is_told() -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        connection.sendall(HEAD.replace(b'ETag: "v1"\r\n', b"") + CONTENT[:1_500_000])
        connection.recv(1)

    with reading(talk, timeout=1.0) as (stream, _seen), pytest.raises(ArchiveSilentError, match="time-out"):
        whole(stream)


def test_a_body_of_unknown_length_comes_whole() -> None:
    def talk(connection: socket.socket, number: int) -> None:
        while read_request(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(CONTENT), 500_000):
                piece = CONTENT[start : start + 500_000]
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")

    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=30) as client:
        for _ in range(2):
            with client.open(URI) as stream:
                assert stream.size is None
                assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
    assert len(seen) == 1


def test_one_of_unknown_length_that_breaks_off_is_told() -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (len(CONTENT), b"x" * 9000)
        )

    with reading(talk) as (stream, _seen), pytest.raises(ArchiveUnreachableError, match="broke off"):
        whole(stream)


def test_a_packed_reply_to_a_question_is_unpacked() -> None:
    packed = gzip.compress(b'{"01979": {"fingerprint": "f"}}')

    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nX-Place: caf\xe9\r\nContent-Length: %d\r\n\r\n" % len(
            packed
        )
        connection.sendall(head + packed)

    with bare_server(talk) as (url, _seen), ArchiveClient(url, timeout=30) as client:
        assert client.programs() == {"01979": "f"}


def test_a_packed_reply_that_unpacks_to_much_is_whole_or_told(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"0123456789" * 1_000_000
    packed = gzip.compress(content)

    def talk(connection: socket.socket, _number: int) -> None:
        while asked := read_request(connection):
            half = packed[: len(packed) // 2] if b"/half" in asked else packed
            damaged = b"\x00" * 1000 if b"/damaged" in asked else half
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % (len(packed) if b"/half" in asked else len(damaged)) + damaged)
            if b"/half" in asked:
                return

    with bare_server(talk) as (url, _seen):
        archive = Transport(url, timeout=30)
        assert archive.request("GET", f"{url}/whole").content == content
        with pytest.raises(ArchiveAnswerError, match="cannot be asked") as damaged:
            archive.request("GET", f"{url}/damaged")
        with pytest.raises(ArchiveUnreachableError, match="broke off"):
            archive.request("GET", f"{url}/half")
        monkeypatch.setattr("hwosim_assets.archive.transport.LARGEST_REPLY", 1_000_000)
        with pytest.raises(ArchiveAnswerError, match="exceeds"):
            archive.request("GET", f"{url}/whole")
        archive.close()
    assert damaged.value.rule == "bad_answer"


@pytest.mark.parametrize(("most", "told"), [(1_000_000, "cannot be asked"), (150_000, "exceeds 150000 bytes")])
def test_a_packed_reply_that_proves_wrong_at_its_end_is_told(
    monkeypatch: pytest.MonkeyPatch, most: int, told: str
) -> None:
    packed = gzip.compress(random.Random(3).randbytes(200_000))
    damaged = packed[:-8] + b"\x00" * 8 if told == "cannot be asked" else packed

    def talk(connection: socket.socket, _number: int) -> None:
        while read_request(connection):
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % len(damaged) + damaged)

    monkeypatch.setattr("hwosim_assets.archive.transport.LARGEST_REPLY", most)
    monkeypatch.setattr("hwosim_assets.archive.wire.PACKED_BYTES", 1024 * 1024)  # the end comes with what went before
    with bare_server(talk) as (url, seen):
        archive = Transport(url, timeout=30)
        for _ in range(2):
            with pytest.raises(ArchiveAnswerError, match=told) as failed:
                archive.request("GET", url)
        archive.close()
    assert failed.value.rule == ("bad_answer" if told == "cannot be asked" else "too_large")
    assert len(seen) <= 2


def test_a_packed_reply_comes_in_pieces_that_stay_small_unpacked() -> None:
    packed = random.Random(2).randbytes(2_000_000)

    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(packed), packed)
        )

    with bare_server(talk) as (url, _seen):
        wire = Wire(None, 30)
        reply = wire.send("GET", parse_url(url), {})
        time.sleep(0.2)  # so that much lies ready
        pieces = list(reply.pieces())
        reply.close()
        wire.close()
    assert b"".join(pieces) == packed
    assert max(map(len, pieces)) <= PACKED_BYTES == 64 * 1024


@pytest.mark.parametrize(
    ("token", "sent"), [("abc123\n", b"token abc123\r\n"), (" abc123 \r\n", b"token abc123\r\n"), ("\n", b"")]
)
def test_white_space_around_a_token_is_not_part_of_it(token: str, sent: bytes) -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket, _number: int) -> None:
        asked.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with bare_server(talk) as (url, _seen), ArchiveClient(url, token=token, timeout=30) as client:
        assert client.programs() == {}
    assert asked[0].partition(b"authorization: ")[2].partition(b"\r\n")[0] == sent.removesuffix(b"\r\n")


@pytest.mark.parametrize("token", ["geheim\nzwei", "geheimé", "geheim\x00", "geheim\u2026"])
def test_a_token_that_no_header_can_hold_is_refused_unseen(token: str) -> None:
    with pytest.raises(BadInputError, match="MAST_API_TOKEN") as refused:
        Transport("http://127.0.0.1:1", token=token)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "value"), [("HTTPS_PROXY", "http://127.0.0.1:9"), ("ALL_PROXY", "http://127.0.0.1:9")]
)
def test_an_archive_elsewhere_is_reached_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ArchiveClient("https://mast.example", timeout=5) as direct:
        assert direct._transport._wire.proxy == ""
    monkeypatch.setenv(setting, value)
    with ArchiveClient("http://127.0.0.1:8", timeout=5) as here:
        assert here._transport._wire.proxy == ""
    with (
        ArchiveClient("https://mast.example", timeout=5) as client,
        pytest.raises(ArchiveUnreachableError, match="refused"),
        client.open(URI),
    ):
        pass


@pytest.mark.parametrize(
    ("host", "trusted", "told"),
    [("localhost", True, ""), ("localhost", False, "self-signed"), ("127.0.0.1", True, "mismatch")],
)
def test_a_certificate_must_be_vouched_for_and_name_the_archive(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool, told: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def talk(connection: socket.socket, _number: int) -> None:
        with context.wrap_socket(connection, server_side=True) as line:
            read_request(line)
            line.sendall(HEAD + CONTENT)

    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with bare_server(talk) as (url, _seen):
        client = ArchiveClient(url.replace("http://127.0.0.1", f"https://{host}"), timeout=30)
        if told:
            with client, pytest.raises(ArchiveUnreachableError, match=told), client.open(URI):
                pass
        else:
            with client, client.open(URI) as stream:
                assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x50"])
def test_a_handshake_that_goes_wrong_is_tried_again(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def talk(connection: socket.socket, number: int) -> None:
        if number == 0:
            connection.recv(16 * 1024)
            connection.sendall(garbage)
            return
        with context.wrap_socket(connection, server_side=True) as line:
            read_request(line)
            line.sendall(HEAD + CONTENT)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        bare_server(talk) as (url, seen),
        ArchiveClient(url.replace("http://127.0.0.1", "https://localhost"), timeout=30) as client,
        client.open(URI) as stream,
    ):
        assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
    assert len(seen) == 2


def test_a_record_that_was_damaged_on_its_way_is_continued_from(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    half = 1_500_000

    def talk(connection: socket.socket, number: int) -> None:
        with connection.dup() as bare, context.wrap_socket(connection, server_side=True) as line:
            request = read_request(line).decode().lower()
            if number == 0:
                line.sendall(HEAD + CONTENT[:half])
                bare.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
                bare.recv(1)
                return
            start = int(request.partition("range: bytes=")[2].partition("-")[0])
            head = b'HTTP/1.1 206 Partial Content\r\nETag: "v1"\r\nContent-Range: bytes %d-%d/%d\r\n' % (
                start,
                len(CONTENT) - 1,
                len(CONTENT),
            )
            line.sendall(head + b"Content-Length: %d\r\n\r\n%s" % (len(CONTENT) - start, CONTENT[start:]))

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        bare_server(talk) as (url, seen),
        ArchiveClient(url.replace("http://127.0.0.1", "https://localhost"), timeout=30) as client,
        client.open(URI) as stream,
    ):
        assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
    assert len(seen) == 2


@pytest.mark.parametrize("made", [False, True])
def test_certificates_that_cannot_be_read_matter_only_where_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        read_request(connection)
        connection.sendall(HEAD + CONTENT)

    nowhere = tmp_path / "nowhere.pem"
    if made:
        nowhere.write_text("no certificate\n")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(nowhere))
    with reading(talk) as (stream, _seen):
        assert whole(stream) == hashlib.sha256(CONTENT).hexdigest()
    told = "SSL_CERT_FILE '.*nowhere.pem': holds no certificates .*; set it to"
    with pytest.raises(BadInputError, match=told):
        ArchiveClient("https://mast.example", timeout=5)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(BadInputError, match=told):
        ArchiveClient("https://mast.example", timeout=5)
