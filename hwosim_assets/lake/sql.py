"""Read-only SQL over the tables of the lake.

Holds: :func:`query`. PyIceberg says which files make up a table; Arrow reads them, and only the
columns and row groups that the statement needs; DuckDB computes. Keep out the tables themselves
(``lake.tables``) and how results are printed.

The statement comes from outside. DuckDB therefore runs in memory with file access, extensions and
Python variables off and its configuration locked, takes one statement that reads, bounded memory,
and is interrupted when its time is over.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.errors import BadInputError, HwosimError

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.table import Table

    from hwosim_assets.lake.tables import Tables

__all__ = ["TIMEOUT_S", "View", "query"]

#: How long a statement may take (s), unless told.
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class View:
    """A table seen in another way.

    Attributes
    ----------
    table : str
        The table that must be there.
    select : str
        What of it is seen.
    """

    table: str
    select: str


_LIMITS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    # a name in the statement would else find a variable of this process
    "python_enable_replacements": "false",
    "memory_limit": "4GB",
    "lock_configuration": "true",
}
_READING = ("SELECT", "EXPLAIN")


def query(
    tables: Tables, statement: str, *, timeout_s: float = TIMEOUT_S, views: Mapping[str, View] | None = None
) -> pa.Table:
    """Run one statement that reads.

    Parameters
    ----------
    tables : Tables
        What the statement may read; a table's name is the one in the catalog, for example ``products``.
    statement : str
        One ``SELECT`` (or ``WITH``, ``FROM``, ``VALUES``, ``DESCRIBE``, ``SHOW TABLES``, ``SUMMARIZE``, ``EXPLAIN``).
    timeout_s : float
        When it is interrupted (s).
    views : mapping of str to View, optional
        What else the statement may read, by name; those whose tables are there.

    Returns
    -------
    pyarrow.Table
        The rows.

    Raises
    ------
    BadInputError
        If it is no statement, more than one, not one that reads, or names what the lake does not hold.
    HwosimError
        If it takes longer than it may, or more memory than there is for it.
    BackendAbsentError
        If the table catalog or the store cannot be used.
    """
    import duckdb

    with duckdb.connect(":memory:", config=_LIMITS) as connection:
        there = tables.names()
        for name in there:
            connection.register(name, _dataset(tables.open(name)))
        for name, view in (views or {}).items():
            if view.table in there:
                connection.sql(view.select).create_view(name)
        _check(connection, statement)
        return _run(connection, statement, timeout_s)


def _check(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Refuse what is not exactly one statement that reads."""
    import duckdb

    try:
        found = connection.extract_statements(statement)
    except duckdb.Error as error:
        raise _refused(error) from error
    if len(found) != 1:
        raise BadInputError("SQL", f"holds {len(found)} statements", "give one SELECT")
    kind = found[0].type.name
    if kind not in _READING:
        raise BadInputError(
            "SQL", f"a statement of the kind {kind} is refused, since this reads only", "give one SELECT"
        )


def _run(connection: duckdb.DuckDBPyConnection, statement: str, timeout_s: float) -> pa.Table:
    import duckdb

    clock = threading.Timer(timeout_s, connection.interrupt)
    clock.start()
    try:
        result = connection.sql(statement).to_arrow_table()
    except duckdb.InterruptException as error:
        mend = "ask for less, or give it more time (--timeout)"
        raise HwosimError("SQL", f"was interrupted after {timeout_s:g} s", mend) from error
    except duckdb.OutOfMemoryException as error:
        reason = f"needs more than the {_LIMITS['memory_limit']} that a statement may take"
        raise HwosimError("SQL", reason, "ask for less") from error
    except duckdb.Error as error:
        raise _refused(error) from error
    finally:
        clock.cancel()
    return pa.table(result)


def _refused(error: Exception) -> BadInputError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    if "disabled by configuration" in reason or "through configuration" in reason:
        return BadInputError("SQL", reason, "name only tables of the lake (SHOW TABLES lists them)")
    return BadInputError("SQL", reason, "correct the statement (SHOW TABLES and DESCRIBE say what there is)")


def _dataset(table: Table) -> Any:
    """Return a table's present files as an Arrow dataset; nothing is read before a statement needs it."""
    import pyarrow.dataset as ds
    from pyiceberg.io.pyarrow import PyArrowFileIO

    schema = table.schema().as_arrow()
    parquet = ds.ParquetFileFormat()
    fragments = []
    for task in table.scan().plan_files():
        scheme, netloc, path = PyArrowFileIO.parse_location(task.file.file_path)
        fragments.append(parquet.make_fragment(path, table.io.fs_by_scheme(scheme, netloc)))  # type: ignore[attr-defined]
    if not fragments:
        return schema.empty_table()
    return ds.FileSystemDataset(fragments, schema, parquet)
