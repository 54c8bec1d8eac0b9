"""A remote object as a seekable file, of which only what a header scan needs travels.

Holds: :class:`RangedFile`, which asks for windows of bytes: one for each header of a plain file, growing
ones where bytes are read in a row (gzip). Keep out how a window is fetched (``catalog.remote``).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwosim_assets.errors import HwosimError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Part", "RangedFile"]

#: The first window, bytes: a JWST primary header takes 25 to 45 kB.
FIRST_WINDOW = 2**16
#: The smallest window, bytes: three blocks of 36 cards.
LEAST_WINDOW = 3 * 2880
#: The largest window, bytes; it bounds the memory.
LARGEST_WINDOW = 2**22
#: What share of an object all windows together may take, headers that need more left aside.
SHARE = 0.02
#: A window takes this part of the share that is left.
HDUS_TO_COME = 16


@dataclass(frozen=True)
class Part:
    """Some bytes of an object.

    Attributes
    ----------
    data : bytes
        What was asked for; less where the object ends.
    size : int
        Of the whole object, bytes.
    etag : str
        The store's or server's entity tag; empty where there is none.
    """

    data: bytes
    size: int
    etag: str


class RangedFile(io.RawIOBase):
    """A read-only file over ranged requests.

    Parameters
    ----------
    name : str
        What to call the object in errors.
    fetch : callable
        Given start, length and the entity tag seen first (empty at the first call), returns a
        :class:`Part`; called once for each request.

    Raises
    ------
    HwosimError
        From any read, when the object changed since the first request, or ``fetch`` fails.
    """

    def __init__(self, name: str, fetch: Callable[[int, int, str], Part]) -> None:
        super().__init__()
        self._name, self._fetch = name, fetch
        self._position = 0
        self._start = 0
        self._window = b""

        self.requests = 0
        self.fetched_bytes = 0
        first = self._ask(0, FIRST_WINDOW, "")
        self.size, self.etag = first.size, first.etag
        self._window = first.data

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be searched."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, in bytes from start, position or end; nothing travels."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer from the position on; return how many bytes there were."""
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(0, self.size - self._position))
        done = 0
        while done < wanted:
            at = self._position - self._start
            if not 0 <= at < len(self._window):
                self._move_window()
                at = 0
            piece = self._window[at : at + wanted - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        return done

    def _move_window(self) -> None:
        """Fetch the window that begins at the position."""
        in_a_row = self._position == self._start + len(self._window)
        share = int((SHARE * self.size - self.fetched_bytes) / HDUS_TO_COME)
        length = max(LEAST_WINDOW, min(share, FIRST_WINDOW))
        if in_a_row:
            length = min(LARGEST_WINDOW, max(length, 2 * len(self._window)))
        part = self._ask(self._position, min(length, self.size - self._position), self.etag)
        if (part.size, part.etag) != (self.size, self.etag) or not part.data:
            raise HwosimError(self._name, "changed while its headers were read", "read it again")
        self._start, self._window = self._position, part.data

    def _ask(self, start: int, length: int, etag: str) -> Part:
        self.requests += 1
        part = self._fetch(start, length, etag)
        self.fetched_bytes += len(part.data)
        return part
