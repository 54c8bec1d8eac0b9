"""What was written to a table since somebody last looked.

Holds: :func:`mark_of`, a place in a table's history, and :func:`programs_since`. The place is a sequence number of
Iceberg: each commit has the next one, each data file keeps that of its commit, and expiring snapshots takes none away.
Keep out who looks, and where they remember the place (``catalog.subscriptions``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

__all__ = ["Mark", "mark_of", "programs_since"]

#: Which table, and the sequence number of its last commit.
Mark = list[str | int]


def mark_of(table: Table) -> Mark:
    """Return the place of a table as just loaded."""
    snapshot = table.current_snapshot()
    return [str(table.metadata.table_uuid), (snapshot.sequence_number or 0) if snapshot else 0]


def programs_since(table: Table, mark: Mark | None) -> set[str] | None:
    """Return the programs with rows in files that were written after a mark; rows that merely moved are among them.

    No data file is read but those that compaction wrote since, and of these the column of programs alone.

    Parameters
    ----------
    table : pyiceberg.table.Table
        A table as just loaded, with a column ``program``.
    mark : Mark or None
        Of an earlier look.

    Returns
    -------
    set of str or None
        ``None`` for all: there was no earlier look, or the table was made anew since.

    Raises
    ------
    FileNotFoundError
        If a file was swept since the table was loaded.
    """
    if mark is None or mark[0] != str(table.metadata.table_uuid):
        return None
    snapshot, after = table.current_snapshot(), int(mark[1])
    found: set[str] = set()
    for manifest in snapshot.manifests(table.io) if snapshot else []:
        if manifest.sequence_number > after:
            for entry in manifest.fetch_manifest_entry(table.io):
                if (entry.sequence_number or 0) > after:
                    found |= _programs(table, entry.data_file)
    return found


def _programs(table: Table, file: DataFile) -> set[str]:
    import pyarrow.parquet as pq

    field = table.schema().find_field("program").field_id
    least, greatest = (bounds.get(field) for bounds in (file.lower_bounds or {}, file.upper_bounds or {}))
    if least is not None and least == greatest:
        return {least.decode()}
    with table.io.new_input(file.file_path).open() as stream:
        return set(pq.read_table(stream, columns=["program"])["program"].unique().to_pylist())
