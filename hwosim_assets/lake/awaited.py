"""Files that the archive did not give this time and may give another time: the ``awaited`` table.

Holds: the table and its rows. A file stands in it whether the lake has an earlier version of it or none
(then it stands in quarantine too); whoever looks at the archive again asks for the programs that have
rows here, although nothing changed there. Keep out which failures may pass (``lake.transfer``) and what
is refused for good (``lake.rejections``).
"""

from __future__ import annotations

import pyarrow as pa

from hwosim_assets.lake.rejections import Rejection
from hwosim_assets.lake.spec import TableSpec

__all__ = ["AWAITED", "awaited_rows"]

AWAITED = TableSpec(
    name="awaited",
    schema=pa.schema(
        [
            pa.field("program", pa.string(), nullable=False),
            pa.field("data_uri", pa.string(), nullable=False),
            pa.field("product_name", pa.string(), nullable=False),
            pa.field("rule", pa.string(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
        ]
    ),
    scope=("program",),
    key=("data_uri",),
    doc="One row for each file that will be asked for again, although the archive says nothing new.",
)


def awaited_rows(program: str, awaited: list[Rejection]) -> pa.Table:
    """Return refusals that may pass as rows of the table.

    Parameters
    ----------
    program : str
        Five digits.
    awaited : list of Rejection
        One per archive URI.
    """
    rows = [
        {
            "program": program,
            "data_uri": item.data_uri,
            "product_name": item.product_name,
            "rule": item.rule,
            "reason": item.reason,
        }
        for item in awaited
    ]
    return pa.Table.from_pylist(rows, schema=AWAITED.schema)
