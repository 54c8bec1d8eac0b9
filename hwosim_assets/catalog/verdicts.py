"""What was decided about each raw file, so that it need not be read again.

Holds: :data:`VERDICTS`. Products and quarantine say the same for their readers; this table adds the
extractor's version, by which a file is judged anew when rules change.
"""

from __future__ import annotations

import pyarrow as pa

from hwosim_assets.lake.spec import TableSpec

__all__ = ["VERDICTS"]

VERDICTS = TableSpec(
    name="verdicts",
    schema=pa.schema(
        [
            pa.field("program", pa.string(), nullable=False),
            pa.field("product_name", pa.string(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("extractor_version", pa.int64(), nullable=False),
            pa.field("verdict", pa.string(), nullable=False),
            pa.field("cards", pa.int64(), nullable=False),
            pa.field("findings", pa.string(), nullable=False),
        ]
    ),
    scope=("program",),
    key=("product_name",),
    doc="One row for each raw file: validated or rejected, how many cards it has, and what was found (JSON).",
)
