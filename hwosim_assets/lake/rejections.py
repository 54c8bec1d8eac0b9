"""Files that could not go on, and why: the quarantine table.

Holds: :class:`Rejection`, the ``quarantine`` table. Every stage that refuses a file says so with a
rejection; nobody raises for one bad file. Keep out the rules themselves; they stand with the stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from hwosim_assets.lake.spec import TableSpec

__all__ = ["QUARANTINE", "Rejection", "rejection_rows"]


@dataclass(frozen=True)
class Rejection:
    """One file that a stage refused.

    Attributes
    ----------
    product_name : str
        Archive file name.
    stage : {"raw", "catalog", "perturbed"}
        The stage that refused it.
    rule : str
        Short name of the broken rule in snake case, for example ``fits_structure``.
    reason : str
        One sentence that a JWST user would agree with.
    data_uri : str
        Archive URI where known, else empty.
    sha256 : str
        Content hash of the bytes looked at where known, else empty.
    """

    product_name: str
    stage: str
    rule: str
    reason: str
    data_uri: str = ""
    sha256: str = ""


QUARANTINE = TableSpec(
    name="quarantine",
    schema=pa.schema(
        [
            pa.field("program", pa.string(), nullable=False),
            pa.field("stage", pa.string(), nullable=False),
            pa.field("product_name", pa.string(), nullable=False),
            pa.field("rule", pa.string(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("data_uri", pa.string()),
            pa.field("sha256", pa.string()),
        ]
    ),
    scope=("program", "stage"),
    key=("product_name", "rule"),
    doc="One row for each file a stage refused, and the rule it broke.",
)


def rejection_rows(program: str, rejections: list[Rejection]) -> pa.Table:
    """Return rejections as rows of the quarantine table."""
    rows = [
        {
            "program": program,
            "stage": item.stage,
            "product_name": item.product_name,
            "rule": item.rule,
            "reason": item.reason,
            "data_uri": item.data_uri,
            "sha256": item.sha256,
        }
        for item in rejections
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINE.schema)
