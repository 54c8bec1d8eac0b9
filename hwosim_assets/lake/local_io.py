"""How PyIceberg reaches the files of tables in a folder: the disk has them before the catalog names them.

Holds: :class:`LocalFileIO`, PyIceberg's ``py-io-impl`` for ``file://`` warehouses. Keep out how one waits for a disk
(``lake.disk``) and tables in an S3 store (``lake.iceberg_io``).

The catalog's database waits for its disk, files do not: a power cut right after a commit left a catalog whose metadata
file was empty, and a table that could not be read any more. The metadata file is the last that PyIceberg writes before
it lets the catalog point at it, so one wait when it is closed covers it, the manifests, the rows, and whatever those
rows name on the same disk. It takes 1 ms of the 44 of a commit where little else is to be written; to wait for each of
a commit's six files by itself takes twice as long.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from hwosim_assets.lake.disk import flush

if TYPE_CHECKING:
    from pyiceberg.io import OutputStream

__all__ = ["LocalFileIO"]


class LocalFileIO(PyArrowFileIO):
    """PyIceberg's way to a folder; its properties are those of PyIceberg's own ``PyArrowFileIO``.

    Files that are not in a folder (a catalog may name a lake of before, in S3) are left to that one.
    """

    def new_output(self, location: str) -> PyArrowFile:
        """Return a file to write; that of a table's metadata is closed when the disk has it and all before it."""
        scheme, netloc, path = self.parse_location(location, self.properties)
        if scheme != "file" or not location.endswith(".metadata.json"):
            return super().new_output(location)
        return _Metadata(location, path, self.fs_by_scheme(scheme, netloc))


class _Metadata(PyArrowFile):
    """A table's metadata file, to write."""

    def create(self, overwrite: bool = False) -> OutputStream:
        """Return a stream to write."""
        return _Awaited(super().create(overwrite), Path(self._path).parent)


class _Awaited:
    """A stream whose file the disk has when it is closed, with every other of that disk."""

    def __init__(self, stream: OutputStream, folder: Path) -> None:
        self._stream = stream
        self._folder = folder

    def write(self, content: bytes) -> int:
        return self._stream.write(content)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()
        flush(self._folder)

    def __enter__(self) -> OutputStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
