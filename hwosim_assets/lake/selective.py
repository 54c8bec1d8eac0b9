"""Reading few rows of a large table: which files and row groups may hold them, and only these.

Holds: :func:`plan`, which judges the summaries of row groups (``lake.zones``), and :class:`Plan`, which
reads. A process keeps what it learnt of data files, which never change; which files make up the table
is asked of the catalog each time. Keep out what is asked for (``catalog.search``).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.lake.datafile import bucket_of
from hwosim_assets.lake.zones import Zones, zones_of

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    from pyiceberg.table import Table

__all__ = ["Plan", "plan"]

#: Data files whose footers a process keeps open, and table versions whose lists of files and columns it keeps.
_FOOTERS, _VERSIONS = 256, 8
#: So many row groups are read at once: looking at them first would cost more than it saves.
FEW = 3


@dataclass(frozen=True)
class _File:
    path: str
    rows: int
    bucket: int
    least: str | None
    greatest: str | None


@dataclass(frozen=True)
class Plan:
    """What will be read of a table.

    Attributes
    ----------
    files, files_planned : int
        Data files of the table, and those of them that are read.
    row_groups_planned : int
        Row groups that are read.
    rows, rows_planned : int
        Rows of the table, and those in the row groups that are read.
    fragments : tuple of pyarrow.dataset.ParquetFileFragment
        The row groups.
    schema : pyarrow.Schema
        Columns of the table.
    """

    files: int
    files_planned: int
    row_groups_planned: int
    rows: int
    rows_planned: int
    fragments: tuple[ds.ParquetFileFragment, ...]
    schema: pa.Schema

    def read(self, columns: list[str], accepted: ds.Expression | None) -> pa.Table:
        """Return the rows that an Arrow expression accepts (all without one), in these columns of the table.

        Of more than :data:`FEW` row groups first the columns that the expression names are read, and the others only
        where it accepts a row.

        Raises
        ------
        FileNotFoundError
            If a file was swept since it was planned.
        """
        import pyarrow.dataset as ds

        if not self.fragments:
            return self.schema.empty_table().select(columns)

        def dataset(parts: list[ds.ParquetFileFragment]) -> ds.FileSystemDataset:
            return ds.FileSystemDataset(parts, self.schema, ds.ParquetFileFormat())

        if accepted is None or self.row_groups_planned <= FEW:
            return dataset(list(self.fragments)).to_table(columns=columns, filter=accepted)
        groups = [group for fragment in self.fragments for group in fragment.split_by_row_group()]
        # "__fragment_index" is Arrow's name of a fragment's place in its dataset
        hit = dataset(groups).to_table(columns=["__fragment_index"], filter=accepted)
        chosen = [groups[number] for number in sorted(pc.unique(hit["__fragment_index"]).to_pylist())]
        if not chosen:
            return self.schema.empty_table().select(columns)
        return dataset(chosen).to_table(columns=columns, filter=accepted)


class _Memory:
    """The last things looked at, by key."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        """Return what is held under a key; made and held if nothing is."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        made = make()
        with self._lock:
            self._held[key] = made
            while len(self._held) > self._size:
                self._held.popitem(last=False)
        return made


_versions, _footers = _Memory(_VERSIONS), _Memory(_FOOTERS)


def plan(table: Table, may_hold: Callable[[Zones], list[int]], program: str | None = None) -> Plan:
    """Find the row groups that may hold what is asked for.

    Parameters
    ----------
    table : pyiceberg.table.Table
        A table as just loaded, with the columns that summaries are made of.
    may_hold : callable
        Told the summaries of a file's row groups, says which of them have to be read, in their order.
    program : str, optional
        The one program asked for: files without it are not even asked for their summaries.

    Raises
    ------
    FileNotFoundError
        If a file was swept since the table was loaded.
    """
    import pyarrow.dataset as ds
    from pyiceberg.io.pyarrow import PyArrowFileIO

    known: tuple[list[_File], pa.Schema] = _versions.get(
        table.metadata_location, lambda: (_files(table), table.schema().as_arrow())
    )
    files, schema = known
    bucket = None if program is None else bucket_of(table, program)
    parquet = ds.ParquetFileFormat()
    fragments, groups, rows = [], 0, 0
    for file in files:
        if program is not None and (file.bucket != bucket or not _between(program, file.least, file.greatest)):
            continue
        scheme, netloc, path = PyArrowFileIO.parse_location(file.path)
        filesystem = table.io.fs_by_scheme(scheme, netloc)  # type: ignore[attr-defined]
        # a fragment reads its footer once, and its subsets share it; files that are not read push none out
        held = partial(_footers.get, file.path, partial(parquet.make_fragment, path, filesystem))
        zones = zones_of(path, filesystem, held)
        chosen = may_hold(zones)
        if chosen:
            fragment = held()
            fragments.append(fragment.subset(row_group_ids=chosen) if len(chosen) < len(zones) else fragment)
            groups += len(chosen)
            rows += sum(zones.each[number]["rows"] for number in chosen)
    total = sum(file.rows for file in files)
    return Plan(len(files), len(fragments), groups, total, rows, tuple(fragments), schema)


def _between(program: str, least: str | None, greatest: str | None) -> bool:
    return least is None or greatest is None or least <= program <= greatest


def _files(table: Table) -> list[_File]:
    field = table.schema().find_field("program").field_id

    def bound(bounds: dict[int, bytes] | None) -> str | None:
        return bounds[field].decode() if bounds and field in bounds else None

    return [
        _File(
            file.file_path,
            file.record_count,
            int(file.partition[0]),
            bound(file.lower_bounds),
            bound(file.upper_bounds),
        )
        for file in (task.file for task in table.scan().plan_files())
    ]
