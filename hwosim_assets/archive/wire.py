"""How the bytes of a request and its reply cross the line, for httpx.

Holds: :class:`Wire`, a transport of httpx over urllib3, and :func:`trusted`, whose certificates it believes. Keep out
what a slow or silent archive means (``transport``) and where the bytes go.

httpx's own transport unpacks replies through h11, which copies every byte three times and costs a small file as much
as all the rest of its way: 0.5 s of processor time for a gigabyte, half of what a download over a quick line takes.
urllib3 reads a body straight from the connection, and the connection can be used again.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, cast

import httpx
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError

from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

__all__ = ["Wire", "trusted"]

#: Connections to one host that are kept open; more are opened when needed, and closed after use.
CONNECTIONS = 16
#: The most that is read at once (bytes).
READ_BYTES = 256 * 1024
#: The same of a packed reply: deflate makes a thousandfold of it at the worst, before anybody can look at its size.
PACKED_BYTES = 64 * 1024
#: Seconds without a byte after which a connection is not used again, as in httpx: a router on the way may have
#: forgotten it by then, without a word, and the next request would wait for its whole time limit.
IDLE_SECONDS = 5.0


def trusted() -> ssl.SSLContext:
    """Return what tells which certificates to believe: those of ``SSL_CERT_FILE``, or the usual ones.

    Raises
    ------
    BadInputError
        When ``SSL_CERT_FILE`` names something that holds no certificates.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as problem:  # ssl's own are of this kind, too
        named = os.environ.get("SSL_CERT_FILE")
        if not named:
            raise
        raise BadInputError(
            f"SSL_CERT_FILE {named!r}",
            f"holds no certificates that can be read ({problem.strerror or problem})",
            "set it to a file of certificates in PEM form, or unset it",
        ) from problem


class Wire(httpx.BaseTransport):
    """Connections to archives, shared by threads; without proxies.

    Parameters
    ----------
    context : ssl.SSLContext or None
        From :func:`trusted`; ``None`` where TLS is not expected: urllib3's own then, which checks certificates, too.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._pools = urllib3.PoolManager(maxsize=CONNECTIONS, ssl_context=context)
        self._pools.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

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
        if reply.status < 200:
            # What http.client takes for the reply only came before it, and that would be the next request's.
            reply.close()
            reply.release_conn()
            raise httpx.RemoteProtocolError(f"status {reply.status} in place of an answer", request=request)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
        return httpx.Response(reply.status, headers=headers, stream=_Body(request, reply))

    def close(self) -> None:
        """Close the connections."""
        self._pools.clear()


class _Line(HTTPConnection):
    """A connection that urllib3 opens anew when it was idle for long."""

    #: When the last bytes came (s, monotonic).
    heard = 0.0

    @property
    def is_connected(self) -> bool:
        """Tell whether a request may go over it; urllib3 asks before each."""
        return super().is_connected and monotonic() - self.heard < IDLE_SECONDS


class _SecureLine(_Line, HTTPSConnection):
    """The same with TLS."""


class _Pool(urllib3.HTTPConnectionPool):
    """Connections to one host."""

    ConnectionCls = _Line


class _SecurePool(urllib3.HTTPSConnectionPool):
    """Connections with TLS to one host."""

    ConnectionCls = _SecureLine


class _Body(httpx.SyncByteStream):
    """The body of a reply as it comes, in pieces as the line gives them."""

    def __init__(self, request: httpx.Request, reply: BaseHTTPResponse) -> None:
        self._request = request
        self._reply = reply
        self._line = cast("_Line", reply.connection)  # the reply forgets it at its end
        self._line.heard = monotonic()
        self._most = PACKED_BYTES if "content-encoding" in reply.headers else READ_BYTES
        self._over = False

    def __iter__(self) -> Iterator[bytes]:
        with _told(self._request):
            while piece := self._reply.read1(self._most, decode_content=False):
                self._line.heard = monotonic()
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
    except NewConnectionError as problem:  # a kind of ConnectTimeoutError, too
        raise httpx.ConnectError(_reason(problem), request=request) from problem
    except SSLError as problem:
        # A certificate stays what it is; a handshake cut short or a damaged record may pass.
        lasting = isinstance(problem.args[0], ssl.SSLCertVerificationError)
        raise (httpx.ConnectError if lasting else httpx.ReadError)(_reason(problem), request=request) from problem
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
