"""FITS files wherever they lie, opened so that only their headers are read.

Holds: :func:`opened`: a path, ``file://``, ``s3://``, ``http(s)://`` or ``mast:``, as a seekable file that
counts what it cost. Keep out what is read from it (``fits``), and windows (``fits.ranged``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.fits.ranged import Part, RangedFile
from hwosim_assets.settings import redacted

if TYPE_CHECKING:
    from hwosim_assets.archive.transport import Transport
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.settings import Settings

__all__ = ["Opened", "opened", "opened_object"]

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
#: Seconds without an answer from an address outside the archive.
_TIMEOUT = 60.0


@dataclass(frozen=True)
class Opened:
    """A FITS file to read headers from.

    Attributes
    ----------
    source : pathlib.Path or RangedFile
        What ``fits.blocks.scan`` takes.
    name : str
        For errors, without secrets.
    """

    source: Path | RangedFile
    name: str

    @property
    def stream(self) -> Path | BinaryIO:
        """The source as readers of FITS take it."""
        return self.source if isinstance(self.source, Path) else cast("BinaryIO", self.source)

    @property
    def cost(self) -> dict[str, int | None]:
        """Requests made and bytes fetched so far; of a local file unknown, since the system reads ahead."""
        if isinstance(self.source, Path):
            return {"requests": 0, "bytes": None, "size": self.source.stat().st_size}
        return {"requests": self.source.requests, "bytes": self.source.fetched_bytes, "size": self.source.size}


@contextmanager
def opened(address: str, settings: Settings) -> Iterator[Opened]:
    """Open a FITS file by path or address.

    Parameters
    ----------
    address : str
        A path, or a ``file://``, ``s3://``, ``http://``, ``https://`` or ``mast:`` address.
    settings : Settings
        Say which archive ``mast:`` means, with its token.

    Yields
    ------
    Opened
        Valid inside the block.

    Raises
    ------
    BadInputError
        When the address is of another kind, or there is nothing.
    HwosimError
        When store, archive or server fails, here or from any read.
    """
    from urllib3.util import parse_url

    from hwosim_assets.archive.transport import Transport

    scheme = address.partition(":")[0].lower() if re.match(r"(?i)[a-z0-9+.-]{2,}:", address) else ""
    try:
        parts = urlsplit(address)
        if scheme in ("http", "https"):
            parse_url(address)
    except ValueError:  # it repeats the address, with its password
        raise BadInputError(redacted(address), "is not a URL", "give one such as https://host/path.fits") from None
    if scheme in ("", "file"):
        yield Opened(Path(unquote(parts.path)) if scheme else Path(address), address)
    elif scheme == "s3":
        from hwosim_assets.lake.store import Lake

        yield opened_object(Lake(f"s3://{parts.netloc}"), address.removeprefix(f"s3://{parts.netloc}/"))
    elif scheme == "mast":
        from hwosim_assets.archive.client import ArchiveClient

        token = settings.mast_api_token.get_secret_value() if settings.mast_api_token else None
        transport = Transport(settings.archive_url, token=token, timeout=settings.archive_timeout_seconds)
        with ArchiveClient.from_settings(settings) as client:
            url = client.download_url(address)
        try:
            yield _opened_http(transport, url, address)
        finally:
            transport.close()
    elif scheme in ("http", "https"):
        transport = Transport(f"{scheme}://{parts.netloc}", timeout=_TIMEOUT)
        try:
            yield _opened_http(transport, address, redacted(address))
        finally:
            transport.close()
    else:
        raise BadInputError(redacted(address), f"has the scheme {scheme}", "give a path, file, s3, http(s) or mast:")


def opened_object(lake: Lake, key: str) -> Opened:
    """Open an object of a store: the file itself in a folder, ranged requests on S3.

    Raises
    ------
    NotStoredError
        If there is no such object.
    """
    if lake.place.folder is not None:
        return Opened(lake.place.folder / key, lake.uri_of(key))

    def fetch(start: int, length: int, etag: str) -> Part:
        data, stored = lake.read_part(key, start, length, etag=etag)
        return Part(data, stored.size, stored.etag)

    return Opened(RangedFile(lake.uri_of(key), fetch), lake.uri_of(key))


def _opened_http(transport: Transport, url: str, name: str) -> Opened:
    """Open a file of an HTTP server that answers ranged requests."""

    def fetch(start: int, length: int, etag: str) -> Part:
        asked = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{start + length - 1}"}
        with transport.stream("GET", url, asked | ({"If-Range": etag} if etag.startswith('"') else {})) as reply:
            if reply.status == 416 and start == 0:
                return Part(b"", 0, "")
            found = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", ""))
            if reply.status != 206 or found is None or int(found[1]) != start:
                raise HwosimError(
                    name, "the server sends no ranges, or the file changed", "download the file and read it here"
                )
            data = b""
            for chunk in transport.paced(reply.pieces(), reply):
                data += chunk
                if len(data) >= length:
                    break
            return Part(data[:length], int(found[2]), reply.headers.get("etag", ""))

    return Opened(RangedFile(name, fetch), name)
