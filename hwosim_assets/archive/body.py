"""The bytes of a reply's body, as quickly as the line gives them.

Holds: :func:`raw_bytes`. Keep out what a slow or silent archive means (``transport``) and where the bytes go.

httpx unpacks a body through h11, which copies every byte three times: 0.5 s of processor time for a gigabyte, half
of what a download over a quick line costs. Where a large body of known length comes quickly, its rest is therefore
read from the connection itself, through httpx's extension ``network_stream``. Such a connection cannot be used again,
because h11 does not know how much was read; opening the next one costs some round trips, which is why a slow line is
left to httpx.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpcore
import httpx

__all__ = ["raw_bytes"]

#: So much is read through httpx before the line is judged, and so much must be left to be worth a connection (bytes).
TRIAL_BYTES = 8 * 1024 * 1024
#: From this rate on the processor is what limits a connection (bytes per second).
QUICK = 50e6
#: The most that is read at once (bytes).
READ_BYTES = 256 * 1024


def raw_bytes(response: httpx.Response) -> Iterator[bytes]:
    """Yield the bytes of a body, as sent.

    Parameters
    ----------
    response : httpx.Response
        Opened as a stream, nothing of its body read; the caller closes it.

    Yields
    ------
    bytes
        In pieces of any length.

    Raises
    ------
    httpx.HTTPError
        As ``iter_raw`` does: when the connection breaks off, ends early or falls silent.
    """
    size = _known_size(response)
    pieces = response.iter_raw()
    came, waited = 0, 0.0
    while size is None or came < TRIAL_BYTES or size - came < TRIAL_BYTES or came < QUICK * waited:
        began = time.perf_counter()
        piece = next(pieces, None)
        if piece is None:
            return
        waited += time.perf_counter() - began
        came += len(piece)
        yield piece
    # `pieces` stays referred to: httpx closes the connection with it. h11 keeps nothing back, it hands out all it has.
    yield from _from_connection(response, came, size)


def _known_size(response: httpx.Response) -> int | None:
    """Return how long a body is that stands on the line as it is; ``None`` where it is packed or nobody knows."""
    length = response.headers.get("content-length", "")
    plain = response.http_version == "HTTP/1.1" and "transfer-encoding" not in response.headers
    known = plain and "network_stream" in response.extensions and length.isascii() and length.isdigit()
    return int(length) if known else None


def _from_connection(response: httpx.Response, came: int, size: int) -> Iterator[bytes]:
    """Read the rest of a body of known size from its connection, told as httpx tells it."""
    line = response.extensions["network_stream"]
    timeout = response.request.extensions["timeout"]["read"]
    while came < size:
        try:
            piece = line.read(min(READ_BYTES, size - came), timeout)
        except httpcore.ReadTimeout as problem:
            raise httpx.ReadTimeout(str(problem), request=response.request) from problem
        except httpcore.ReadError as problem:
            raise httpx.ReadError(str(problem), request=response.request) from problem
        if not piece:
            told = (
                f"peer closed connection without sending complete message body (received {came} bytes, expected {size})"
            )
            raise httpx.RemoteProtocolError(told, request=response.request)
        came += len(piece)
        yield piece
