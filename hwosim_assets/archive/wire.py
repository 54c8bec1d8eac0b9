"""How the bytes of a request and its reply cross the line.

Holds: :class:`Wire`, connections to archives over urllib3, :class:`Answer`, a reply as it comes, and :func:`trusted`,
whose certificates are believed. Keep out what a slow, silent or redirecting archive means (``transport``) and where the
bytes go.

urllib3 reads a body straight from the connection, and a request costs it a quarter of a millisecond of processor time,
half of what httpx takes: of files of some kilobytes that is most of all that there is to do.
"""

from __future__ import annotations

import base64
import http.client
import os
import ssl
from collections.abc import Iterator, Mapping
from functools import lru_cache
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import LocationValueError, ProtocolError
from urllib3.util import Url, parse_url

from hwosim_assets.errors import BadInputError
from hwosim_assets.settings import redacted

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

__all__ = ["Answer", "Wire", "basic", "proxy_of", "trusted"]

#: Connections to one host that are kept open; more are opened when needed, and closed after use.
CONNECTIONS = 16
#: Hosts whose connections are remembered: an archive has one, and those that it leads to.
HOSTS = 8
#: The most that is read at once (bytes).
READ_BYTES = 256 * 1024
#: The same of a packed reply: deflate makes a thousandfold of it at the worst, before anybody can look at its size.
PACKED_BYTES = 64 * 1024
#: Seconds without a byte after which a connection is not used again: a router on the way may have
#: forgotten it by then, without a word, and the next request would wait for its whole time limit.
IDLE_SECONDS = 5.0
#: So many answers may come before the answer (``103 Early Hints`` for example, RFC 8297).
EARLY_ANSWERS = 20


def trusted() -> ssl.SSLContext:
    """Return what tells which certificates to believe.

    Those in the file that ``SSL_CERT_FILE`` names, else those in the folder that ``SSL_CERT_DIR`` names, each under
    its hash (``openssl rehash``), else those that Mozilla believes, as the package ``certifi`` has them.

    Raises
    ------
    BadInputError
        When ``SSL_CERT_FILE`` names something that holds no certificates.
    """
    named, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if named or not folder:
            return ssl.create_default_context(cafile=named or certifi.where())
        return ssl.create_default_context(capath=folder)
    except OSError as problem:  # ssl's own are of this kind, too
        if not named:
            raise
        raise BadInputError(
            f"SSL_CERT_FILE {named!r}",
            f"holds no certificates that can be read ({problem.strerror or problem})",
            "set it to a file of certificates in PEM form, or unset it",
        ) from problem


def proxy_of(url: Url) -> str | None:
    """Return the proxy through which the environment wants a URL to be reached, ``None`` where none is named.

    Parameters
    ----------
    url : urllib3.util.Url
        Of the archive.

    Returns
    -------
    str or None
        From ``HTTP_PROXY``, ``HTTPS_PROXY`` or ``ALL_PROXY``, unless ``NO_PROXY`` names the host.
    """
    proxies = getproxies()
    named = proxies.get(url.scheme or "") or proxies.get("all")
    if not named or proxy_bypass(url.netloc or ""):
        return None
    return named if "://" in named else f"http://{named}"


def basic(named: str) -> str:
    """Return the header value for a user name and password that stand in an address, in UTF-8 (RFC 7617).

    Parameters
    ----------
    named : str
        What stands before the ``@``, percent-encoded; the password may be absent.
    """
    user, _, password = named.partition(":")
    return f"Basic {base64.b64encode(f'{unquote(user)}:{unquote(password)}'.encode()).decode()}"


class Wire:
    """Connections to archives, shared by threads.

    Parameters
    ----------
    context : ssl.SSLContext or None
        From :func:`trusted`; ``None`` where TLS is not expected: urllib3's own then, which checks certificates, too.
    timeout : float
        Seconds that a connection may take, and seconds without a byte of a reply.
    proxy : str or None
        From :func:`proxy_of`.

    Raises
    ------
    BadInputError
        When the proxy is not one that can be spoken to.

    Attributes
    ----------
    proxy : str
        The proxy as it may be shown; empty where there is none.
    """

    def __init__(self, context: ssl.SSLContext | None, timeout: float, proxy: str | None = None) -> None:
        self._timeout = urllib3.Timeout(connect=timeout, read=timeout)
        self.proxy = redacted(proxy or "")
        if proxy is None:
            self._pools = urllib3.PoolManager(maxsize=CONNECTIONS, ssl_context=context)
        else:
            self._pools = _through(proxy, context)
        self._pools.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        self._pool = lru_cache(HOSTS)(self._pools.connection_from_host)

    def send(self, method: str, url: Url, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send a request and return its reply, of which the headers have come.

        Parameters
        ----------
        method : str
            HTTP method.
        url : urllib3.util.Url
            With scheme and host.
        headers : mapping
            As they are to be sent.
        body : bytes or None
            To be sent.

        Returns
        -------
        Answer
            Of any status; to be closed.

        Raises
        ------
        urllib3.exceptions.HTTPError
            When there is none.
        """
        pool = self._pool(url.host, url.port, url.scheme)
        # to a proxy that does not only dig a tunnel the whole address is said
        told = url._replace(auth=None, fragment=None).url if self.proxy and url.scheme == "http" else url.request_uri
        reply = pool.urlopen(
            method,
            told,
            body=body,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=self._timeout,
            preload_content=False,
            decode_content=False,
        )
        if reply.status < HTTPStatus.OK:
            reply.close()
            reply.release_conn()
            raise ProtocolError(f"status {reply.status} in place of an answer")
        return Answer(url, reply)

    def close(self) -> None:
        """Close the connections."""
        self._pool.cache_clear()
        self._pools.clear()


class Answer:
    """A reply whose body is read as it comes.

    Parameters
    ----------
    url : urllib3.util.Url
        Who answered.
    reply : urllib3.response.BaseHTTPResponse
        The reply, its headers read.

    Attributes
    ----------
    url : urllib3.util.Url
        Who answered.
    status : int
        HTTP status.
    headers : mapping of str to str
        As received; names in any case.
    """

    def __init__(self, url: Url, reply: BaseHTTPResponse) -> None:
        self.url = url
        self.status = reply.status
        self.headers: Mapping[str, str] = reply.headers
        self._reply = reply
        self._line = cast("_Line", reply.connection)  # the reply forgets it at its end
        self._line.heard = monotonic()
        self._most = PACKED_BYTES if "content-encoding" in reply.headers else READ_BYTES

    def pieces(self, *, unpacked: bool = False) -> Iterator[bytes]:
        """Yield the body in pieces as the line gives them.

        Parameters
        ----------
        unpacked : bool
            Whether ``Content-Encoding`` is undone.

        Yields
        ------
        bytes
            Never empty.

        Raises
        ------
        urllib3.exceptions.HTTPError
            When the reply breaks off, falls silent or cannot be unpacked.
        """
        while piece := self._reply.read1(self._most, decode_content=unpacked):
            self._line.heard = monotonic()
            yield piece

    def close(self) -> None:
        """Give the connection back; one with bytes on it that nobody read is closed."""
        if self._reply.connection is not None:  # urllib3 gave it back where it has seen the end
            if self._reply.length_remaining == 0:
                self._reply.read1(1)  # lets it see that a reply without a body is over
            else:
                self._reply.close()
        self._reply.release_conn()


class _Head(http.client.HTTPResponse):
    """A reply of which only the last answer counts: what is said before it, is passed over (RFC 9110, 15.2)."""

    def _read_status(self) -> tuple[str, int, str]:
        """Read the line that an answer begins with; http.client itself would wait through ``100 Continue`` for ever."""
        for _ in range(EARLY_ANSWERS):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status >= HTTPStatus.OK or status == HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.BadStatusLine(f"status {status} in place of an answer")


class _Line(HTTPConnection):
    """A connection that urllib3 opens anew when it was idle for long."""

    response_class = _Head
    #: When the last bytes came (s, monotonic).
    heard = 0.0

    @property
    def is_connected(self) -> bool:
        """Tell whether a request may go over it; urllib3 asks before each."""
        return monotonic() - self.heard < IDLE_SECONDS and super().is_connected


class _SecureLine(_Line, HTTPSConnection):
    """The same with TLS."""


class _Pool(urllib3.HTTPConnectionPool):
    """Connections to one host."""

    ConnectionCls = _Line


class _SecurePool(urllib3.HTTPSConnectionPool):
    """Connections with TLS to one host."""

    ConnectionCls = _SecureLine


def _through(proxy: str, context: ssl.SSLContext | None) -> urllib3.PoolManager:
    """Return connections through a proxy, with the user name and password that stand in its address."""
    refused = BadInputError(
        f"proxy {redacted(proxy)!r}",
        "is not the address of an HTTP proxy",
        "set HTTPS_PROXY, HTTP_PROXY or ALL_PROXY to http://host:port, or unset it",
    )
    try:
        parts = parse_url(proxy)
        given = {"proxy-authorization": basic(parts.auth)} if parts.auth else None
        bare = parts._replace(auth=None).url
        pools = urllib3.ProxyManager(
            bare, maxsize=CONNECTIONS, proxy_headers=given, ssl_context=context, proxy_ssl_context=context
        )
    except (LocationValueError, AssertionError):  # it may repeat the address, with its password
        raise refused from None
    if not parts.host:
        raise refused
    return pools
