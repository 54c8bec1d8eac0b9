"""An archive in memory that can misbehave, file by file."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hwosim_assets.errors import BackendAbsentError

PROGRAM = "01093"
CHUNK = 1000


class ArchiveFailedError(BackendAbsentError):
    """A failure with a rule, as the archive client raises it."""

    def __init__(self, rule: str) -> None:
        super().__init__("http://archive/file", f"answered {rule}", "try later")
        self.rule = rule


@dataclass(frozen=True)
class Reply:
    size: int | None
    etag: str | None
    sha256: str | None = None
    offset: int = 0
    chunks: Iterator[bytes] = field(default_factory=lambda: iter(()))


@dataclass
class FakeArchive:
    """Files by name; ``faults`` maps a name to what happens instead of a plain reply."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, Callable[[bytes, int], Iterator[bytes]] | Exception] = field(default_factory=dict)
    etags: bool = True
    digests: bool = False
    announce: dict[str, int | None] = field(default_factory=dict)
    wrong_digest: bool = False
    opened: list[tuple[str, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    on_chunk: Callable[[str], None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def products(self) -> list[dict[str, Any]]:
        return [
            {"productFilename": name, "dataURI": uri(name), "size": len(content), "obs_id": name.rsplit("_", 1)[0]}
            for name, content in self.files.items()
        ]

    def etag(self, name: str) -> str | None:
        return f'"{hashlib.md5(self.files[name], usedforsecurity=False).hexdigest()}"' if self.etags else None

    def digest(self, name: str) -> str | None:
        if self.wrong_digest:
            return "0" * 64
        return hashlib.sha256(self.files[name]).hexdigest() if self.digests else None

    def facts(self, data_uri: str) -> Reply:
        name = data_uri.rsplit("/", 1)[1]
        with self._lock:
            self.asked.append(name)
        fault = self.faults.get(name)
        if isinstance(fault, Exception):
            raise fault
        return Reply(self.announce.get(name, len(self.files[name])), self.etag(name), self.digest(name))

    @contextmanager
    def open(self, data_uri: str, offset: int = 0, etag: str | None = None) -> Iterator[Reply]:
        name = data_uri.rsplit("/", 1)[1]
        content = self.files[name]
        if offset and etag != self.etag(name):
            offset = 0
        with self._lock:
            self.opened.append((name, offset))
        fault = self.faults.get(name)
        if isinstance(fault, Exception):
            raise fault
        chunks = fault(content, offset) if fault is not None else pieces(content, offset)
        size = self.announce.get(name, len(content))
        yield Reply(size, self.etag(name), self.digest(name), offset, self._counted(name, chunks))

    def _counted(self, name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            if self.on_chunk is not None:
                self.on_chunk(name)


def uri(name: str) -> str:
    return f"mast:JWST/product/{name}"


def pieces(content: bytes, offset: int = 0) -> Iterator[bytes]:
    for start in range(offset, len(content), CHUNK):
        yield content[start : start + CHUNK]


def short(content: bytes, offset: int) -> Iterator[bytes]:
    """Send half of what is left and end as if that were all."""
    yield from pieces(content[: offset + (len(content) - offset) // 2], offset)


def nothing(content: bytes, offset: int) -> Iterator[bytes]:
    """Send no byte at all."""
    return iter(())


def endless(content: bytes, offset: int) -> Iterator[bytes]:
    """Never stop sending."""
    while True:
        yield b"x" * CHUNK


def breaking(error: Exception) -> Callable[[bytes, int], Iterator[bytes]]:
    """Send half of what is left, then fail."""

    def chunks(content: bytes, offset: int) -> Iterator[bytes]:
        yield from short(content, offset)
        raise error

    return chunks


def stalling(seconds: float) -> Callable[[bytes, int], Iterator[bytes]]:
    """Send half of what is left, wait, and time out as the archive client would."""

    def chunks(content: bytes, offset: int) -> Iterator[bytes]:
        yield from short(content, offset)
        time.sleep(seconds)
        raise TimeoutError("no byte within the time limit")

    return chunks


def names(count: int) -> list[str]:
    return [f"jw{PROGRAM}012001_03102_{number:05d}_nis_cal.fits" for number in range(1, count + 1)]


def archive_of(count: int = 3, size: int = 10_000, **settings: Any) -> FakeArchive:
    files = {name: bytes([number]) * (size + number) for number, name in enumerate(names(count), start=1)}
    return FakeArchive(files, **settings)
