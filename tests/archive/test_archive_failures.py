"""An archive that fails: each way is told apart from the others, in bounded time."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from archive_material import bare_server, drip, read_request, recorded_mast

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.errors import (
    ArchiveAnswerError,
    ArchiveBrokenError,
    ArchiveError,
    ArchiveMissingError,
    ArchiveRefusedError,
    ArchiveSilentError,
    ArchiveSlowError,
    ArchiveUnreachableError,
    ProgramsNotListedError,
)
from hwosim_assets.archive.transport import Transport
from hwosim_assets.errors import BackendAbsentError, BadInputError

URI = "mast:JWST/product/jw01979002001_02101_00001_nrca1_cal.fits"
Talk = Callable[[socket.socket, int], None]


def status(line: bytes, *headers: bytes) -> Talk:
    def talk(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(b"\r\n".join([b"HTTP/1.1 " + line, b"Content-Length: 0", *headers, b"", b""]))

    return talk


def silent(connection: socket.socket, number: int) -> None:
    read_request(connection)
    time.sleep(3)


def silent_in_the_middle(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b" " * 5000)
    time.sleep(3)


def slow(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    drip(connection, seconds=5)


def resetting(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def not_http(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(b"220 mail.example ESMTP\r\n")


def page(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n<html>Welcome</html>")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwosim_assets.archive.transport.PAUSES", (0.01, 0.02))


WAYS = [
    (status(b"500 Internal Server Error"), ArchiveBrokenError, "status 500", 3),
    (status(b"503 Service Unavailable"), ArchiveBrokenError, "status 503", 3),
    (status(b"429 Too Many Requests", b"Retry-After: 1000"), ArchiveBrokenError, "status 429", 1),
    (status(b"403 Forbidden"), ArchiveRefusedError, "status 403.*MAST_API_TOKEN", 1),
    (status(b"404 Not Found"), ArchiveMissingError, "not found", 1),
    (status(b"418 I'm a teapot"), ArchiveAnswerError, "status 418", 1),
    (silent, ArchiveSilentError, r"time-out, no answer within 0\.4 s", 1),
    (silent_in_the_middle, ArchiveSilentError, r"time-out, no answer within 0\.4 s", 1),
    (slow, ArchiveSlowError, "too slow", 1),
    (resetting, ArchiveUnreachableError, "broke off", 3),
    (not_http, ArchiveUnreachableError, "broke off", 3),
]


@pytest.mark.parametrize(("talk", "kind", "told", "asked"), WAYS)
def test_questions(talk: Talk, kind: type[ArchiveError], told: str, asked: int) -> None:
    began = time.monotonic()
    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=0.4) as client:
        with pytest.raises(kind, match=told) as failed:
            client.observations(program=1979)
        assert type(failed.value) is kind
        assert isinstance(failed.value, BackendAbsentError)
        assert url in str(failed.value)
        assert "\n" not in str(failed.value)
        assert len(seen) == asked
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(("talk", "kind", "told", "asked"), WAYS)
def test_downloads(talk: Talk, kind: type[ArchiveError], told: str, asked: int) -> None:
    began = time.monotonic()
    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=0.4) as client:
        with pytest.raises(kind, match=told), client.open(URI) as stream:
            b"".join(stream.chunks)
        assert len(seen) == asked
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("talk", [status(b"500 Oh"), silent, slow, resetting])
def test_programs(talk: Talk) -> None:
    with bare_server(talk) as (url, _), ArchiveClient(url, timeout=0.4) as client, pytest.raises(ArchiveError):
        client.programs()


def test_nobody_listens() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    began = time.monotonic()
    client = ArchiveClient(f"http://127.0.0.1:{port}", timeout=5)
    with client, pytest.raises(ArchiveUnreachableError, match="`hwosim archive serve`") as failed:
        client.observations(program=1979)
    assert failed.value.rule == "unreachable"
    assert time.monotonic() - began < 3


def test_an_archive_that_recovers_is_not_given_up() -> None:
    def talk(connection: socket.socket, number: int) -> None:
        read_request(connection)
        body = b'{"01979": {"fingerprint": "f"}}'
        if number == 0:
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        elif number == 2:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with bare_server(talk) as (url, seen), ArchiveClient(url, timeout=5) as client:
        assert client.programs() == {"01979": "f"}
        assert len(seen) == 3


def test_a_web_page_is_not_an_archive() -> None:
    with bare_server(page) as (url, _), ArchiveClient(url, timeout=2) as client:
        with pytest.raises(ArchiveAnswerError, match="not MAST's form"):
            client.observations(program=1979)
        with pytest.raises(ArchiveAnswerError, match="not MAST's form"):
            client.mission_search(program=1979)
        with pytest.raises(ProgramsNotListedError, match="does not list its programs"):
            client.programs()


@pytest.mark.parametrize(
    "reply", [{"status": "COMPLETE"}, {}, [1, 2], "text", {"obs_collection": {}, "proposal_id": {}}]
)
def test_replies_of_another_form(reply: object) -> None:
    with recorded_mast(lambda path, asked: reply) as url:
        client = ArchiveClient(url, timeout=2)
        with client, pytest.raises((ArchiveError, BadInputError)):
            client.observations(program=1979)


def test_a_question_that_is_executing_for_ever() -> None:
    def answers(path: str, asked: dict[str, Any]) -> object:
        if path.endswith("columnsconfig"):
            return {name: {"vot.datatype": "char"} for name in ("obs_collection", "proposal_id")}
        return {"status": "EXECUTING", "msg": "", "data": [], "fields": []}

    began = time.monotonic()
    with recorded_mast(answers) as url:
        client = ArchiveClient(url, timeout=0.1)
        with client, pytest.raises(ArchiveSilentError, match="not answered within 1 s"):
            client.observations(program=1979)
    assert time.monotonic() - began < 4


def test_a_reply_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwosim_assets.archive.transport.LARGEST_REPLY", 100_000)

    def talk(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)

    with bare_server(talk) as (url, _):
        client = ArchiveClient(url, timeout=2)
        with client, pytest.raises(ArchiveAnswerError, match="exceeds"):
            client.observations(program=1979)


def test_a_redirect_elsewhere_is_not_followed() -> None:
    with bare_server(status(b"200 OK")) as (other, reached):
        to_other = status(b"302 Found", b"Location: " + other.encode() + b"/api/v0/invoke")
        with bare_server(to_other) as (url, _), ArchiveClient(url, token="secret", timeout=2) as client:
            with pytest.raises(ArchiveAnswerError, match=f"another host, {other}"), client.open(URI):
                pass
            with pytest.raises(ArchiveAnswerError, match="another host"):
                client.observations(program=1979)
        assert reached == []


@pytest.mark.parametrize("url", ["", "mast", "ftp://mast.stsci.edu", "http://", "http://[::1", "file:///tmp"])
def test_what_is_no_archive_url(url: str) -> None:
    with pytest.raises(BadInputError, match="HWOSIM_ARCHIVE_URL"):
        ArchiveClient(url)


def test_passwords_are_not_shown() -> None:
    with bare_server(status(b"404 Not Found")) as (url, _):
        client = ArchiveClient(url.replace("http://", "http://me:hidden@"), timeout=2)
        with client, pytest.raises(ArchiveMissingError) as failed, client.open(URI):
            pass
    assert "hidden" not in str(failed.value)


@pytest.mark.parametrize("url", ["http://me:hidden@127.0.0.1:99999", "http://me:hid/den@h:1", "http://hidden@h:x"])
def test_passwords_of_what_is_no_url_are_not_shown(url: str) -> None:
    with pytest.raises(BadInputError, match="HWOSIM_ARCHIVE_URL") as failed:
        ArchiveClient(url)
    archive = Transport("http://127.0.0.1:1", timeout=2)
    with pytest.raises(ArchiveAnswerError, match="is no URL") as asked:
        archive.request("GET", url)
    archive.close()
    for told in (failed.value, asked.value):
        assert "hid" not in str(told)
        assert "hid" not in "".join(traceback.format_exception(told))
