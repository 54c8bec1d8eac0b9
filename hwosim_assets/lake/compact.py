"""Compaction: many small data files of a table become few.

Holds: :func:`compact`, one commit on the table version that was planned. Rows are put in the order of
their scope, and inside it stay in the order of their key, in which every file is written; so a program
lies in one or two row groups, which is what a search needs. Keep out expiry (``lake.upkeep``).

A file may hold rows of several scopes afterwards; replacing one of them rewrites that file
(``lake.tables``), which is why files are not made larger than :data:`FILE_ROWS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwosim_assets.lake.datafile import rows_of, write_rows

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask, Table

__all__ = ["FILE_ROWS", "Compacted", "compact", "scope_columns"]

#: Rows of a compacted file. 65536 product rows take some 5 to 10 MB and a second to rewrite; the footer of such a file
#: (199 columns, 16 row groups) takes a process 1.7 ms when it reads it first, that of a file twice as long 3.3.
FILE_ROWS = 65_536
#: Bytes that the merged files of one new file may have at most, for tables with large rows.
FILE_BYTES = 256 << 20


@dataclass(frozen=True)
class Compacted:
    """What :func:`compact` did.

    Attributes
    ----------
    files_before, files_after : int
        Data files of the table.
    rows : int
        Rows that were written anew.
    """

    files_before: int
    files_after: int
    rows: int


def scope_columns(table: Table) -> list[str]:
    """Return the scope columns of a table, which alone keep their bounds uncut."""
    prefix = "write.metadata.metrics.column."
    found = {name.removeprefix(prefix) for name, value in table.properties.items() if name.startswith(prefix)}
    return [field.name for field in table.schema().fields if field.name in found]


def compact(table: Table, min_files: int = 2, on_group: Callable[[int, int], None] | None = None) -> Compacted:
    """Merge the small files of each partition, in one commit.

    Parameters
    ----------
    table : pyiceberg.table.Table
        A table as just loaded.
    min_files : int
        A partition with fewer small files is left alone.
    on_group : callable, optional
        Told after each new file how many of how many groups of files are merged.

    Returns
    -------
    Compacted
        What was done.

    Raises
    ------
    pyiceberg.exceptions.CommitFailedException
        If another writer was faster; nothing was changed, and the files written are swept later.
    FileNotFoundError
        If a planned file was swept meanwhile, or one just written: a sweep takes what no snapshot names after an
        hour, and merging a large table can take longer.
    """
    files = list(table.scan().plan_files())
    program = table.schema().find_field("program").field_id
    groups = [group for part in _partitions(files, program) if len(part) >= min_files for group in _groups(part)]
    gone: list[DataFile] = []
    written: list[DataFile] = []
    rows = 0
    for number, (bucket, group) in enumerate(groups, 1):
        made = _merge(table, bucket, group)
        rows += sum(file.record_count for file in made)
        written += made
        gone += [task.file for task in group]
        if on_group:
            on_group(number, len(groups))
    for file in written:
        if not table.io.new_input(file.file_path).exists():
            raise FileNotFoundError(file.file_path)
    if gone:
        with (
            table.transaction() as transaction,
            transaction.update_snapshot(snapshot_properties={"hwosim.compacted": str(len(gone))}).overwrite() as change,
        ):
            for file in gone:
                change.delete_data_file(file)
            for file in written:
                change.append_data_file(file)
    return Compacted(len(files), len(files) - len(gone) + len(written), rows)


def _partitions(files: list[FileScanTask], program: int) -> list[list[FileScanTask]]:
    """Return the small files of each partition, in the order of their first program."""
    parts: dict[int, list[FileScanTask]] = {}
    for task in files:
        if task.file.record_count < FILE_ROWS // 2 and task.file.file_size_in_bytes < FILE_BYTES // 2:
            parts.setdefault(task.file.partition[0], []).append(task)
    return [
        sorted(part, key=lambda task: (task.file.lower_bounds or {}).get(program, b""))
        for _, part in sorted(parts.items())
    ]


def _groups(part: list[FileScanTask]) -> list[tuple[int, list[FileScanTask]]]:
    """Divide the files of one partition into groups that become one file each; one alone stays as it is."""
    groups: list[list[FileScanTask]] = [[]]
    rows = size = 0
    for task in part:
        rows, size = rows + task.file.record_count, size + task.file.file_size_in_bytes
        if groups[-1] and (rows > FILE_ROWS or size > FILE_BYTES):
            groups.append([])
            rows, size = task.file.record_count, task.file.file_size_in_bytes
        groups[-1].append(task)
    return [(int(part[0].file.partition[0]), group) for group in groups if len(group) > 1]


def _merge(table: Table, bucket: int, group: list[FileScanTask]) -> list[DataFile]:
    from pyiceberg.expressions import AlwaysTrue

    rows = rows_of(table, group, AlwaysTrue())
    expected = sum(task.file.record_count for task in group)
    if rows.num_rows != expected:
        raise RuntimeError(f"{rows.num_rows} rows read of {expected}")
    # stable: rows of one scope come from one file, where they are in the order of their key
    ordered = rows.sort_by([(name, "ascending") for name in scope_columns(table)])
    return write_rows(table, bucket, ordered)
