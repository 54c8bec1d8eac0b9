"""What a table of the lake is, said once: its name, columns and the rows that are replaced together.

Holds: :class:`TableSpec`. A package that owns a table declares one beside the code that fills it
(observations in ``archive``, cards in ``catalog``, truth in ``perturb``, publications in
``hwosim_streaming``). Keep out how tables are stored; that is ``lake.tables``.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

__all__ = ["TableSpec"]


@dataclass(frozen=True)
class TableSpec:
    """One Iceberg table.

    Attributes
    ----------
    name : str
        Table name inside the namespace, lower case with underscores.
    schema : pyarrow.Schema
        Closed schema. Times are ``timestamp('us', 'UTC')``, floats double, integers int64.
    scope : tuple of str
        Columns whose values name a set of rows that is written as one, for example
        ``("program",)`` or ``("program", "scenario")``. The first is always ``program``.
    key : tuple of str
        Columns that identify a row inside its scope.
    volatile : tuple of str
        Columns that say when or where a row was written and not what it holds; they are left out
        of the content hash, and keep their stored value when a row's content did not change.
    doc : str
        What a row is, for people.
    """

    name: str
    schema: pa.Schema
    scope: tuple[str, ...]
    key: tuple[str, ...]
    volatile: tuple[str, ...] = ()
    doc: str = ""
