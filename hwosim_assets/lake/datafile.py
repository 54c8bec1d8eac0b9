"""The data files of a table, written.

Holds: :func:`write_rows`, the one writer of data files, and their readers, :func:`rows_of` and for whole tables
:func:`columns_of`. Rows of one file belong to one partition and are in the order of scope and key. Keep out commits
(``lake.tables``).
"""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.lake.zones import ROW_GROUP, ZONED, summarize, zone_path

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask, Table

__all__ = ["bucket_of", "columns_of", "rows_of", "write_rows"]

#: Files that a reader of a whole table holds open, and how many of them it opens at once.
_OPEN, _OPENING = 64, 8


def bucket_of(table: Table, program: str) -> int:
    """Return the partition of a program.

    PyIceberg's own writer needs a further compiled package to find the buckets of a column; here the
    one program is known, and the transform itself says its bucket.
    """
    field = table.spec().fields[0]
    kind = table.schema().find_field(field.source_id).field_type
    return int(field.transform.transform(kind)(program))  # type: ignore[arg-type]


def write_rows(table: Table, bucket: int, rows: pa.Table) -> list[DataFile]:
    """Write rows of one partition as one Parquet file; nothing refers to it yet.

    A table with the columns that a search asks for gets small row groups, and where there are several,
    a file of summaries beside it.

    Parameters
    ----------
    table : pyiceberg.table.Table
        The table.
    bucket : int
        Partition, :func:`bucket_of`.
    rows : pyarrow.Table
        Rows in order; columns that the table has and they have not become null.
    """
    from pyiceberg.io.pyarrow import write_file
    from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
    from pyiceberg.table import WriteTask

    partitions, schema = table.spec(), table.schema()
    key = PartitionKey([PartitionFieldValue(partitions.fields[0], bucket)], partitions, schema)
    for column in schema.as_arrow():
        if column.name not in rows.column_names:  # a newer version of this code added it
            rows = rows.append_column(column.name, pa.nulls(rows.num_rows, column.type))
    rows = rows.select([column.name for column in schema.columns]).combine_chunks()
    zoned = set(ZONED) <= set(rows.column_names)
    metadata = table.metadata
    if zoned:
        properties = {**metadata.properties, "write.parquet.row-group-limit": str(ROW_GROUP)}
        metadata = metadata.model_copy(update={"properties": properties})
    task = WriteTask(uuid.uuid4(), 0, schema, rows.to_batches(), partition_key=key)
    written = list(write_file(table.io, metadata, iter([task])))
    if zoned and rows.num_rows > ROW_GROUP:
        _write_zones(table, written[0].file_path, rows)
    return written


def _write_zones(table: Table, path: str, rows: pa.Table) -> None:
    narrow = rows.select(list(ZONED))
    zones = [summarize(narrow.slice(start, ROW_GROUP)) for start in range(0, rows.num_rows, ROW_GROUP)]
    with table.io.new_output(zone_path(path)).create() as stream:
        stream.write(json.dumps(zones).encode())


def rows_of(table: Table, files: list[FileScanTask], where: Any) -> pa.Table:
    """Return the rows of planned files that an Iceberg expression accepts, in the table's columns.

    Raises
    ------
    FileNotFoundError
        If a file is gone.
    """
    from pyiceberg.io.pyarrow import ArrowScan

    return ArrowScan(table.metadata, table.io, table.schema(), where).to_table(files)


def columns_of(table: Table, files: list[FileScanTask], wanted: pa.Schema) -> pa.Table:
    """Return all rows of planned files in some columns.

    Arrow reads the files side by side; through Iceberg's scan each small file costs more than twice the processor time.

    Parameters
    ----------
    table : pyiceberg.table.Table
        A table as just loaded, whose columns were never renamed.
    files : list of FileScanTask
        Files without deleted rows.
    wanted : pyarrow.Schema
        The columns; one that a file does not have is null.

    Raises
    ------
    FileNotFoundError
        If a file is gone.
    """
    import pyarrow.dataset as ds

    parquet = ds.ParquetFileFormat()
    parts = [wanted.empty_table()]
    with ThreadPoolExecutor(_OPENING) as pool:
        for start in range(0, len(files), _OPEN):
            paths = [task.file.file_path for task in files[start : start + _OPEN]]
            streams = list(pool.map(lambda path: table.io.new_input(path).open(), paths))
            fragments = [parquet.make_fragment(stream) for stream in streams]
            parts.append(ds.FileSystemDataset(fragments, wanted, parquet).to_table())
            del streams, fragments  # they hold their files open, and a process may have few
    return pa.concat_tables(parts)
