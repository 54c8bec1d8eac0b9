"""How the bytes of a request and its reply cross the line, for httpx.

Holds: :class:`Wire`, a transport of httpx over urllib3. Keep out what a slow or silent archive means (``transport``)
and where the bytes go.

httpx's own transport unpacks replies through h11, which copies every byte three times and costs a small file as much
as all the rest of its way: 0.5 s of processor time for a gigabyte, half of what a download over a quick line takes.
urllib3 reads a body straight from the connection, and the connection can be used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

__all__ = ["Wire"]

#: Connections to one host that are kept open; more are opened when needed, and closed after use.
CONNECTIONS = 16
#: The most that is read at once (bytes).
READ_BYTES = 256 * 1024


class Wire(httpx.BaseTransport):
    """Connections to archives, shared by threads; without proxies."""

    def __init__(self) -> None:
        self._pools = urllib3.PoolManager(maxsize=CONNECTIONS, ssl_context=httpx.create_ssl_context())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its reply, of which the headers have come.

        Raises
        ------
        httpx.TransportError
            Of the kind that httpx's own transport raises.
        """
        url, wait = request.url, request.extensions["timeout"]
        with _told(request):
            pool = self._pools.connection_from_host(url.host, url.port, url.scheme)
            reply = pool.urlopen(
                request.method,
                url.raw_path.decode("ascii"),
                body=request.read() or None,
                headers=request.headers,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=wait["connect"], read=wait["read"]),
                preload_content=False,
                decode_content=False,
            )
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
        return httpx.Response(reply.status, headers=headers, stream=_Body(request, reply))

    def close(self) -> None:
        """Close the connections."""
        self._pools.clear()


class _Body(httpx.SyncByteStream):
    """The body of a reply as it comes, in pieces as the line gives them."""

    def __init__(self, request: httpx.Request, reply: BaseHTTPResponse) -> None:
        self._request = request
        self._reply = reply
        self._over = False

    def __iter__(self) -> Iterator[bytes]:
        with _told(self._request):
            while piece := self._reply.read1(READ_BYTES, decode_content=False):
                yield piece
            self._over = True

    def close(self) -> None:
        """Give the connection back; one with bytes on it that nobody read is closed."""
        if self._reply.length_remaining == 0:
            self._reply.read1(1)  # lets urllib3 see that a reply without a body is over
        elif not self._over:
            self._reply.close()
        self._reply.release_conn()


@contextmanager
def _told(request: httpx.Request) -> Iterator[None]:
    """Turn urllib3's failures into httpx's."""
    try:
        yield
    except (NewConnectionError, SSLError) as problem:  # the first is a kind of ConnectTimeoutError, too
        raise httpx.ConnectError(_reason(problem), request=request) from problem
    except ConnectTimeoutError as problem:
        raise httpx.ConnectTimeout(_reason(problem), request=request) from problem
    except ReadTimeoutError as problem:
        raise httpx.ReadTimeout(_reason(problem), request=request) from problem
    except HTTPError as problem:
        raise httpx.RemoteProtocolError(_reason(problem), request=request) from problem


def _reason(problem: HTTPError) -> str:
    """Return what went wrong: urllib3 names its own objects before it, or wraps another exception."""
    inner = problem.args[-1] if problem.args else problem
    return str(inner).rpartition(": ")[2] if isinstance(problem, NewConnectionError) else str(inner)
