"""``hwosim sql``: read-only SQL over the lake's tables."""

from __future__ import annotations

import click

from hwosim_assets.console import json_option, print_json, print_table, say
from hwosim_assets.lake.sql import TIMEOUT_S

__all__ = ["sql"]


@click.command(epilog='Example:  hwosim sql "SELECT program, count(*) FROM products GROUP BY program"')
@click.argument("query")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=TIMEOUT_S, show_default=True, help="Seconds.")
@json_option
def sql(query: str, timeout: float, as_json: bool) -> None:
    """Run one SELECT over the lake's tables; nothing else can be read, and nothing written.

    \b
    hwosim sql "SHOW TABLES"
    hwosim sql "SELECT program, count(*) FROM products GROUP BY program ORDER BY 2 DESC"
    hwosim sql "SELECT product_name, number FROM header_keywords WHERE keyword = 'EFFEXPTM' AND number > 100"
    """
    from hwosim_assets.catalog.cards import HEADER_KEYWORDS
    from hwosim_assets.lake.sql import query as run
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    rows = run(Tables.from_settings(Settings()), query, timeout_s=timeout, views={"header_keywords": HEADER_KEYWORDS})
    if as_json:
        print_json(rows.to_pylist())
    else:
        print_table("", rows.column_names, ([_cell(value) for value in row.values()] for row in rows.to_pylist()))
        say(f"{rows.num_rows} rows")


def _cell(value: object) -> object:
    """Return a value fit for a cell: bytes as their size, for nobody reads them."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else value
