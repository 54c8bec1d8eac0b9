"""An object of the lake as a seekable file, of which only what is read travels.

Holds: :class:`StoredFile`. Wrap it in ``io.BufferedReader``; each read is one ranged request. Keep out
what is read from it.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from hwosim_assets.lake.store import Lake

__all__ = ["StoredFile"]


class StoredFile(io.RawIOBase):
    """A read-only file over ranged reads.

    Parameters
    ----------
    lake : Lake
        The store.
    key : str
        Key of the object.
    size : int
        Its size in bytes.
    """

    def __init__(self, lake: Lake, key: str, size: int) -> None:
        super().__init__()
        self._lake, self._key, self._size = lake, key, size
        self._position = 0

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
        """Go to a position, in bytes from start, position or end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer from the position on; return how many bytes there were."""
        view = memoryview(buffer).cast("B")
        length = min(len(view), max(0, self._size - self._position))
        if not length:
            return 0
        data = self._lake.read_range(self._key, self._position, length)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
