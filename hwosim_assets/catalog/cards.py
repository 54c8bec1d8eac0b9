"""The table of header cards.

Holds: :data:`HEADER_CARDS`, the view :data:`HEADER_KEYWORDS` and the rows of one file. One column per
value type, so that a keyword with mixed types (there are 28 in real JWST primary headers) never breaks a
column. Keep out the reading of cards; that is ``fits.cards``.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.sql import View

if TYPE_CHECKING:
    from hwosim_assets.fits.cards import HeaderCard

__all__ = ["HEADER_CARDS", "HEADER_KEYWORDS", "card_rows"]

HEADER_CARDS = TableSpec(
    name="header_cards",
    schema=pa.schema(
        [
            pa.field("program", pa.string(), nullable=False),
            pa.field("product_name", pa.string(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("hdu", pa.int64(), nullable=False),
            pa.field("extname", pa.string(), nullable=False),
            pa.field("extver", pa.int64(), nullable=False),
            pa.field("card_index", pa.int64(), nullable=False),
            pa.field("keyword", pa.string(), nullable=False),
            pa.field("value_bool", pa.bool_()),
            pa.field("value_long", pa.int64()),
            pa.field("value_double", pa.float64()),
            pa.field("value_string", pa.string()),
            pa.field("unit", pa.string()),
            pa.field("comment", pa.string()),
            pa.field("raw", pa.binary(), nullable=False),
            pa.field("form", pa.string()),
            pa.field("damaged", pa.bool_()),
        ]
    ),
    scope=("program",),
    key=("product_name", "sha256", "hdu", "card_index"),
    doc="One row for each header card of each HDU of each readable file; `raw` joined, in order, gives it back, "
    "but for cards of form `image`: the header that a tile-compressed image has when unpacked.",
)

#: The cards that have a value, a value in one column: as text, and as a number where it is one.
HEADER_KEYWORDS = View(
    HEADER_CARDS.name,
    """
    SELECT program, product_name, hdu, extname, extver, keyword,
        coalesce(value_string, value_bool::VARCHAR, value_long::VARCHAR, value_double::VARCHAR) AS value,
        coalesce(value_double, value_long::DOUBLE) AS number, unit, comment
    FROM header_cards
    WHERE keyword NOT IN ('', 'COMMENT', 'HISTORY')
        AND (value_string IS NOT NULL OR value_bool IS NOT NULL OR value_long IS NOT NULL OR value_double IS NOT NULL)
    """,
)

#: Cards that are turned into rows at once.
_PART = 20_000
_VALUE_COLUMNS: tuple[tuple[type, str], ...] = (
    (bool, "value_bool"),
    (int, "value_long"),
    (float, "value_double"),
    (str, "value_string"),
)


def card_rows(program: str, product_name: str, sha256: str, cards: Iterable[HeaderCard]) -> pa.Table:
    """Return the cards of one file as rows of :data:`HEADER_CARDS`, in file order."""
    source = iter(cards)
    parts = [HEADER_CARDS.schema.empty_table()]
    # in parts, since Python's objects take ten times what Arrow's rows do
    while some := list(islice(source, _PART)):
        parts.append(_rows_of(program, product_name, sha256, some))
    return pa.concat_tables(parts)


def _rows_of(program: str, product_name: str, sha256: str, cards: list[HeaderCard]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in HEADER_CARDS.schema.names}
    for card in cards:
        for name in ("hdu", "extname", "extver", "card_index", "keyword", "comment", "raw"):
            columns[name].append(getattr(card, name))
        columns["unit"].append(card.unit or None)
        columns["form"].append("image" if card.form == "image" else None)
        columns["damaged"].append(card.damaged or None)
        # type, not isinstance: a bool is an int in Python
        for kind, name in _VALUE_COLUMNS:
            columns[name].append(card.value if type(card.value) is kind else None)
    count = len(columns["hdu"])
    columns |= {"program": [program] * count, "product_name": [product_name] * count, "sha256": [sha256] * count}
    return pa.table(columns, schema=HEADER_CARDS.schema)
