"""Public files from the archive's S3 mirror, everything else from the archive itself.

Holds: :class:`MirroredArchive`, a source of bytes for ingest. The archive is asked what a file is (size,
digest) and where it lies; the bytes come from the bucket, read without credentials, if the object there has
the archive's size. Keep out questions (``client``) and HTTP downloads (``download``).

A mirror lags behind its archive: what it does not have, or has in another size, comes from the archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.download import ByteStream, Facts
from hwosim_assets.archive.errors import ArchiveUnreachableError
from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.place import client_options
from hwosim_assets.settings import redacted

if TYPE_CHECKING:
    from obstore.store import S3Store

__all__ = ["MirroredArchive"]

#: Where MAST's mirror lies (https://registry.opendata.aws/collab/stsci/).
HOME_REGION = "us-east-1"
CHUNK_BYTES = 1024 * 1024


class MirroredArchive:
    """An archive whose public files are also in a bucket.

    Parameters
    ----------
    client : ArchiveClient
        The archive.
    mirror : str
        ``s3://stpubdata``, or ``https://host/bucket`` for a bucket of another S3-compatible server.

    Raises
    ------
    BadInputError
        When the mirror is neither.
    """

    def __init__(self, client: ArchiveClient, mirror: str) -> None:
        self._client = client
        self._mirror = mirror.rstrip("/")
        self._store = _opened(self._mirror)

    def facts(self, data_uri: str) -> Facts:
        """Return what the archive says of a file; the tag is the mirror's where it has the file."""
        said = self._client.facts(data_uri)
        found = self._found(data_uri, said.size)
        return Facts(said.size, _tag(found), said.sha256) if found else said

    @contextmanager
    def open(self, data_uri: str, offset: int = 0, etag: str | None = None) -> Iterator[ByteStream]:
        """Open a file at an offset, or at 0 where it is no longer the one of the tag.

        Yields
        ------
        ByteStream
            From the mirror where it has the file, else from the archive.

        Raises
        ------
        ArchiveError
            On entering, or from the chunks, when archive or mirror fail.
        """
        said = self._client.facts(data_uri)
        found = self._found(data_uri, said.size)
        if found is None:
            with self._client.open(data_uri, offset, etag) as stream:
                yield stream
            return
        tag = _tag(found)
        start = offset if offset <= found["size"] and tag is not None and tag == etag else 0
        yield ByteStream(found["size"], tag, said.sha256, start, self._chunks(found, start))

    def _found(self, data_uri: str, size: int | None) -> Any:
        """Return the mirror's object of a file, or None where it is not the archive's."""
        import obstore
        from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

        path = self._client.mirror_path(data_uri)
        if not path:
            return None
        try:
            found = obstore.head(self._store, path.lstrip("/"))
        except (NotFoundError, FileNotFoundError, PermissionDeniedError, UnauthenticatedError):
            return None
        except (BaseError, OSError) as problem:
            raise self._failed(problem) from problem
        return found if found["size"] == size else None

    def _chunks(self, found: Any, start: int) -> Iterator[bytes]:
        """Yield the bytes from an offset; the object must stay the one that was found."""
        import obstore
        from obstore.exceptions import BaseError

        if start == found["size"]:
            return
        try:
            options: Any = {"range": (start, found["size"]), "if_match": found["e_tag"]}
            for chunk in obstore.get(self._store, found["path"], options=options).stream(CHUNK_BYTES):
                yield bytes(chunk)
        except (BaseError, OSError) as problem:
            raise self._failed(problem) from problem

    def _failed(self, problem: Exception) -> ArchiveUnreachableError:
        said = (str(problem).splitlines() or [type(problem).__name__])[0][:200]
        return ArchiveUnreachableError(
            f"mirror {self._mirror}",
            f"does not give the file ({said})",
            "try again later, or unset HWOSIM_ARCHIVE_MIRROR",
            rule="broken_off",
            passing=True,
        )


def _opened(mirror: str) -> S3Store:
    from obstore.store import S3Store

    parts = urlsplit(mirror)
    bucket = parts.netloc if parts.scheme == "s3" else parts.path.strip("/")
    if parts.scheme not in ("s3", "http", "https") or not bucket or "/" in bucket or parts.username:
        raise BadInputError(
            "HWOSIM_ARCHIVE_MIRROR",
            f"cannot be {redacted(mirror)[:100]!r}",
            "give s3://stpubdata, or https://host/bucket",
        )
    amazon = f"https://s3.{HOME_REGION}.amazonaws.com"
    return S3Store(
        bucket,
        endpoint=amazon if parts.scheme == "s3" else f"{parts.scheme}://{parts.netloc}",
        region=HOME_REGION,
        skip_signature=True,
        virtual_hosted_style_request=False,
        client_options=client_options(plain_http=parts.scheme == "http"),
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=30)},
    )


def _tag(found: Any) -> str | None:
    """Return the object's tag as a strong entity tag."""
    tag = (found["e_tag"] or "").strip('"')
    return f'"{tag}"' if tag else None
