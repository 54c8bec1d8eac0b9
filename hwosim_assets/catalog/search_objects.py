"""Searching among the objects of watched places: what ``hwosim lake watch`` and ``backfill`` catalogued.

Holds: :func:`find_objects`, which asks of them what ``catalog.search`` asks of products, and gives rows of the
same columns. Keep out the products of the archive, which alone go on to perturbation and streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.catalog.search import SEARCH_COLUMNS, Question, accepted_by, placed_in
from hwosim_assets.catalog.search_joins import with_cards
from hwosim_assets.catalog.sources import SOURCE_CARDS, SOURCE_OBJECTS
from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.names import parse_name

if TYPE_CHECKING:
    from hwosim_assets.lake.tables import Tables

__all__ = ["find_objects"]


def find_objects(tables: Tables, question: Question, *, columns: list[str] | None = None) -> pa.Table:
    """Find objects of watched places that are FITS and still there.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    question : Question
        What is asked for; of the columns that ``where`` may name those of the archive and the ``kw_*`` other than
        observation and visit are null.
    columns : list of str, optional
        Columns of the products table to return, :data:`~hwosim_assets.catalog.search.SEARCH_COLUMNS` by default.

    Returns
    -------
    pyarrow.Table
        Ordered by program, name and URI.

    Raises
    ------
    BadInputError
        When a value cannot be a program or a column, ``where`` is no row filter, or rights are asked for: who may
        see an object is its bucket's matter.
    BackendAbsentError
        If catalog or store cannot be used.
    """
    if question.rights is not None:
        raise BadInputError("--rights", "is known of the archive's products only", "ask without it")
    accepted = accepted_by(question)
    scope = {"state": "catalogued"} | ({"program": question.one_program} if question.one_program else {})
    rows = _as_products(tables.scan(SOURCE_OBJECTS, scope))
    if accepted is not None:
        rows = rows.filter(accepted)
    if question.areas or question.targets:
        rows = rows.filter(pa.array(placed_in(rows, question)))
    rows = with_cards(tables, rows, question.cards, SOURCE_CARDS, ("uri",))
    order = [("program", "ascending"), ("product_name", "ascending"), ("uri", "ascending")]
    return rows.sort_by(order).select(columns or SEARCH_COLUMNS)


def _as_products(objects: pa.Table) -> pa.Table:
    """Return objects in the columns of the products table."""
    parsed = [parse_name(name) for name in objects["product_name"].to_pylist()]
    known: dict[str, Any] = {
        "data_uri": objects["uri"],
        "access_url": objects["uri"],
        "kw_observtn": pa.array([name.observation if name else None for name in parsed], pa.string()),
        "kw_visit": pa.array([name.visit if name else None for name in parsed], pa.string()),
    }
    columns = []
    for field in PRODUCTS.schema:
        column = known.get(field.name, objects[field.name] if field.name in objects.schema.names else None)
        columns.append(pa.nulls(objects.num_rows, field.type) if column is None else pc.cast(column, field.type))
    return pa.table(columns, schema=pa.schema([field.with_nullable(True) for field in PRODUCTS.schema]))
