"""What rows say, told apart from when and where they were written.

Holds: bringing rows to their table's closed schema, the content hash, keeping the stored form of
rows whose content did not change. Pure Arrow; keep out storage (``lake.tables``).
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.lake.spec import TableSpec

__all__ = ["content_sha256", "fitted", "with_stored_volatile"]


def fitted(spec: TableSpec, rows: pa.Table) -> pa.Table:
    """Return rows in the table's columns, order and types, sorted by scope and key.

    Parameters
    ----------
    spec : TableSpec
        The table.
    rows : pyarrow.Table
        Rows with at least the columns that may not be null; columns that may are filled with null.

    Raises
    ------
    ValueError
        On a column that the table does not have, a null where there may be none, or two rows of
        one key. These are faults of the program that made the rows, not of data.
    """
    unknown = set(rows.column_names) - set(spec.schema.names)
    if unknown:
        raise ValueError(f"table {spec.name} has no column {', '.join(sorted(unknown))}")
    columns = [
        rows.column(field.name).cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(rows.num_rows, field.type)
        for field in spec.schema
    ]
    for field, column in zip(spec.schema, columns, strict=True):
        if not field.nullable and column.null_count:
            raise ValueError(f"table {spec.name}: column {field.name} may not be null")
    identity = [*spec.scope, *spec.key]
    table = pa.Table.from_arrays(columns, schema=spec.schema)
    if table.num_rows > 1:
        table = table.sort_by([(name, "ascending") for name in identity])
        if table.group_by(identity).aggregate([]).num_rows != table.num_rows:
            raise ValueError(f"table {spec.name}: two rows share one key ({', '.join(identity)})")
    return table


def content_sha256(spec: TableSpec, rows: pa.Table) -> str:
    """Return the SHA-256 of what rows say.

    The order of rows and of columns, chunking and volatile columns do not matter; a change of any
    other value does, a null becoming a value or the sign of a zero included. A column without any
    value counts as absent, so that a table may gain a column and its old rows keep their hash.

    Parameters
    ----------
    spec : TableSpec
        The table.
    rows : pyarrow.Table
        Its rows.

    Returns
    -------
    str
        64 hex digits.

    Raises
    ------
    ValueError
        As :func:`fitted`.
    """
    table = fitted(spec, rows)
    digest = hashlib.sha256(f"rows {table.num_rows}".encode())
    for name in sorted(set(spec.schema.names) - set(spec.volatile)):
        column = table.column(name)
        if column.null_count < len(column):
            digest.update(f"\ncolumn {len(name)} {name} {column.type}\n".encode())
            _feed(digest, column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    return digest.hexdigest()


def _feed(digest: Any, values: Any) -> None:
    """Add the values of one Arrow array, independent of its offsets and of what lies under its nulls."""
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    kind = values.type
    digest.update(np.packbits(np.asarray(values.is_valid())).tobytes())
    if pa.types.is_struct(kind):
        for position in range(kind.num_fields):
            _feed(digest, pc.struct_field(values, [position]))
        return
    present = values.drop_null()
    if _is_text(kind):
        digest.update(np.asarray(pc.binary_length(present).cast(pa.int64())).tobytes())
        digest.update(b"".join(present.cast(pa.large_binary()).to_pylist()))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        digest.update(np.asarray(pc.list_value_length(present).cast(pa.int64())).tobytes())
        _feed(digest, present.flatten())
    elif pa.types.is_boolean(kind):
        digest.update(np.asarray(present).tobytes())
    elif pa.types.is_floating(kind):
        numbers = np.array(present, dtype=np.float64)
        numbers[np.isnan(numbers)] = np.nan  # one bit pattern for every NaN
        digest.update(numbers.astype("<f8").tobytes())
    elif pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        digest.update(np.asarray(present.cast(pa.int64())).astype("<i8").tobytes())
    else:
        raise ValueError(f"a table column cannot have the type {kind}")


def _is_text(kind: pa.DataType) -> bool:
    types = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(is_type(kind) for is_type in types)


def with_stored_volatile(spec: TableSpec, rows: pa.Table, stored: pa.Table) -> pa.Table:
    """Give every row whose content is stored already the volatile values that are stored with it.

    Parameters
    ----------
    spec : TableSpec
        The table.
    rows, stored : pyarrow.Table
        New and stored rows of one scope, both :func:`fitted`.

    Returns
    -------
    pyarrow.Table
        The new rows in the same order.
    """
    if not spec.volatile or not stored.num_rows or not rows.num_rows:
        return rows
    said = [name for name in spec.schema.names if name not in spec.volatile]
    known = dict(zip(_signatures(stored, said), stored.select(list(spec.volatile)).to_pylist(), strict=True))
    own = rows.select(list(spec.volatile)).to_pylist()
    kept = [known.get(sign, mine) for sign, mine in zip(_signatures(rows, said), own, strict=True)]
    for name in spec.volatile:
        field = spec.schema.field(name)
        values = pa.array([entry[name] for entry in kept], field.type)
        rows = rows.set_column(rows.schema.get_field_index(name), field, values)
    return rows


def _signatures(rows: pa.Table, columns: list[str]) -> list[str]:
    """Return a text for each row that is equal where the rows are; ``repr`` since NaN differs from itself."""
    lists = [rows.column(name).to_pylist() for name in columns]
    return [repr(values) for values in zip(*lists, strict=True)]
