"""One file's way from the archive into a part file: resumed, bounded, checked.

Holds: what a source of bytes must offer (:class:`ByteSource`), :class:`PartFile`, and
:func:`receive`. Keep out which files are wanted and where they go in the lake (``lake.ingest``).

A part file is continued only when the archive gave a strong entity tag and gives the same one now;
otherwise bytes of two versions of a file could meet in one. A small file that comes quickly never touches the disk
before it is complete: making and removing a file of its own would cost more than asking for it again.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol

from hwosim_assets.errors import HwosimError

__all__ = ["ByteSource", "ByteStream", "Facts", "Meter", "PartFile", "Received", "RefusedError", "Wanted", "receive"]

#: How often one file is asked for, as long as each time brings bytes.
ATTEMPTS = 3
#: What has come of a file stays in memory up to this size (bytes) and this age (seconds); what a kill can cost.
HELD_BYTES = 1024 * 1024
HELD_SECONDS = 1.0
#: Rules that mean the archive itself does not answer, whatever the file.
_DOWN = frozenset({"unreachable", "timeout", "broken_off", "too_slow", "http_408", "http_429"})
#: Rules that mean list, reply and bytes did not agree this time, or that nobody knows what went wrong.
_IN_DOUBT = frozenset({"incomplete", "changed", "bad_range", "size_mismatch", "checksum_mismatch", "archive"})


class Facts(Protocol):
    """What an archive says of a file: bytes, strong entity tag, SHA-256 in hex; ``None`` where unknown."""

    @property
    def size(self) -> int | None: ...  # noqa: D102
    @property
    def etag(self) -> str | None: ...  # noqa: D102
    @property
    def sha256(self) -> str | None: ...  # noqa: D102


class ByteStream(Facts, Protocol):
    """A file being sent: the facts of the whole file, and its bytes from ``offset`` on."""

    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def chunks(self) -> Iterator[bytes]: ...  # noqa: D102


class ByteSource(Protocol):
    """Where files come from.

    Failures are :class:`~hwosim_assets.errors.HwosimError` with an attribute ``rule`` (``http_404``,
    ``timeout``, ``unreachable`` …), or ``OSError``.
    """

    def facts(self, data_uri: str) -> Facts:
        """Return what the archive says of a file, without its bytes."""

    def open(self, data_uri: str, offset: int = 0, etag: str | None = None) -> AbstractContextManager[ByteStream]:
        """Open a file at an offset; at 0 where it is no longer the one of the entity tag."""


class RefusedError(Exception):
    """One file that cannot be taken.

    Parameters
    ----------
    rule : str
        Short name of what is wrong, in snake case.
    reason : str
        One sentence for people.
    mend : str
        What the reader can do about it.
    from_archive : bool
        The archive did not give it; otherwise what it gave is wrong.
    """

    def __init__(self, rule: str, reason: str, mend: str = "", *, from_archive: bool = False) -> None:
        super().__init__(rule, reason)
        self.rule = rule
        self.reason = reason
        self.mend = mend
        self.from_archive = from_archive

    @property
    def archive_down(self) -> bool:
        """Whether the same would happen to any other file just now."""
        return self.from_archive and (self.rule in _DOWN or self.rule.startswith("http_5"))

    @property
    def passing(self) -> bool:
        """Whether the same file may come another time; what the archive refuses or does not have is not asked again."""
        return self.archive_down or self.rule in _IN_DOUBT


@contextmanager
def asking() -> Iterator[None]:
    """Turn a failure of the source into a :class:`RefusedError`."""
    try:
        yield
    except HwosimError as error:
        rule = str(getattr(error, "rule", "archive"))
        raise RefusedError(rule, f"{error.thing}: {error.reason}", error.mend, from_archive=True) from error
    except OSError as error:
        rule = "timeout" if isinstance(error, TimeoutError) else "unreachable"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RefusedError(rule, reason, "see that the archive runs", from_archive=True) from error


@dataclass(frozen=True)
class Wanted:
    """A file that the archive lists.

    Attributes
    ----------
    data_uri : str
        Archive URI.
    size : int or None
        Bytes, where the list says so.
    """

    data_uri: str
    size: int | None


@dataclass(frozen=True)
class Received:
    """A file that is complete in its part file.

    Attributes
    ----------
    size : int
        Bytes.
    sha256 : str
        Content hash, hex.
    etag : str
        The archive's entity tag, empty where it gave none.
    """

    size: int
    sha256: str
    etag: str


@dataclass
class Meter:
    """Counts the bytes that came from the archive, also when the file failed later."""

    bytes: int = 0


class PartFile:
    """The bytes of one file that have come so far, and which version of it they belong to.

    Parameters
    ----------
    folder : pathlib.Path
        Where part files lie; made when needed.
    data_uri : str
        The file's archive URI.
    absent : bool
        It is known that nothing of it is on the disk, which is not asked then.
    """

    def __init__(self, folder: Path, data_uri: str, *, absent: bool = False) -> None:
        self.folder = folder
        self._data_uri = data_uri
        self._held: list[bytes] = []
        self._absent = absent
        self._on_disk = False
        self._file: IO[bytes] | None = None
        self._size = 0
        self._until = 0.0

    @cached_property
    def path(self) -> Path:
        """Where they lie, if they do: most small files never get there."""
        return self.folder / f"{hashlib.sha256(self._data_uri.encode()).hexdigest()[:32]}.part"

    @property
    def _note(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def content(self) -> Path | bytes:
        """What has come, where it is: for :meth:`~hwosim_assets.lake.store.Lake.take_in`."""
        if self._on_disk:
            return self.path
        return self._held[0] if len(self._held) == 1 else b"".join(self._held)

    def begun(self) -> tuple[int, str]:
        """Return how many bytes are here and their entity tag; ``(0, "")`` where they cannot be continued."""
        if self._absent:
            return 0, ""
        try:
            found = self.path.stat()
            self._on_disk = True
            etag = json.loads(self._note.read_text())["etag"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""
        if found.st_nlink > 1:  # an object of the lake by now: the ingest was killed before this name went
            return 0, ""
        return (found.st_size, etag) if isinstance(etag, str) and etag.startswith('"') else (0, "")

    def begin(self) -> None:
        """Start anew."""
        self.discard()
        self._size, self._until = 0, time.monotonic() + HELD_SECONDS

    def add(self, chunk: bytes, etag: str | None) -> None:
        """Put bytes behind what is here: in memory first, then on the disk, where a killed process leaves them."""
        if self._file is None and not self._on_disk:
            self._held.append(chunk)
            self._size += len(chunk)
            if self._size > HELD_BYTES or time.monotonic() > self._until:
                self.keep(etag)
            return
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)
        _write(self._file, chunk)

    def keep(self, etag: str | None) -> None:
        """Put what is in memory onto the disk, with the entity tag that it belongs to."""
        if not self._held:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._on_disk, self._absent = True, False
        self._note.write_text(json.dumps({"etag": etag}))
        self._file = self.path.open("wb", buffering=0)
        for chunk in self._held:
            _write(self._file, chunk)
        self._held = []

    def close(self) -> None:
        """Write no more for now; what is here stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Remove the part file and its note."""
        self.close()
        self._held = []
        if self._on_disk:
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)
            self._on_disk = False


def _write(file: IO[bytes], chunk: bytes) -> None:
    """Write all of it: an unbuffered file may take less at a time."""
    left = memoryview(chunk)
    while left:
        left = left[file.write(left) :]


def receive(source: ByteSource, wanted: Wanted, part: PartFile, meter: Meter, stop: threading.Event) -> Received:
    """Bring a file into its part file, from where an earlier attempt ended.

    Parameters
    ----------
    source : ByteSource
        The archive.
    wanted : Wanted
        The file.
    part : PartFile
        Where it goes; kept on failure if it can be continued.
    meter : Meter
        Counts what comes.
    stop : threading.Event
        When set, give up at the next chunk.

    Returns
    -------
    Received
        The complete file's facts.

    Raises
    ------
    RefusedError
        If the archive fails, or sends something else than it lists.
    HwosimError
        If the disk of the part file is full or cannot be written.
    """
    attempts = 0
    while True:
        attempts += 1
        before = meter.bytes
        try:
            return _receive_once(source, wanted, part, meter, stop)
        except RefusedError as refused:
            can_go_on = refused.rule == "incomplete" and meter.bytes > before and part.begun()[0]
            if not can_go_on or attempts == ATTEMPTS:
                raise


def _receive_once(source: ByteSource, wanted: Wanted, part: PartFile, meter: Meter, stop: threading.Event) -> Received:
    offset, etag = part.begun()
    with ExitStack() as stack:
        stream = _opened(stack, source, wanted, part, offset, etag)
        if stream.offset and (stream.offset != offset or stream.etag != etag):
            part.discard()
            raise RefusedError("incomplete", "the archive continues another version of the file", from_archive=True)
        size = _agreed_size(wanted, stream)
        with local_disk(part.folder):
            digest = _continued(part) if stream.offset else _fresh(part)
            try:
                total = _append(part, stream, digest, size, meter, stop)
            except RefusedError:
                if stream.etag:
                    part.keep(stream.etag)
                raise
            finally:
                part.close()
    if stream.sha256 and stream.sha256 != digest.hexdigest():
        part.discard()
        raise RefusedError("checksum_mismatch", "the bytes do not match the archive's SHA-256")
    return Received(total, digest.hexdigest(), stream.etag or "")


def _opened(stack: ExitStack, source: ByteSource, wanted: Wanted, part: PartFile, offset: int, etag: str) -> ByteStream:
    """Open the file at an offset; a part file that the archive cannot continue is given up."""
    try:
        with asking():
            return stack.enter_context(source.open(wanted.data_uri, offset, etag or None))
    except RefusedError as refused:
        if refused.rule == "bad_range":
            part.discard()
        raise


def _agreed_size(wanted: Wanted, stream: Facts) -> int | None:
    """Return the size that list and reply agree on, before a byte is taken."""
    if wanted.size is not None and stream.size is not None and wanted.size != stream.size:
        raise RefusedError("size_mismatch", f"the archive lists {wanted.size} bytes and sends {stream.size}")
    return wanted.size if wanted.size is not None else stream.size


def _append(
    part: PartFile, stream: ByteStream, digest: Any, size: int | None, meter: Meter, stop: threading.Event
) -> int:
    """Put the chunks behind what is there; never more nor less than the file may have."""
    total = stream.offset
    for chunk in _coming(stream.chunks):
        total += len(chunk)
        meter.bytes += len(chunk)
        if stop.is_set():
            raise RefusedError("stopped", "the ingest was stopped", from_archive=True)
        if size is not None and total > size:
            break
        digest.update(chunk)
        part.add(chunk, stream.etag)
    if size is not None and total > size:
        part.discard()
        raise RefusedError("size_mismatch", f"the archive sends more than the {size} bytes it announced")
    if size is not None and total < size:
        raise RefusedError("incomplete", f"the archive sent {total} of {size} bytes", from_archive=True)
    return total


def _coming(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks; only what fails in getting them counts as the archive's failure."""
    with asking():
        yield from chunks


def _fresh(part: PartFile) -> Any:
    part.begin()
    return hashlib.sha256()


def _continued(part: PartFile) -> Any:
    with part.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


@contextmanager
def local_disk(folder: Path) -> Iterator[None]:
    """Word failures of the local disk below a folder, which are nobody's file's fault.

    Raises
    ------
    HwosimError
        Naming the folder.
    """
    try:
        yield
    except OSError as error:
        reason = f"cannot be written ({error.strerror or error})"
        raise HwosimError(f"folder {folder}", reason, "free space on that disk, then run again") from error
