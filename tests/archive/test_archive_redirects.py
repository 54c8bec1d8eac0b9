"""Redirects are followed within the archive's site, proxies are spoken to, and secrets stay where they belong."""

from __future__ import annotations

import socket
import ssl
import traceback
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_material import bare_server, read_request

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.errors import ArchiveAnswerError, ArchiveError, ArchiveUnreachableError
from hwosim_assets.archive.transport import REDIRECTS, Transport
from hwosim_assets.errors import BadInputError

URI = "mast:JWST/product/jw01979002001_02101_00001_nrca1_cal.fits"
Talk = Callable[[socket.socket, int], None]


def answering(asked: list[bytes], answer: Callable[[bytes], bytes]) -> Talk:
    """Answer each request of a connection by its first line; they are noted in lower case."""

    def talk(connection: socket.socket, _number: int) -> None:
        while request := read_request(connection):
            asked.append(request.lower())
            connection.sendall(answer(request.split(b"\r\n")[0]))

    return talk


def found(status: bytes, place: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, place)


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 Stay", b"308 Stay"])
def test_a_redirect_within_the_archive_is_followed(status: bytes) -> None:
    asked: list[bytes] = []
    talk = answering(asked, lambda line: WHOLE if b"/new" in line else found(status, b"/new/place?x=%20y#part"))
    with bare_server(talk) as (url, _seen):
        archive = Transport(url, token="secret", timeout=30)
        reply = archive.request("POST", f"{url}/old", content="question", headers={"Content-Type": "text/plain"})
        archive.close()
    kept = status[:3] in (b"307", b"308")
    assert (reply.url, reply.content) == (f"{url}/new/place?x=%20y#part", b"{}")
    assert len(asked) == 2
    assert asked[1].startswith(b"post /new/place?x=%20y http" if kept else b"get /new/place?x=%20y http")
    assert (b"\r\n\r\nquestion" in asked[1]) is (b"content-type: text/plain" in asked[1]) is kept
    assert b"authorization: token secret\r\n" in asked[1]


def test_an_archive_that_leads_round_in_circles_is_told() -> None:
    asked: list[bytes] = []
    with (
        bare_server(answering(asked, lambda line: found(b"302 Found", b"/again"))) as (url, _seen),
        ArchiveClient(url, timeout=30) as client,
        pytest.raises(ArchiveAnswerError, match="from place to place") as told,
        client.open(URI),
    ):
        pass
    assert told.value.rule == "bad_answer"
    assert len(asked) == REDIRECTS + 1


@pytest.mark.parametrize(
    ("place", "rule", "told"),
    [
        (b"http://[::1", "bad_answer", "is no URL"),
        (b"http://me:hidden@127.0.0.1:99999", "bad_answer", "is no URL"),
        (b"http://127.0.0.1:\x1b[31mx" + b"y" * 60_000, "bad_answer", "is no URL"),
        (b"http://" + b"y" * 60_000 + b".example", "other_host", "another host"),
        (b"http://me:hidden@mast.example/?token=hidden&x=" + b"y" * 60_000, "other_host", "http://mast.example;"),
        (b"ftp://127.0.0.1/x", "other_host", "another host, ftp://127.0.0.1;"),
        (b"//", "bad_answer", "from place to place"),
    ],
)
def test_an_archive_that_leads_nowhere_is_told(place: bytes, rule: str, told: str) -> None:
    with (
        bare_server(answering([], lambda line: found(b"302 Found", place))) as (url, _seen),
        ArchiveClient(url, timeout=30) as client,
        pytest.raises(ArchiveAnswerError, match=told) as failed,
        client.open(URI),
    ):
        pass
    assert failed.value.rule == rule
    assert str(failed.value).isprintable()
    assert len(str(failed.value)) < 1000
    assert "hidden" not in "".join(traceback.format_exception(failed.value))


@pytest.mark.parametrize(
    ("place", "asked_for"),
    [(b"/new/caf\xc3\xa9", b"/new/caf%c3%a9"), (b"/new/caf\xe9", b"/new/caf%e9"), (b"/new/%C3%A9", b"/new/%c3%a9")],
)
def test_a_place_in_raw_bytes_is_asked_for_in_the_same_bytes(place: bytes, asked_for: bytes) -> None:
    asked: list[bytes] = []
    talk = answering(asked, lambda line: WHOLE if b"/new" in line else found(b"302 Found", place))
    with bare_server(talk) as (url, _seen):
        archive = Transport(url, timeout=30)
        assert archive.request("GET", f"{url}/old").content == b"{}"
        archive.close()
    assert asked[1].startswith(b"get %s http" % asked_for)


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"Content-Length: 5\r\n\r\nthere", 1),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nyo\r\n0\r\n\r\n", 1),
        (b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000, 2),
        (b"Content-Length: 9\r\n\r\nshort", 2),
    ],
)
def test_a_redirect_with_a_small_body_leaves_its_connection_open(body: bytes, lines: int) -> None:
    def talk(connection: socket.socket, _number: int) -> None:
        while request := read_request(connection):
            if b"/new" in request:
                connection.sendall(WHOLE)
                continue
            connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /new\r\n" + body)
            if body.endswith(b"short"):
                return

    with bare_server(talk) as (url, seen):
        archive = Transport(url, timeout=30)
        assert archive.request("GET", f"{url}/old").content == b"{}"
        archive.close()
    assert len(seen) == lines


def test_a_redirect_never_leaves_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked: list[bytes] = []

    def talk(connection: socket.socket, _number: int) -> None:
        if connection.recv(1, socket.MSG_PEEK) != b"\x16":  # not TLS, whose records of a handshake begin so
            asked.append(read_request(connection))
            connection.sendall(WHOLE)
            return
        with context.wrap_socket(connection, server_side=True) as line:
            while request := read_request(line):
                asked.append(request)
                line.sendall(found(b"302 Found", bare.encode() + b"/x"))

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with bare_server(talk) as (url, _seen):
        bare = url.replace("127.0.0.1", "localhost")
        archive = Transport(bare.replace("http://", "https://"), token="secret", timeout=30)
        with pytest.raises(ArchiveAnswerError, match="another host, http://localhost:") as failed:
            archive.request("GET", f"{archive.url}/old")
        archive.close()
    assert failed.value.rule == "other_host"
    assert len(asked) == 1


def test_a_sister_host_is_asked_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def here(_host: str, *more: Any, **named: Any) -> Any:
        return resolve("127.0.0.1", *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    asked: list[bytes] = []
    talk = answering(asked, lambda line: WHOLE if b"/new" in line else found(b"302 Found", place))
    with bare_server(talk) as (url, _seen):
        place = url.replace("127.0.0.1", "data.localhost").encode() + b"/new"
        with ArchiveClient(url.replace("127.0.0.1", "localhost"), token="secret", timeout=30) as client:
            assert client.programs() == {}
    assert [b"host: data.localhost" in request for request in asked] == [False, True]
    assert [b"secret" in request for request in asked] == [True, False]


#: What stands before the host, and what RFC 7617 makes of it.
NAMES = [
    ("me:p%40ss", "me:p@ss"),
    ("key", "key:"),
    ("key:", "key:"),
    ("me:a:b", "me:a:b"),
    ("me:пароль", "me:пароль"),
    ("me:%D0%BF", "me:п"),
]


def basic(said: str) -> bytes:
    return b"authorization: basic %s\r\n" % b64encode(said.encode()).lower()


@pytest.mark.parametrize(("named", "said"), NAMES)
def test_user_name_and_password_of_the_address_are_sent(named: str, said: str) -> None:
    asked: list[bytes] = []
    with (
        bare_server(answering(asked, lambda line: WHOLE)) as (url, _seen),
        ArchiveClient(url.replace("http://", f"http://{named}@"), timeout=30) as client,
    ):
        assert client.programs() == {}
    assert b"\r\n" + basic(said) in asked[0]


@pytest.fixture
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("setting", ["http_proxy", "all_proxy"])
def test_a_proxy_is_told_the_whole_address_and_its_own_password(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    asked: list[bytes] = []
    with bare_server(answering(asked, lambda line: WHOLE)) as (proxy, _seen):
        monkeypatch.setenv(setting, proxy.replace("http://", "http://me:p%40ss@"))
        with ArchiveClient("http://mast.example:8000", timeout=30) as client:
            assert client.programs() == {}
            assert client.programs() == {}
        monkeypatch.setenv("no_proxy", "mast.example")
        with ArchiveClient("http://mast.example:8000", timeout=30) as client:
            assert client._transport._wire.proxy == ""
    assert len(asked) == 2
    for request in asked:
        assert request.startswith(b"get http://mast.example:8000/hwosim/v1/programs http/1.1\r\n")
        assert b"host: mast.example:8000\r\n" in request
        assert b"proxy-authorization: basic bwu6cebzcw==\r\n" in request


@pytest.mark.usefixtures("_no_proxies")
def test_a_proxy_digs_a_tunnel_to_an_archive_with_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    with bare_server(answering(asked, lambda line: b"HTTP/1.1 502 No\r\n\r\n")) as (proxy, _seen):
        monkeypatch.setenv("https_proxy", proxy.removeprefix("http://"))
        client = ArchiveClient("https://mast.example", token="secret", timeout=30)
        with client, pytest.raises(ArchiveUnreachableError, match=f"through the proxy {proxy} .*502"), client.open(URI):
            pass
    assert len(asked) == 3
    assert asked[0].startswith(b"connect mast.example:443 http")
    assert not any(b"secret" in request for request in asked)


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize(("named", "said"), NAMES)
def test_user_name_and_password_of_the_proxy_are_sent(monkeypatch: pytest.MonkeyPatch, named: str, said: str) -> None:
    asked: list[bytes] = []
    with bare_server(answering(asked, lambda line: WHOLE)) as (proxy, _seen):
        monkeypatch.setenv("http_proxy", proxy.replace("http://", f"http://{named}@"))
        with ArchiveClient("http://mast.example:8000", timeout=30) as client:
            assert client.programs() == {}
    assert b"\r\nproxy-" + basic(said) in asked[0]


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("archive", ["https://mast.example", "http://mast.example"])
def test_a_proxy_that_wants_another_password_is_told_at_once(monkeypatch: pytest.MonkeyPatch, archive: str) -> None:
    asked: list[bytes] = []
    refusal = b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n"
    with bare_server(answering(asked, lambda line: refusal)) as (proxy, _seen):
        named = proxy.replace("http://", "http://me:hidden@")
        monkeypatch.setenv("all_proxy", named)
        with ArchiveClient(archive, timeout=30) as client, pytest.raises(ArchiveError, match="407") as told:
            client.programs()
    assert len(asked) == 1
    assert not told.value.passing
    assert f"the proxy {named.replace('hidden', '***')} " in str(told.value)
    assert "HTTPS_PROXY" in told.value.mend


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("archive", ["https://mast.example", "http://mast.example"])
def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, archive: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("all_proxy", f"http://me:hidden@127.0.0.1:{port}")
    with ArchiveClient(archive, timeout=30) as client, pytest.raises(ArchiveUnreachableError, match="refused") as told:
        client.programs()
    assert f"unreachable through the proxy http://me:***@127.0.0.1:{port} " in str(told.value)
    assert "HTTPS_PROXY" in told.value.mend


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("proxy", ["http://", ":3128", "http://:3128", "http://me:hidden@", "http://me:hidden@:3128"])
def test_a_proxy_without_a_host_is_refused(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(BadInputError, match="is not the address of an HTTP proxy") as told:
        ArchiveClient("https://mast.example", timeout=5)
    assert "hidden" not in "".join(traceback.format_exception(told.value))


@pytest.mark.usefixtures("_no_proxies")
def test_what_is_no_proxy_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://me:hidden@127.0.0.1:9")
    with pytest.raises(BadInputError, match="is not the address of an HTTP proxy") as told:
        ArchiveClient("https://mast.example", timeout=5)
    assert "hidden" not in str(told.value)
