"""The object store of the lake: one root URI, ``file://`` or ``s3://``, objects written once.

Holds: :class:`Lake`, which reads, writes, lists and deletes whole objects by key, and turns the
store's failures into errors that name the store and the mend. Keep out what keys look like
(``lake.layout``) and what the objects mean.

An object appears whole or not at all, and is never overwritten: content that changed gets a new
key. On S3 an object larger than ``SINGLE_PUT_BYTES`` is uploaded in parts (``lake.uploads``), create-only
as well. Keys carry an ingest id or a content hash, so two writers never mean different bytes by the same key.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.lake.disk import flush
from hwosim_assets.lake.place import Place, store_errors
from hwosim_assets.lake.uploads import PART_BYTES, UPLOAD_LIFE, Uploads

if TYPE_CHECKING:
    from obstore import GetOptions

    from hwosim_assets.settings import Settings

__all__ = ["AlreadyStoredError", "Lake", "NotStoredError", "Stored"]

#: Below this size one request stores an object, create-only on either store (bytes).
SINGLE_PUT_BYTES = 16 * 1024 * 1024
#: Where objects are prepared and probes are written; never listed.
STAGING = ".staging"
#: Staged files older than this belong to a writer that was killed.
STAGING_LIFE = timedelta(days=1)
_TEMPORARY = re.compile(r"#\d+$")


class AlreadyStoredError(HwosimError):
    """The key is taken; the lake never overwrites."""


class NotStoredError(HwosimError):
    """There is no object of that key."""


@dataclass(frozen=True)
class Stored:
    """What the store says of one object.

    Attributes
    ----------
    key : str
        Key inside the lake.
    size : int
        Size in bytes.
    etag : str
        The store's entity tag, empty where it has none.
    modified : datetime.datetime
        Time of writing, UTC.
    """

    key: str
    size: int
    etag: str
    modified: datetime


def checked_key(key: str) -> str:
    """Return a key, or refuse one that could leave the lake or mean two things.

    Raises
    ------
    BadInputError
        If the key is empty or absolute, has empty, ``.``, ``..`` or unprintable parts, or ends in
        ``#`` and digits, which obstore keeps for its own temporary files.
    """
    bad_part = any(part in ("", ".", "..") for part in key.split("/"))
    if bad_part or "\\" in key or not key.isprintable() or _TEMPORARY.search(key):
        raise BadInputError(f"lake key {key[:200]!r}", "is not a relative path of plain names", "use lake.layout")
    return key


class Lake:
    """The objects under one root URI.

    Parameters
    ----------
    uri : str
        ``file:///folder`` or ``s3://bucket/prefix``. Credentials, region and endpoint of S3 come
        from the ``AWS_*`` environment, ``AWS_ENDPOINT_URL`` included, or from the AWS profile.

    Raises
    ------
    BadInputError
        If the URI is neither.
    """

    def __init__(self, uri: str) -> None:
        self.place = Place.parse(uri)
        self.uri = self.place.uri
        self._opened: Any = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Lake:
        """Return the lake of ``HWOSIM_LAKE_URI``."""
        return cls(settings.lake_uri)

    @property
    def _store(self) -> Any:
        if self._opened is None:
            with store_errors(self.place):
                self._opened = self.place.open_store()
        return self._opened

    # ------------------------------------------------------------------ names

    def uri_of(self, key: str) -> str:
        """Return the URI of an object, percent-encoded where it is a ``file://`` URI."""
        return self.place.uri_of(checked_key(key))

    def key_of(self, uri: str) -> str:
        """Return the key of an object's URI.

        Raises
        ------
        BadInputError
            If the URI lies outside this lake.
        """
        return checked_key(self.place.key_of(uri))

    # ------------------------------------------------------------------ reading

    def head(self, key: str) -> Stored | None:
        """Return size, entity tag and time of an object; ``None`` where there is none."""
        import obstore

        checked_key(key)
        try:
            with store_errors(self.place, key):
                return _stored(obstore.head(self._store, key))
        except FileNotFoundError:
            return None

    def read(self, key: str) -> bytes:
        """Return an object's bytes.

        Raises
        ------
        NotStoredError
            If there is no such object.
        """
        import obstore

        with self._reading(key):
            return bytes(obstore.get(self._store, key).bytes())

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``; fewer where the object ends before.

        Raises
        ------
        NotStoredError
            If there is no such object.
        """
        import obstore

        stored = self.head(key)
        if stored is None:
            raise self._absent(key)
        end = min(start + length, stored.size)
        if start < 0 or end <= start:
            return b""
        with self._reading(key):
            return bytes(obstore.get_range(self._store, key, start=start, end=end))

    def read_part(self, key: str, start: int, length: int, *, etag: str = "") -> tuple[bytes, Stored]:
        """Return some bytes of an object and what the store says of it, in one request.

        Parameters
        ----------
        key : str
            The object.
        start, length : int
            Which bytes; fewer come where the object ends before.
        etag : str, optional
            Tag that the object must still have.

        Raises
        ------
        NotStoredError
            If there is no such object.
        HwosimError
            If it has another tag by now.
        """
        import obstore
        from obstore.exceptions import GenericError, PreconditionError

        options: GetOptions = {"range": (start, start + length)}
        if etag:
            options["if_match"] = etag
        with self._reading(key):
            try:
                found = obstore.get(self._store, key, options=options)
                return bytes(found.bytes()), _stored(found.meta)
            except PreconditionError:
                raise HwosimError(self.uri_of(key), "changed while it was read", "read it again") from None
            except GenericError as error:
                # no range lies in an empty object: S3 answers 416
                stored = self.head(key) if start == 0 and "416" in str(error) else None
                if stored is None or stored.size:
                    raise
                return b"", stored

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """Give an object as a local file: the object itself on ``file://`` (read only!), else a temporary copy.

        Raises
        ------
        NotStoredError
            If there is no such object.
        """
        if self.place.folder is not None:
            path = self.place.folder / checked_key(key)
            if not path.is_file():
                raise self._absent(key)
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="hwosim-") as folder:
            path = Path(folder) / Path(key).name
            self._fetch(key, path)
            yield path

    def _fetch(self, key: str, path: Path) -> None:
        import obstore

        with self._reading(key), path.open("wb") as file:
            for chunk in obstore.get(self._store, key).stream(min_chunk_size=PART_BYTES):
                file.write(chunk)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield the objects below a prefix of whole path parts, in no order."""
        import obstore

        with store_errors(self.place, prefix):
            for batch in obstore.list(self._store, prefix=prefix.rstrip("/") or None):
                for entry in batch:
                    if not entry["path"].startswith(STAGING + "/"):
                        yield _stored(entry)

    # ------------------------------------------------------------------ writing

    def write_new(self, key: str, data: bytes | Path | Iterable[bytes]) -> None:
        """Store an object under a key that is free; it appears whole or not at all, after a power cut too.

        Writers take what lies under a key made of its content for whole, and do not write it again.

        Parameters
        ----------
        key : str
            A free key.
        data : bytes, pathlib.Path or iterable of bytes
            The content; a file or an iterable is streamed with bounded memory.

        Raises
        ------
        AlreadyStoredError
            If the key is taken.
        HwosimError
            If the store is full, absent or refuses.
        """
        import obstore

        checked_key(key)
        chunks = _chunks(data)
        if self._written(key, chunks, awaited=True):
            return
        try:
            with store_errors(self.place, key):
                if self.place.folder is not None:
                    self._write_staged(self.place.folder, key, chunks)
                    return
                first = _gather(chunks, SINGLE_PUT_BYTES)
                if len(first) < SINGLE_PUT_BYTES:
                    obstore.put(self._store, key, first, mode="create", use_multipart=False)
                    return
                if self.head(key) is not None:
                    raise self._taken(key)  # before gigabytes are sent
                Uploads(self.place).store(key, chain([first], chunks))
        except FileExistsError:
            raise self._taken(key) from None

    def take_in(self, key: str, content: Path | bytes) -> None:
        """Store a local file under a free key and remove it, or store bytes; in a folder nobody may write to it then.

        A file is moved, not copied, where lake and file share a disk, and not waited for: see :meth:`settle`.

        Raises
        ------
        AlreadyStoredError
            If the key is taken; the file stays.
        HwosimError
            If the store is full, absent or refuses; the file stays.
        """
        if isinstance(content, bytes):
            if not self._written(key, [content], awaited=False):
                self.write_new(key, content)
            return
        if not self._linked(key, content):
            self.write_new(key, content)
        content.unlink()

    def _written(self, key: str, chunks: Iterable[bytes], *, awaited: bool) -> bool:
        """Write a file without a name and give it one when it is whole; say whether the disk could.

        A kill leaves nothing behind, and it takes fewer calls of the system than a name that is changed. Awaited, it
        gets its name when the disk has its bytes; else the disk may have the name before, and a power cut leave that.
        """
        if self.place.folder is None or not hasattr(os, "O_TMPFILE"):
            return False
        final = f"{self.place.folder}/{checked_key(key)}"  # pathlib's joining and making cost as much as the writing
        folder = final.rpartition("/")[0]
        with store_errors(self.place, key):
            _make(folder)
            try:
                file = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o444)
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                    return False
                raise
            try:
                for chunk in chunks:
                    left = memoryview(chunk)
                    while left:
                        left = left[os.write(file, left) :]
                if awaited:
                    os.fsync(file)
                # with src_dir_fd Python calls linkat, which can follow /proc's link; without, link, which cannot
                os.link(f"/proc/self/fd/{file}", final, src_dir_fd=file, follow_symlinks=True)
            except FileExistsError:
                raise self._taken(key) from None
            finally:
                os.close(file)
        return True

    def _linked(self, key: str, path: Path) -> bool:
        """Give the file a second name inside the lake; say whether the disk could."""
        if self.place.folder is None:
            return False
        final = self.place.folder / checked_key(key)
        with store_errors(self.place, key):
            _make(str(final.parent))
            try:
                os.link(path, final)
                final.chmod(0o444)  # nobody writes into a stored object by its local path
            except FileExistsError:
                raise self._taken(key) from None
            except OSError as error:
                if error.errno in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                    return False
                raise
        return True

    def settle(self) -> None:
        """Wait until a power cut would leave every object that was stored; S3 has promised as much already.

        Raises
        ------
        HwosimError
            If the disk failed or is full.
        """
        if self.place.folder is not None:
            with store_errors(self.place):
                flush(self.place.folder)

    def _write_staged(self, folder: Path, key: str, chunks: Iterable[bytes]) -> None:
        """Write a file under another name first, on a disk that knows no files without one."""
        import obstore

        staged = f"{STAGING}/{uuid.uuid4().hex}"
        try:
            obstore.put(self._store, staged, chunks, chunk_size=PART_BYTES, max_concurrency=4)
            with (folder / staged).open("rb") as file:
                os.fsync(file.fileno())
            obstore.rename(self._store, staged, key, overwrite=False)
        except BaseException:
            (folder / staged).unlink(missing_ok=True)
            raise

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        import obstore

        checked_key(key)
        try:
            with store_errors(self.place, key):
                obstore.delete(self._store, key)
        except FileNotFoundError:
            return

    def sweep(self) -> int:
        """Remove what killed writers left half-prepared more than a day ago; return the number of files or uploads.

        Raises
        ------
        BackendAbsentError
            If an S3 store cannot be reached or refuses.
        """
        if self.place.folder is None:
            return Uploads(self.place).abandon(UPLOAD_LIFE)
        before = (datetime.now(UTC) - STAGING_LIFE).timestamp()
        swept = 0
        for path in (self.place.folder / STAGING).glob("*"):
            with suppress(FileNotFoundError):  # its writer is done with it, or somebody else sweeps
                if path.stat().st_mtime < before:
                    path.unlink()
                    swept += 1
        return swept

    def check(self) -> None:
        """Write, read and remove a probe.

        Raises
        ------
        BackendAbsentError
            If the store cannot be reached, the bucket is missing, or the credentials are wrong or
            may not write; the message tells which.
        """
        import obstore

        probe = f"{STAGING}/{uuid.uuid4().hex}"
        with store_errors(self.place):
            obstore.put(self._store, probe, b"hwosim", use_multipart=False)
            obstore.head(self._store, probe)
            obstore.delete(self._store, probe)

    # ------------------------------------------------------------------ errors

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        checked_key(key)
        try:
            with store_errors(self.place, key):
                yield
        except FileNotFoundError:
            raise self._absent(key) from None

    def _absent(self, key: str) -> NotStoredError:
        return NotStoredError(self.uri_of(key), "is not in the lake", "materialize the asset that writes it again")

    def _taken(self, key: str) -> AlreadyStoredError:
        return AlreadyStoredError(self.uri_of(key), "is in the lake already and never overwritten", "use a new key")


def _make(folder: str) -> None:
    """Make a folder, and those above it where they are not there."""
    with suppress(FileExistsError):  # if it is no folder, whoever puts a file into it is told so
        try:
            os.mkdir(folder)  # noqa: PTH102
        except FileNotFoundError:
            _make(folder.rpartition("/")[0])
            os.mkdir(folder)  # noqa: PTH102


def _stored(entry: Any) -> Stored:
    return Stored(entry["path"], int(entry["size"]), entry.get("e_tag") or "", entry["last_modified"])


def _chunks(data: bytes | Path | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
    elif isinstance(data, Path):
        with data.open("rb") as file:
            while chunk := file.read(PART_BYTES):
                yield chunk
    else:
        yield from data


def _gather(chunks: Iterator[bytes], size: int) -> bytes:
    """Take chunks until at least ``size`` bytes are together, or all of them."""
    taken: list[bytes] = []
    total = 0
    for chunk in chunks:
        taken.append(chunk)
        total += len(chunk)
        if total >= size:
            break
    return taken[0] if len(taken) == 1 else b"".join(taken)
