"""Uploads in parts to an S3 store: continued after a kill, create-only, and none that stays unfinished for ever.

Holds: :class:`Uploads`. Keep out which objects are large enough for parts and what a folder does instead
(``lake.store``). It speaks through boto3, since obstore 0.12 can neither find an unfinished upload again nor end one
only where the key is free.

S3 keeps the parts of an unfinished upload, unseen and paid for, until somebody ends it. Keys carry a hash of the
content or an ingest's id, so an unfinished upload of the same key was of the same bytes. It is gone on with where the
tag of its first part says so, which is an MD5 where the store does not encrypt by a key; only the parts are sent that
are missing. Two writers may do so at once: each part is the same from both, one ends the upload and the other finds the
object there. MinIO lists no unfinished uploads below a prefix; it ends them itself after a day.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.layout import FOLDERS
from hwosim_assets.lake.place import Place, store_errors

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

__all__ = ["PART_BYTES", "UPLOAD_LIFE", "Uploads"]

#: Size of the parts (bytes); S3 takes at most 10 000, so 80 GB.
PART_BYTES = 8 * 1024 * 1024
#: Parts of an object under way at once; as many are in memory.
AT_ONCE = 4
#: An unfinished upload that got no part for so long: its writer was killed, and nobody wants the file now.
UPLOAD_LIFE = timedelta(days=1)
#: What S3 says where another writer ended the same upload, or has the key by now.
_ENDED = frozenset({"NoSuchUpload", "PreconditionFailed", "ConditionalRequestConflict"})
#: What a store says that cannot list uploads, or may not.
_UNLISTED = frozenset({"AccessDenied", "NotImplemented", "MethodNotAllowed"})


@lru_cache(maxsize=8)
def _client(endpoint: str, region: str) -> Any:
    """Return boto3's client of a store; threads may share it. Addresses as obstore writes them."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"max_attempts": 4, "mode": "standard"},
        max_pool_connections=4 * AT_ONCE,
        s3={"addressing_style": "path"},
        # a checksum of its own kind is more than other makers' stores understand
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    # obstore and PyArrow believe SSL_CERT_FILE, boto3 by itself AWS_CA_BUNDLE only
    trusted = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None
    return boto3.session.Session().client(
        "s3", region_name=region, endpoint_url=endpoint or None, verify=trusted, config=config
    )


class Uploads:
    """The uploads in parts below one S3 place.

    Parameters
    ----------
    place : Place
        Bucket and prefix; endpoint, region and credentials come from the environment or the AWS profile.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def store(self, key: str, chunks: Iterable[bytes]) -> None:
        """Store an object in parts under a free key, from where a killed writer was.

        Parameters
        ----------
        key : str
            Key below the place.
        chunks : iterable of bytes
            The content, in pieces of any size.

        Raises
        ------
        FileExistsError
            If the key is taken, or taken meanwhile.
        HwosimError
            If another writer ended this upload and made no object.
        BackendAbsentError
            If the store cannot be reached or refuses.
        """
        with self._asked(key):
            pieces = _pieces(chunks)
            first = next(pieces, b"")
            upload, had = self._begun(key, _tag(first))
            ends = [*self._sent(upload, had, chain([first], pieces))]
            self._end(upload, ends)

    def abandon(self, older_than: timedelta) -> int:
        """Abort the lake's uploads that got no part for so long; return their number.

        Others' in the same bucket are left alone: only keys as the lake makes them are looked at.

        Raises
        ------
        BackendAbsentError
            If the store cannot be reached or refuses. That it may not be asked for its uploads is logged.
        """
        before, aborted = datetime.now(UTC) - older_than, 0
        root = f"{self._place.prefix}/" if self._place.prefix else ""
        with self._asked(""), self._where_permitted():
            for found in self._unfinished(root):
                ours = found["Key"].removeprefix(root).partition("/")[0] in FOLDERS
                if ours and found["Initiated"] < before:
                    aborted += self._abandoned(self._named(found), before)
        return aborted

    def _abandoned(self, upload: dict[str, str], before: datetime) -> bool:
        """Abort an upload that got no part since a time; say whether it was aborted here."""
        from botocore.exceptions import ClientError

        try:
            if any(part["LastModified"] >= before for part in self._parts(upload)):
                return False  # begun long ago, gone on with since
            self._s3.abort_multipart_upload(**upload)
        except ClientError as error:
            if _code(error) != "NoSuchUpload":
                raise
            return False  # somebody else ended it meanwhile
        return True

    # ------------------------------------------------------------------ one upload

    @property
    def _s3(self) -> Any:
        return _client(self._place.endpoint, self._place.region)

    def _named(self, found: dict[str, Any]) -> dict[str, str]:
        """Return the parameters that name an upload in every request."""
        return {"Bucket": self._place.bucket, "Key": found["Key"], "UploadId": found["UploadId"]}

    def _begun(self, key: str, first: str) -> tuple[dict[str, str], dict[int, str]]:
        """Return an upload whose first part has this tag, or a new one, and the tags of the parts that it has."""
        name = f"{self._place.prefix}/{key}" if self._place.prefix else key
        with self._where_permitted():
            for found in self._unfinished(name):
                if found["Key"] == name:
                    upload = self._named(found)
                    had = {part["PartNumber"]: part["ETag"].strip('"') for part in self._parts(upload)}
                    if had.get(1) == first:
                        return upload, had
        begun = self._s3.create_multipart_upload(Bucket=self._place.bucket, Key=name, **_encryption())
        return self._named({"Key": name, "UploadId": begun["UploadId"]}), {}

    def _unfinished(self, prefix: str) -> Iterator[dict[str, Any]]:
        pages = self._s3.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self._place.bucket, Prefix=prefix):
            yield from page.get("Uploads", [])

    def _parts(self, upload: dict[str, str]) -> Iterator[dict[str, Any]]:
        for page in self._s3.get_paginator("list_parts").paginate(**upload):
            yield from page.get("Parts", [])

    def _sent(self, upload: dict[str, str], had: dict[int, str], pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        """Send the parts that the store does not have, a few at once; yield what ends the upload, in order."""
        under_way: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="upload") as pool:
            for number, content in enumerate(pieces, 1):
                if len(under_way) == AT_ONCE:
                    yield under_way.popleft().result()
                under_way.append(pool.submit(self._send, upload, number, content, had.get(number, "")))
            for part in under_way:
                yield part.result()

    def _send(self, upload: dict[str, str], number: int, content: bytes, had: str) -> dict[str, Any]:
        """Send a part unless the store has it."""
        if had and had == _tag(content):
            return {"PartNumber": number, "ETag": had}
        reply = self._s3.upload_part(**upload, PartNumber=number, Body=content)
        return {"PartNumber": number, "ETag": reply["ETag"]}

    def _end(self, upload: dict[str, str], parts: list[dict[str, Any]]) -> None:
        """Make the object of its parts where the key is free; else nothing of the upload stays."""
        from botocore.exceptions import ClientError

        try:
            self._s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except ClientError as error:
            if _code(error) == "PreconditionFailed":
                with self._where_permitted():
                    self._s3.abort_multipart_upload(**upload)
            raise

    # ------------------------------------------------------------------ errors

    @contextmanager
    def _where_permitted(self) -> Iterator[None]:
        """Leave unfinished uploads alone, and say so, where the store does not let us look at them."""
        from botocore.exceptions import ClientError

        try:
            yield
        except ClientError as error:
            if _code(error) not in _UNLISTED:
                raise
            logging.getLogger(__name__).warning(
                "unfinished uploads to %s are neither continued nor aborted: %s; grant s3:ListBucketMultipartUploads, "
                "s3:ListMultipartUploadParts and s3:AbortMultipartUpload, or give the bucket a lifecycle rule "
                "AbortIncompleteMultipartUpload",
                self._place.uri,
                error,
            )

    @contextmanager
    def _asked(self, key: str) -> Iterator[None]:
        """Turn boto3's errors into those of the store."""
        from botocore.exceptions import BotoCoreError, ClientError

        with store_errors(self._place, key):
            try:
                yield
            except ClientError as error:
                if _code(error) in _ENDED:
                    raise self._ended(key) from error
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "unknown")
                raise OSError(f"{error} (status code: {status})") from error
            except BotoCoreError as error:
                raise OSError(str(error)) from error

    def _ended(self, key: str) -> Exception:
        """Return what it means that this upload was ended by another writer: its object is there, or it gave up."""
        import obstore
        from obstore.exceptions import NotFoundError

        try:
            obstore.head(self._place.open_store(), key)
        except (NotFoundError, FileNotFoundError):
            thing = self._place.uri_of(key)
            return HwosimError(thing, "its upload was ended by another writer, with no object", "run again")
        return FileExistsError(key)


def _encryption() -> dict[str, str]:
    """Return how the environment wants objects encrypted; obstore, which sends small ones, reads it by itself."""
    if not (kind := os.environ.get("AWS_SERVER_SIDE_ENCRYPTION")):
        return {}
    with_key = os.environ.get("AWS_SSE_KMS_KEY_ID")
    return {"ServerSideEncryption": kind} | ({"SSEKMSKeyId": with_key} if with_key else {})


def _tag(part: bytes) -> str:
    """Return the entity tag of a part: its MD5, unless the store encrypts it by a key."""
    return hashlib.md5(part, usedforsecurity=False).hexdigest()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut content into parts of one size, whatever the size of its chunks: the same parts each time."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= PART_BYTES:
            yield bytes(held[:PART_BYTES])
            del held[:PART_BYTES]
    if held:
        yield bytes(held)
