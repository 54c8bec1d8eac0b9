"""How requests reach one archive: time limits, retries, and failures told apart.

Holds: :class:`Transport`, the one HTTP client through which both astroquery's questions and the
downloads go. It contacts the configured archive only (redirects may lead to the same site), gives
up in bounded time, and raises the kinds of :mod:`hwosim_assets.archive.errors`. Keep out what is
asked (``mast``, ``client``) and what is done with the bytes (``download``).
"""

from __future__ import annotations

import ipaddress
import ssl
import string
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeVar
from urllib.parse import quote, urljoin

from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import Url, parse_url

from hwosim_assets.archive.errors import (
    ArchiveAnswerError,
    ArchiveBrokenError,
    ArchiveError,
    ArchiveMissingError,
    ArchiveRefusedError,
    ArchiveSilentError,
    ArchiveSlowError,
    ArchiveUnreachableError,
)
from hwosim_assets.archive.pace import Pace, seconds_asked
from hwosim_assets.archive.wire import Answer, Wire, basic, proxy_of, trusted
from hwosim_assets.errors import BadInputError
from hwosim_assets.settings import redacted

__all__ = ["Reply", "Transport", "shown"]

T = TypeVar("T")

#: Seconds before the second and the third attempt; a fourth there is not.
PAUSES = (0.25, 1.0)
#: The longest that a ``Retry-After`` is obeyed, in seconds; beyond it the archive counts as failed.
LONGEST_PAUSE = 60.0
#: An archive that sends less than this over a whole time limit counts as too slow, in bytes per second.
LEAST_RATE = 1024
#: The largest reply to a question, in bytes; MAST's largest page (50 000 rows) is about 100 MB.
LARGEST_REPLY = 512 * 1024 * 1024
#: Requests a second that an archive elsewhere is asked at the most, unless the settings say otherwise.
POLITE_RATE = 10.0
#: A redirect leads to another, so many times at the most.
REDIRECTS = 10
#: The body of a redirect is read up to here, in bytes; a longer one costs its connection.
REDIRECT_BYTES = 64 * 1024
#: The most that is told of what came from outside, in characters.
LONGEST_TOLD = 300
PROXY_HINT = "check HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or name the archive's host in NO_PROXY"
SERVE_HINT = "check HWOSIM_ARCHIVE_URL and that the archive runs (`hwosim archive serve`)"


@dataclass(frozen=True)
class Reply:
    """A whole reply.

    Attributes
    ----------
    url : str
        What was asked.
    status : int
        HTTP status, below 400.
    headers : mapping of str to str
        As received; names in any case.
    content : bytes
        Decoded from any transfer or content encoding.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes


class Transport:
    """An HTTP client of one archive.

    Parameters
    ----------
    url : str
        Root of the archive, ``https://mast.stsci.edu`` for example.
    token : str or None
        MAST API token, sent as ``Authorization: token …`` to the archive's own host only.
    timeout : float
        Seconds without an answer after which the archive counts as silent.
    per_second : float or None
        Requests a second at the most, of all threads together; 0 for no limit, ``None`` for none on this
        machine and :data:`POLITE_RATE` elsewhere.

    Raises
    ------
    BadInputError
        When the URL is not an HTTP URL, the token cannot be sent or would cross the network in the clear, or
        ``SSL_CERT_FILE`` holds no certificates (which does not matter to ``http://`` on this machine).
    """

    def __init__(
        self, url: str, *, token: str | None = None, timeout: float = 60.0, per_second: float | None = None
    ) -> None:
        try:
            self.root = parse_url(url)
        except (LocationValueError, TypeError, AttributeError):  # it repeats the address, with its password
            raise BadInputError(f"archive {redacted(url)!r}", "is not a URL", "set HWOSIM_ARCHIVE_URL") from None
        if self.root.scheme not in {"http", "https"} or not self.root.host:
            raise BadInputError(
                f"archive {redacted(url)!r}",
                "is not an HTTP URL",
                "set HWOSIM_ARCHIVE_URL, for example http://127.0.0.1:8080",
            )
        self.url = url.rstrip("/")
        self._site = _site(self.root)
        self.timeout = timeout
        here = _is_loopback(self.root.host)
        self._pace = Pace(per_second if per_second is not None else 0.0 if here else POLITE_RATE)
        self._headers = {
            "user-agent": f"hwosim/{version('hwosim-platform')}",
            "accept": "*/*",
            "accept-encoding": "gzip, deflate",
        }
        token = (token or "").strip()  # a secret that is mounted as a file ends in a line feed
        if token:
            if not (token.isascii() and token.isprintable()):
                raise BadInputError(
                    "MAST_API_TOKEN",
                    "holds characters that no token has (not ASCII, or not printable)",
                    "set it to the token as MAST shows it, or unset it",
                )
            if self.root.scheme == "http" and not here:
                raise BadInputError(
                    f"archive {redacted(url)!r}",
                    "would be sent the token MAST_API_TOKEN in the clear",
                    "use https:// in HWOSIM_ARCHIVE_URL, or unset MAST_API_TOKEN",
                )
            self._headers["authorization"] = f"token {token}"
        context = None if here and self.root.scheme == "http" else trusted()
        self._wire = Wire(context, timeout, None if here else proxy_of(self.root))

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        check: Callable[[Reply], None] | None = None,
    ) -> Reply:
        """Send a request and return the whole reply.

        Parameters
        ----------
        method : str
            HTTP method.
        url : str
            Absolute URL at this archive.
        content : bytes or str or None
            Body.
        headers : mapping or None
            Further headers.
        check : callable or None
            Looks at the reply and raises an :class:`ArchiveError` if it is not what it should be; one that may
            pass is asked for again.

        Returns
        -------
        Reply
            With a status below 400.

        Raises
        ------
        ArchiveError
            Of the kind that says what went wrong.
        """

        def attempt() -> Reply:
            with self._open(method, url, content, headers) as response:
                parts, size = [], 0
                for chunk in self.paced(response.pieces(unpacked=True), response):
                    size += len(chunk)
                    if size > LARGEST_REPLY:
                        raise ArchiveAnswerError(
                            shown(response.url),
                            f"reply exceeds {LARGEST_REPLY} bytes",
                            "ask for less",
                            rule="too_large",
                        )
                    parts.append(chunk)
                reply = Reply(response.url.url, response.status, response.headers, b"".join(parts))
            if check is not None:
                check(reply)
            return reply

        return self._retried(attempt)

    @contextmanager
    def stream(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        """Open a reply whose body is read as it comes (see :meth:`paced`).

        Parameters
        ----------
        method : str
            ``GET`` or ``HEAD``.
        url : str
            Absolute URL at this archive.
        headers : mapping
            Further headers.

        Yields
        ------
        Answer
            Status below 400, or 416.

        Raises
        ------
        ArchiveError
            Of the kind that says what went wrong.
        """
        opened = self._retried(lambda: self._send(method, url, None, headers))
        try:
            yield opened
        finally:
            opened.close()

    def paced(self, chunks: Iterator[bytes], response: Answer) -> Iterator[bytes]:
        """Pass chunks on while they keep coming.

        Only the time spent waiting for the archive counts, not what the reader does in between.

        Parameters
        ----------
        chunks : iterator of bytes
            From :meth:`Answer.pieces`.
        response : Answer
            Whose chunks they are.

        Yields
        ------
        bytes
            The chunks.

        Raises
        ------
        ArchiveSlowError
            When less than :data:`LEAST_RATE` came over a whole time limit.
        ArchiveError
            When the connection breaks off or falls silent.
        """
        waited, came = 0.0, 0
        while True:
            began = time.monotonic()
            try:
                chunk = next(chunks, None)
            except HTTPError as problem:
                raise self._told(problem, response.url) from problem
            if chunk is None:
                return
            waited += time.monotonic() - began
            came += len(chunk)
            if waited >= self.timeout:
                if came < LEAST_RATE * waited:
                    raise ArchiveSlowError(
                        shown(response.url),
                        f"too slow: {came} bytes in {waited:.1f} s",
                        "try again later, or raise HWOSIM_ARCHIVE_TIMEOUT_SECONDS",
                        rule="too_slow",
                    )
                waited, came = 0.0, 0
            yield chunk

    @contextmanager
    def _open(
        self, method: str, url: str, content: bytes | str | None, headers: Mapping[str, str] | None
    ) -> Iterator[Answer]:
        response = self._send(method, url, content, headers)
        try:
            yield response
        finally:
            response.close()

    def _send(self, method: str, url: str, content: bytes | str | None, headers: Mapping[str, str] | None) -> Answer:
        """Send once, in turn; raise the kind of error that the failure or the status means."""
        self._pace.wait()
        body = content.encode() if isinstance(content, str) else content
        try:
            at = parse_url(url)
        except LocationValueError:  # it repeats the address, with its password
            raise ArchiveAnswerError(shown(url), "is no URL", SERVE_HINT, rule="bad_answer") from None
        try:
            response = self._answer(method, at, body, self._headers_for(at, headers or {}))
        except HTTPError as problem:
            raise self._told(problem, url) from problem
        if response.status >= 400 and response.status != 416:
            response.close()
            refusal = _refusal(response, self._wire.proxy)
            if refusal.wait:
                self._pace.hold(min(refusal.wait, LONGEST_PAUSE))
            raise refusal
        return response

    def _headers_for(self, url: Url, headers: Mapping[str, str]) -> dict[str, str]:
        """Return ours and further headers; a user name and password in the URL go before a token."""
        named = self._headers | {name.lower(): value for name, value in headers.items()}
        if url.auth:
            named["authorization"] = basic(url.auth)
        return named

    def _answer(self, method: str, url: Url, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Send, and go where the archive points, within its site; what proves who we are is for its own host only."""
        for _ in range(REDIRECTS + 1):
            self._keep_to_site(url)
            if _netloc(url) != self._site[1]:
                headers = {name: value for name, value in headers.items() if name != "authorization"}
            response = self._wire.send(method, url, headers, body)
            place = response.headers.get("location")
            if response.status not in {301, 302, 303, 307, 308} or not place:
                return response
            self._pass_over(response)
            if response.status in {301, 302, 303} and method not in {"GET", "HEAD"}:
                method, body = "GET", None
                headers = {name: value for name, value in headers.items() if name != "content-type"}
            url = _place(url, place)
        raise ArchiveAnswerError(
            shown(url), f"leads from place to place, more than {REDIRECTS} times", SERVE_HINT, rule="bad_answer"
        )

    def _pass_over(self, response: Answer) -> None:
        """Read what a redirect says besides, if it is little, so that its connection can be used again."""
        left = REDIRECT_BYTES
        with suppress(ArchiveError):  # where it leads is known already
            for piece in self.paced(response.pieces(), response):
                left -= len(piece)
                if left < 0:
                    break
        response.close()

    def _retried(self, attempt: Callable[[], T]) -> T:
        """Attempt again, shortly, what may pass: server errors, "too many", broken connections."""
        for pause in PAUSES:
            try:
                return attempt()
            except ArchiveError as failure:
                if not failure.passing or failure.wait > LONGEST_PAUSE:
                    raise
                time.sleep(max(pause, failure.wait))
        return attempt()

    def _keep_to_site(self, url: Url) -> None:
        """Refuse to leave the archive: same host and port, or a sister host (``*.stsci.edu`` of ``mast.stsci.edu``)."""
        if _site(url) == self._site:
            return
        host, ours = url.host or "", self.root.host or ""
        at_home = url.scheme in {"http", "https"} and _netloc(url) == self._site[1]
        if not at_home:
            parent = ours.split(".", 1)[1] if ours.count(".") >= 2 else ours
            at_home = url.scheme in {"http", "https"} and not _is_address(ours) and host.endswith(f".{parent}")
        if not at_home or (self.root.scheme == "https" and url.scheme != "https"):
            raise ArchiveAnswerError(
                shown(self.root),
                _printable(f"leads to another host, {url.scheme}://{_netloc(url)}"),
                "set HWOSIM_ARCHIVE_URL to that host if you trust it",
                rule="other_host",
            )

    def _told(self, problem: HTTPError, url: Url | str) -> ArchiveError:
        """Say what a failure of the connection means."""
        where, hint = shown(url), SERVE_HINT
        through = f" through the proxy {self._wire.proxy}" if self._wire.proxy else ""
        lasting = False
        if isinstance(problem, ProxyError):
            if not isinstance(problem.original_error, SSLError):  # whose certificate it was, the text says
                hint = PROXY_HINT
            lasting = str(problem.original_error).startswith("Tunnel connection failed: 4")
            if isinstance(problem.original_error, HTTPError):
                problem = problem.original_error
        detail = _reason(problem)
        # a certificate stays what it is; a handshake cut short or a damaged record may pass
        lasting |= isinstance(problem, SSLError) and isinstance(problem.args[0], ssl.SSLCertVerificationError)
        if lasting or isinstance(problem, NewConnectionError):  # the latter is a kind of ConnectTimeoutError, too
            return ArchiveUnreachableError(where, f"unreachable{through} ({detail})", hint, rule="unreachable")
        if isinstance(problem, ConnectTimeoutError):
            return ArchiveUnreachableError(
                where, f"no connection within {self.timeout:g} s{through}", hint, rule="unreachable"
            )
        if isinstance(problem, ReadTimeoutError):
            return ArchiveSilentError(
                where,
                f"time-out, no answer within {self.timeout:g} s{through}",
                "try again later, or raise HWOSIM_ARCHIVE_TIMEOUT_SECONDS",
                rule="timeout",
            )
        if isinstance(problem, (LocationValueError, DecodeError)):
            return ArchiveAnswerError(where, f"cannot be asked ({detail})", SERVE_HINT, rule="bad_answer")
        return ArchiveUnreachableError(
            where, f"the connection broke off{through} ({detail})", hint, rule="broken_off", passing=True
        )


def shown(url: Url | str) -> str:
    """Return a URL for people: without user name and password."""
    try:
        parts = parse_url(url) if isinstance(url, str) else url
    except LocationValueError:
        return _printable(redacted(str(url)))
    return _printable(f"{parts.scheme}://{_netloc(parts)}{parts.request_uri}".rstrip("/"))


def _printable(told: str) -> str:
    """Return what came from outside as a terminal may show it: without what would steer it, and not without end."""
    short = told if len(told) <= LONGEST_TOLD else f"{told[:LONGEST_TOLD]}…"
    return "".join(character if character.isprintable() else "?" for character in short)


def _place(url: Url, place: str) -> Url:
    """Return where a ``Location`` leads; http.client takes its bytes for latin-1, and they are sent as they came."""
    try:
        return parse_url(urljoin(url.url, quote(place.strip().encode("latin-1"), safe=string.punctuation)))
    except ValueError:  # it repeats the address, which may hold a password
        raise ArchiveAnswerError(shown(url), "leads to what is no URL", SERVE_HINT, rule="bad_answer") from None


def _reason(problem: HTTPError) -> str:
    """Return what went wrong: urllib3 names its own objects before it, or wraps another exception."""
    inner = " ".join(str(problem.args[-1] if problem.args else problem).split()) or type(problem).__name__
    return _printable(inner.rpartition(": ")[2] if isinstance(problem, NewConnectionError) else inner)


def _netloc(url: Url) -> str:
    """Return host and port, without the port that the scheme means anyway."""
    usual = {"http": 80, "https": 443}.get(url.scheme or "")
    return url.host or "" if url.port in (None, usual) else f"{url.host}:{url.port}"


def _site(url: Url) -> tuple[str | None, str]:
    """Return scheme, host and port."""
    return url.scheme, _netloc(url)


def _refusal(response: Answer, proxy: str) -> ArchiveError:
    """Say what a status of 400 and above means."""
    where, status = shown(response.url), response.status
    rule = f"http_{status}"
    if status == 407 and proxy:
        return ArchiveUnreachableError(
            where, f"unreachable through the proxy {proxy} (status 407)", PROXY_HINT, rule=rule
        )
    if status in {401, 403}:
        return ArchiveRefusedError(
            where,
            f"refused with status {status}, exclusive access or a token that is missing, wrong or expired",
            "set MAST_API_TOKEN to a token that may read it",
            rule=rule,
        )
    if status in {404, 410}:
        return ArchiveMissingError(where, f"not found (status {status})", "check the name", rule=rule)
    if status == 429 or status >= 500:
        return ArchiveBrokenError(
            where,
            "too many requests, status 429" if status == 429 else f"server error, status {status}",
            "try again later",
            rule=rule,
            passing=True,
            wait=seconds_asked(response.headers.get("retry-after", "")),
        )
    return ArchiveAnswerError(where, f"refused the request with status {status}", SERVE_HINT, rule=rule)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback)
