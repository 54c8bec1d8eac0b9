"""How PyIceberg reaches the files of tables in an S3 store: few requests, and none for what was seen before.

Holds: :class:`S3FileIO`, PyIceberg's ``py-io-impl`` for ``s3://`` warehouses. Keep out where a lake lies
(``lake.place``) and what is written (``lake.tables``).

Every file of an Iceberg table is written once under a name with a UUID and never changed; only the catalog's
pointer moves. So a process keeps the metadata that it wrote or read, up to :data:`KEPT_BYTES`, and asks the store for
none of them again. Rows are read from the store each time. PyArrow's file system, which PyIceberg uses else, takes two
requests and more to read a small file, five or six to write one and four to delete one; here it is one each. Large
data files are read through PyArrow, by ranges, and uploaded in parts.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import obstore
import pyarrow as pa
from pyiceberg.io import InputFile, OutputFile
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.place import Place, client_options, profile_credentials, store_errors

if TYPE_CHECKING:
    from obstore import WritableFile

__all__ = ["S3FileIO"]

#: A data file up to this size is read whole (bytes), as metadata always are.
SMALL = 256 << 10
#: What a process keeps of metadata (bytes).
KEPT_BYTES = 64 << 20
#: A file up to this size is written in one request, a larger one in parts of it (bytes); S3 takes 10 000 parts.
PART = 8 << 20
#: PyIceberg's properties of an S3 store, and what obstore calls them.
_OPTIONS = {
    "s3.endpoint": "endpoint",
    "s3.region": "region",
    "s3.access-key-id": "access_key_id",
    "s3.secret-access-key": "secret_access_key",
    "s3.session-token": "session_token",
}


class _Kept:
    """The metadata that a process has seen last, by store and location."""

    def __init__(self, size: int) -> None:
        self._size, self._held = size, 0
        self._files: OrderedDict[tuple[Any, str], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[Any, str]) -> bytes | None:
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
            return self._files.get(key)

    def put(self, key: tuple[Any, str], content: bytes) -> None:
        with self._lock:
            self._held += len(content) - len(self._files.pop(key, b""))
            self._files[key] = content
            while self._held > self._size:
                self._held -= len(self._files.popitem(last=False)[1])

    def drop(self, key: tuple[Any, str]) -> None:
        with self._lock:
            self._held -= len(self._files.pop(key, b""))


_kept = _Kept(KEPT_BYTES)


@lru_cache(maxsize=8)
def _store(bucket: str, options: frozenset[tuple[str, str]]) -> Any:
    """Return the obstore store of a bucket; one for all tables, so that connections are used again."""
    from obstore.store import S3Store

    given: dict[str, Any] = dict(options)
    if "access_key_id" not in given:
        given["credential_provider"] = profile_credentials(Place.parse(f"s3://{bucket}"))
    return S3Store(
        bucket,
        client_options=client_options(plain_http=given.get("endpoint", "").startswith("http://")),
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
        **given,
    )


class S3FileIO(PyArrowFileIO):
    """PyIceberg's way to an S3 store; its properties are those of PyIceberg's own ``PyArrowFileIO``.

    Files that are not in S3 (a catalog may name a lake of before, on disk) are left to that one.
    """

    def new_input(self, location: str) -> PyArrowFile:
        """Return a file to read; nothing is asked before it is opened."""
        file = self._file(location)
        return super().new_input(location) if file is None else file

    def new_output(self, location: str) -> PyArrowFile:
        """Return a file to write; it appears whole when its stream is closed."""
        file = self._file(location)
        return super().new_output(location) if file is None else file

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Delete a file; S3 does not say whether there was one.

        Raises
        ------
        OSError
            If the store does not delete it. PyIceberg deletes after its commit and goes on after this error only:
            what is committed is not to be told as failed.
        """
        file = self._file(location if isinstance(location, str) else location.location)
        if file is None:
            return super().delete(location)
        try:
            file.delete()
        except HwosimError as error:
            raise OSError(str(error)) from error

    def _file(self, location: str) -> _S3File | None:
        """Return a file of an S3 store, ``None`` for one elsewhere."""
        scheme, bucket, path = self.parse_location(location, self.properties)
        if scheme not in ("s3", "s3a", "s3n"):
            return None
        options = frozenset((name, self.properties[key]) for key, name in _OPTIONS.items() if self.properties.get(key))
        return _S3File(location, path, self.fs_by_scheme(scheme, bucket), bucket, options)


class _S3File(PyArrowFile):
    """A file of a table, to read and to write."""

    def __init__(self, location: str, path: str, fs: Any, bucket: str, options: frozenset[tuple[str, str]]) -> None:
        super().__init__(location, path, fs)
        self._place = Place.parse(f"s3://{bucket}")
        self._key = path.removeprefix(f"{bucket}/")
        self._options = options
        self._identity = (options, location)
        self._is_data = location.endswith(".parquet")
        #: Bytes that were written through this object; PyIceberg asks for the size of what it has just written.
        self.written: int | None = None

    @property
    def _objects(self) -> Any:
        return _store(self._place.bucket, self._options)

    def __len__(self) -> int:
        """Return the size in bytes."""
        if self.written is not None:
            return self.written
        with store_errors(self._place, self._key):
            return int(obstore.head(self._objects, self._key)["size"])

    def exists(self) -> bool:
        """Ask the store whether the file is there now, whatever this process keeps."""
        try:
            with store_errors(self._place, self._key):
                obstore.head(self._objects, self._key)
        except FileNotFoundError:
            return False
        return True

    def open(self, seekable: bool = True) -> Any:
        """Return the content as a stream.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """
        kept = _kept.get(self._identity)
        if kept is None:
            with store_errors(self._place, self._key):
                found = obstore.get(self._objects, self._key, options={"range": (0, SMALL)} if self._is_data else {})
                kept = bytes(found.bytes())
                if len(kept) < found.meta["size"]:
                    return super().open(seekable)
            self._keep(kept)
        return pa.BufferReader(kept)

    def create(self, overwrite: bool = False) -> Any:
        """Return a stream to write.

        Whether the name is taken is not asked: it carries a UUID, and the one way to find it taken is a request of
        our own whose answer was lost.
        """
        return _Stream(self)

    def to_input_file(self) -> _S3File:
        """Return the file to read."""
        return self

    def delete(self) -> None:
        """Delete the object."""
        _kept.drop(self._identity)
        with store_errors(self._place, self._key):
            obstore.delete(self._objects, self._key)

    def store(self, content: bytes) -> None:
        """Write the whole file in one request."""
        with store_errors(self._place, self._key):
            obstore.put(self._objects, self._key, content, use_multipart=False)
        self._keep(content)

    def _keep(self, content: bytes) -> None:
        if not self._is_data:
            _kept.put(self._identity, content)

    def upload(self) -> WritableFile:
        """Return a writer that uploads in parts."""
        return obstore.open_writer(self._objects, self._key, buffer_size=PART)


class _Stream(io.RawIOBase):
    """Gathers what is written: a small file is one request, a larger one is uploaded in parts as it grows."""

    def __init__(self, file: _S3File) -> None:
        self._file = file
        self._written = 0
        self._gathered = io.BytesIO()
        self._upload: WritableFile | None = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, content: Any) -> int:
        size = memoryview(content).nbytes
        self._written += size
        if self._upload is None and self._written <= PART:
            return self._gathered.write(content)
        if self._upload is None:
            self._upload = self._file.upload()
            self._upload.write(self._gathered.getvalue())
        self._upload.write(bytes(content))
        return size

    def close(self) -> None:
        if self.closed:
            return
        try:
            if self._upload is None:
                self._file.store(self._gathered.getvalue())
            else:
                self._upload.close()
            self._file.written = self._written
        finally:
            super().close()
