"""What comes before the body of a reply is understood as http.client understands it, and sooner."""

from __future__ import annotations

import http.client
import io
from typing import Any

import pytest

from hwosim_assets.archive.wire import _Head

HEADERS = {
    "plain": b'Content-Length: 40000\r\nETag: "a:b"\r\nDate: Sat, 21 Nov 2026 22:00:00 GMT\r\n',
    "none": b"",
    "line feeds only": b"Content-Length: 5\nETag: x\n",
    "blanks around values": b"Content-Length: \t 5 \t\r\nX:\r\nY:  \r\n",
    "in other cases, twice": b"content-LENGTH: 5\r\nX: 1\r\nx: 2\r\n",
    "bytes beyond ASCII": b"Content-Length: 5\r\nX: \xc3\xa4 \xff\x85\x0b\x1c\r\n",
    "folded": b"Content-Length: 5\r\nX: a\r\n  b\r\n\tc\r\nY: d\r\n",
    "folded at first": b" X: a\r\nContent-Length: 5\r\n",
    "carriage returns inside": b"X: a\rContent-Length: 7\r\nContent-Length: 5\r\n",
    "a carriage return before the end": b"X: a\r\r\nContent-Length: 5\r\n",
    "no colon": b"X: a\r\nnonsense\r\nContent-Length: 5\r\n",
    "no name": b": a\r\nContent-Length: 5\r\n",
    "a blank in a name": b"X : a\r\nContent-Length: 5\r\n",
    "bytes in a name": b"X\xe4: a\r\nContent-Length: 5\r\n",
    "a letter's first line": b"From me\r\nContent-Length: 5\r\n",
    "many parts": b"Content-Type: multipart/mixed; boundary=x\r\nContent-Length: 5\r\n",
    "chunked": b"Transfer-Encoding: Chunked\r\nContent-Length: 5\r\n",
    "another transfer": b"Transfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n",
    "closing": b"Connection: Close\r\nContent-Length: 5\r\n",
    "staying": b"Connection: keep-alive\r\nContent-Length: 5\r\n",
    "no number": b"Content-Length: many\r\n",
    "less than nothing": b"Content-Length: -5\r\n",
    "two numbers": b"Content-Length: 5, 5\r\n",
    "more digits than any file has": b"Content-Length: " + b"9" * 5000 + b"\r\n",
    "many fields": b"".join(b"X-%d: a\r\n" % number for number in range(99)),
}
FIRST_LINES = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.1 304 \r\n",
    b"HTTP/1.1 416 Nothing  there \r\n",
)


class Line:
    """A connection on which a reply came."""

    def __init__(self, came: bytes) -> None:
        self.came = came

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self.came)


def begun(kind: type[http.client.HTTPResponse], came: bytes, method: str) -> dict[str, Any]:
    reply = kind(Line(came), method=method)  # type: ignore[arg-type]
    reply.begin()
    names = ("status", "reason", "version", "chunked", "will_close", "length")
    found = {name: getattr(reply, name) for name in names}
    return found | {"code": reply.code, "items": reply.headers.items(), "payload": reply.headers.get_payload()}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("first", FIRST_LINES)
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_head_is_understood_as_http_client_understands_it(header: bytes, first: bytes, method: str) -> None:
    for end in (b"\r\n", b"\n", b""):
        came = first + header + end + b"body"[: 4 * bool(end)]
        assert begun(_Head, came, method) == begun(http.client.HTTPResponse, came, method)


@pytest.mark.parametrize(
    ("came", "error"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 101 + b"\r\n", http.client.HTTPException),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", http.client.LineTooLong),
        (b"HTTP/2.0 200 OK\r\n\r\n", http.client.UnknownProtocol),
        (b"", http.client.RemoteDisconnected),
    ],
)
def test_what_is_no_head_is_refused(came: bytes, error: type[Exception]) -> None:
    for kind in (_Head, http.client.HTTPResponse):
        with pytest.raises(error):
            begun(kind, came, "GET")
