"""``hwosim search``: products of the catalog, or observations of the archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwosim_assets.commands.question import question_of, search_options
from hwosim_assets.console import json_option, print_json, print_table, say

if TYPE_CHECKING:
    import pyarrow as pa

    from hwosim_assets.catalog.footprint_search import Cone

__all__ = ["search"]

_SHOWN = [
    "program", "product_name", "product_type", "calib_level", "instrument_name", "filters", "target_name", "s_ra",
    "s_dec", "t_min", "t_exptime",
]  # fmt: skip
_SHOWN_ARCHIVE = [
    "proposal_id", "obs_id", "dataproduct_type", "calib_level", "instrument_name", "filters", "target_name", "s_ra",
    "s_dec", "t_min", "t_exptime", "dataRights",
]  # fmt: skip
_WHERE = {"catalog": "in the catalog", "watched": "among the watched objects", "archive": "in the archive"}
_ROUNDED = {"s_ra": 5, "s_dec": 5, "t_min": 5, "t_exptime": 2}


@click.command()
@search_options
@click.option(
    "--source",
    type=click.Choice(["catalog", "watched", "archive"]),
    default="catalog",
    show_default=True,
    help="Products of the catalog, objects of watched buckets and folders, or the archive's observations.",
)
@click.option("--output", type=click.Path(dir_okay=False), help="Write to a file: .vot, .csv or .parquet.")
@click.option("--explain", is_flag=True, help="Say which part of the table was read.")
@click.option("--save", metavar="NAME", help="Keep this search as a basket: hwosim basket.")
@json_option
def search(source: str, output: str | None, explain: bool, save: str | None, as_json: bool, **asked: Any) -> None:
    """Find validated products in the catalog, watched objects, or observations in the archive.

    \b
    Example:
      hwosim search --instrument MIRI --product-type i2d
      hwosim search --cone 83.83 -5.41 0.05 --between 2022-09-01 2022-10-01
      hwosim search --instrument NIRISS --source watched
      hwosim search --polygon '83.7 -5.5 83.9 -5.5 83.8 -5.3' --key 'EFFEXPTM>100' --output found.vot
    """
    if source == "archive":
        _refuse_for_the_archive(asked, output, explain, save)
        rows = _archive(asked)
    else:
        if source == "watched":
            _refuse_for_the_watched(explain, save)
        if save is not None:
            _save(save, asked)
        full = output is not None
        found = _watched(asked, full=full) if source == "watched" else _catalog(asked, full=full, explain=explain)
        if output is not None:
            from hwosim_assets.catalog.export import write_found

            write_found(found, Path(output))
            say(f"{found.num_rows} found {_WHERE[source]}, written to {output}")
            return
        rows = found.to_pylist()
    _print(rows, source, as_json, asked["product_type"])


def _print(rows: list[dict[str, Any]], source: str, as_json: bool, product_type: str | None) -> None:
    if as_json:
        print_json(rows)
        return
    columns = {"catalog": _SHOWN, "watched": [*_SHOWN, "uri"], "archive": _SHOWN_ARCHIVE}[source]
    if source == "archive" and product_type:
        columns = ["proposal_id", "obs_id", "productFilename", "size", "calib_level", "filters", "dataRights"]
    if rows:
        print_table("", columns, [[_cell(name, row[name]) for name in columns] for row in rows])
    say(f"{len(rows)} found {_WHERE[source]}")


def _cell(name: str, value: Any) -> Any:
    return round(value, _ROUNDED[name]) if name in _ROUNDED and isinstance(value, float) else value


def _columns(full: bool) -> list[str] | None:
    """Return what is asked for: in full for a file, every ObsCore column."""
    from hwosim_assets.catalog.export import OBSCORE
    from hwosim_assets.catalog.search import SEARCH_COLUMNS

    return list(dict.fromkeys([*SEARCH_COLUMNS, *OBSCORE])) if full else None


def _refuse_for_the_watched(explain: bool, save: str | None) -> None:
    """Refuse what only the products of the catalog can be asked."""
    if explain or save is not None:
        option = "explain" if explain else "save"
        raise click.UsageError(f"--{option} is for the catalog, not for --source watched")


def _watched(asked: dict[str, Any], *, full: bool) -> pa.Table:
    """Ask for objects of watched places."""
    from hwosim_assets.catalog.search_objects import find_objects
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    return find_objects(Tables.from_settings(Settings()), question_of(asked), columns=_columns(full))


def _catalog(asked: dict[str, Any], *, full: bool, explain: bool) -> pa.Table:
    """Ask the products table."""
    from hwosim_assets.catalog.search import find
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    found = find(Tables.from_settings(Settings()), question_of(asked), columns=_columns(full))
    if explain and found.plan is not None:
        read = found.plan
        say(
            f"read {read.files_planned} of {read.files} files, {read.row_groups_planned} row groups, "
            f"{read.rows_planned} of {read.rows} rows"
        )
    return found.rows


def _save(name: str, asked: dict[str, Any]) -> None:
    """Keep a search under a name, with what it finds now."""
    from hwosim_assets.catalog.baskets import run_basket
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    settings = Settings()
    run = run_basket(name, Lake.from_settings(settings), Tables.from_settings(settings), question_of(asked))
    say(f"saved as basket {name}, run {run['run']}")


_ARCHIVE_KNOWS = {"program", "instrument", "product_type", "level", "cone", "between", "radius"}


def _refuse_for_the_archive(asked: dict[str, Any], output: str | None, explain: bool, save: str | None) -> None:
    """Refuse what only the catalog can be asked."""
    beyond = [name for name, value in asked.items() if value not in (None, ()) and name not in _ARCHIVE_KNOWS]
    beyond += ["output"] * (output is not None) + ["explain"] * explain + ["save"] * (save is not None)
    if beyond:
        option = {"optics": "filter", "tests": "key"}.get(beyond[0], beyond[0])
        raise click.UsageError(f"--{option} is for the catalog, not for --source archive")


def _archive(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask the archive for observations, or for their products where a product type is asked for."""
    from hwosim_assets.archive.client import ArchiveClient
    from hwosim_assets.settings import Settings

    cone: Cone | None = asked["cone"]
    with ArchiveClient.from_settings(Settings()) as client:
        found = client.observations(
            program=asked["program"],
            instrument=asked["instrument"],
            cone=None if cone is None else (cone.ra, cone.dec, cone.radius),
            calib_level=asked["level"],
        )
        if asked["between"]:
            found = [row for row in found if _overlaps(row, asked["between"])]
        if asked["product_type"] is None:
            return found
        wanted = asked["product_type"].upper()
        return [row for row in client.products(found) if row["productSubGroupDescription"] == wanted]


def _overlaps(row: dict[str, Any], between: tuple[float, float]) -> bool:
    start, end = row["t_min"], row["t_max"] or row["t_min"]
    return start is not None and start <= between[1] and end >= between[0]
