"""The bytes of one archive file, as a stream that can start anywhere.

Holds: :func:`open_stream`, which asks for a file from an offset, checks what the archive says about
it, and continues by itself when the connection breaks off. Keep out where the bytes go
(``lake.ingest``) and how long the archive may take (``transport``).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from hwosim_assets.archive.errors import ArchiveAnswerError, ArchiveError
from hwosim_assets.archive.transport import SERVE_HINT, Transport, shown
from hwosim_assets.archive.wire import Answer

__all__ = ["ByteStream", "Facts", "facts_of", "open_stream"]

#: How often one stream continues after a broken connection before it gives up.
CONTINUATIONS = 3
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_SHA256 = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")
#: Bytes are wanted as they are stored, with their digest where the archive knows it (RFC 9530).
_AS_STORED = {"Accept-Encoding": "identity", "Want-Repr-Digest": "sha-256=1"}


@dataclass(frozen=True)
class Facts:
    """What an archive says about a file.

    Attributes
    ----------
    size : int or None
        Bytes of the whole file.
    etag : str or None
        Strong entity tag, quotes included; changes with the file.
    sha256 : str or None
        Hexadecimal digest of the whole file.
    """

    size: int | None
    etag: str | None
    sha256: str | None


@dataclass(frozen=True)
class ByteStream:
    """A file of the archive being read.

    Attributes
    ----------
    size : int or None
        Bytes of the whole file, not of what is left of it.
    etag : str or None
        Strong entity tag, quotes included.
    sha256 : str or None
        Hexadecimal digest of the whole file, where the archive tells it.
    offset : int
        Where ``chunks`` begin: the offset asked for, or 0 when the archive sends the whole file
        instead (it knows no ranges, or the file is no longer the one with the given tag).
    chunks : iterator of bytes
        The bytes from ``offset`` to the end, in pieces of any length.
    """

    size: int | None
    etag: str | None
    sha256: str | None
    offset: int
    chunks: Iterator[bytes]


def facts_of(transport: Transport, url: str) -> Facts:
    """Ask what an archive says about a file, without its bytes.

    Parameters
    ----------
    transport : Transport
        The archive.
    url : str
        Of the file.

    Returns
    -------
    Facts
        Unknown ones are ``None``.

    Raises
    ------
    ArchiveError
        When the archive fails or does not have the file.
    """
    with transport.stream("HEAD", url, _AS_STORED) as response:
        return Facts(_length(response.headers.get("content-length")), _etag(response), _sha256(response))


@contextmanager
def open_stream(transport: Transport, url: str, offset: int = 0, etag: str | None = None) -> Iterator[ByteStream]:
    """Open a file of the archive for reading.

    Parameters
    ----------
    transport : Transport
        The archive.
    url : str
        Of the file.
    offset : int
        First byte wanted.
    etag : str or None
        Tag of the file whose first ``offset`` bytes are at hand; if the archive's file is another by
        now, the stream begins at 0.

    Yields
    ------
    ByteStream
        Look at its ``offset`` before using the chunks.

    Raises
    ------
    ArchiveError
        On opening, or from the chunks, when the archive fails or breaks off for good.
    """
    with ExitStack() as stack:
        response = stack.enter_context(transport.stream("GET", url, _AS_STORED | _range(offset, etag)))
        start, size = _extent(response, offset)
        # "Nothing lies there" need not carry a tag: had If-Range not held, the whole file had come (RFC 9110, 13.1.5).
        tag = etag if response.status == 416 else _etag(response)
        chunks = _continued(transport, url, response, stack, start, size, tag)
        yield ByteStream(size, tag, _sha256(response), start, chunks)


def _continued(
    transport: Transport,
    url: str,
    response: Answer,
    stack: ExitStack,
    position: int,
    size: int | None,
    etag: str | None,
) -> Iterator[bytes]:
    """Read to the end; after a broken connection continue where it broke, if it is still the same file."""
    left = CONTINUATIONS
    while True:
        if response.status == 416:
            return
        try:
            for chunk in transport.paced(response.pieces(), response):
                position += len(chunk)
                yield chunk
        except ArchiveError as failure:
            if not failure.passing or etag is None or left == 0:
                raise
        else:
            return
        left -= 1
        if position == size:
            return
        response.close()
        response = stack.enter_context(transport.stream("GET", url, _AS_STORED | _range(position, etag)))
        start, size_now = _extent(response, position)
        if start != position or size_now != size:
            raise ArchiveAnswerError(
                shown(url), "the file changed while it was read", "ingest the program again", rule="changed"
            )


def _range(offset: int, etag: str | None) -> dict[str, str]:
    if offset <= 0:
        return {}
    return {"Range": f"bytes={offset}-"} | ({"If-Range": etag} if etag else {})


def _extent(response: Answer, offset: int) -> tuple[int, int | None]:
    """Return where a reply begins in the file, and the file's size."""
    if response.status not in {206, 416}:
        return 0, _length(response.headers.get("content-length"))
    said = response.headers.get("content-range", "")
    found = _CONTENT_RANGE.fullmatch(said)
    size = _length(found.group(3)) if found else None
    if response.status == 416 and found and size == offset:
        return offset, size
    if response.status == 206 and found and found.group(1) and int(found.group(1)) == offset:
        return offset, size
    raise ArchiveAnswerError(
        shown(response.url),
        f"asked for bytes from {offset} on, got status {response.status} with {said or 'no'} range",
        f"delete the partial file, or {SERVE_HINT}",
        rule="bad_range",
    )


def _length(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _etag(response: Answer) -> str | None:
    tag = response.headers.get("etag", "")
    return tag if tag.startswith('"') else None


def _sha256(response: Answer) -> str | None:
    found = _SHA256.search(response.headers.get("repr-digest", ""))
    if not found:
        return None
    try:
        digest = base64.b64decode(found.group(1), validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == 32 else None
