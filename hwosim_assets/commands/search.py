"""``hwosim search``: products of the catalog, or observations of the archive."""

from __future__ import annotations

from typing import Any

import click

from hwosim_assets.console import json_option, print_json, print_table, say
from hwosim_assets.errors import BadInputError

__all__ = ["search"]

_SHOWN = [
    "program", "product_name", "product_type", "calib_level", "instrument_name", "filters", "target_name", "s_ra",
    "s_dec", "t_min", "t_exptime",
]  # fmt: skip
_SHOWN_ARCHIVE = [
    "proposal_id", "obs_id", "dataproduct_type", "calib_level", "instrument_name", "filters", "target_name", "s_ra",
    "s_dec", "t_min", "t_exptime", "dataRights",
]  # fmt: skip
_ROUNDED = {"s_ra": 5, "s_dec": 5, "t_min": 5, "t_exptime": 2}


def _moments(
    _ctx: click.Context, _parameter: click.Parameter, value: tuple[str, str] | None
) -> tuple[float, float] | None:
    """Return two times as MJD (UTC); each is an MJD or an ISO date such as ``2022-07-12T14:30``."""
    from hwosim_assets.fits.describe import iso_mjd

    if not value:
        return None
    found = []
    for text in value:
        try:
            moment: float | None = float(text)
        except ValueError:
            moment = iso_mjd(text)
        if moment is None:
            raise click.BadParameter(f"{text!r} is neither an MJD nor an ISO date")
        found.append(moment)
    if found[0] > found[1]:
        raise click.BadParameter("ends before it starts; give the earlier time first")
    return found[0], found[1]


def _cone(
    _ctx: click.Context, _parameter: click.Parameter, value: tuple[float, float, float] | None
) -> tuple[float, float, float] | None:
    """Return a cone that is on the sky, deg."""
    if value is not None:
        ra, dec, radius = value
        if not (-360 <= ra <= 360 and -90 <= dec <= 90 and 0 <= radius <= 180):
            raise click.BadParameter(f"{ra} {dec} {radius} is no cone on the sky; give degrees, a radius of 0 to 180")
    return value


def _program(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Return a program number in five digits."""
    from hwosim_assets.fits.names import program_key

    try:
        return None if value is None else program_key(value)
    except BadInputError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option("--program", metavar="P", callback=_program, help="JWST program, padded or not.")
@click.option("--instrument", metavar="I", help="NIRCAM for all its modes, NIRCAM/IMAGE for one.")
@click.option("--product-type", metavar="T", help="Suffix of the kind of product, for example cal, s3d, x1d.")
@click.option("--level", type=click.IntRange(1, 4), help="CAOM calibration level.")
@click.option("--cone", type=float, nargs=3, callback=_cone, metavar="RA DEC RADIUS", help="In degrees, ICRS.")
@click.option("--between", nargs=2, callback=_moments, metavar="T0 T1", help="Exposed between; MJD or ISO dates, UTC.")
@click.option("--source", type=click.Choice(["catalog", "archive"]), default="catalog", show_default=True)
@json_option
def search(
    program: str | None,
    instrument: str | None,
    product_type: str | None,
    level: int | None,
    cone: tuple[float, float, float] | None,
    between: tuple[float, float] | None,
    source: str,
    as_json: bool,
) -> None:
    """Find validated products in the catalog, or observations in the archive.

    \b
    Example:
      hwosim search --instrument MIRI --product-type i2d
      hwosim search --cone 83.83 -5.41 0.05 --between 2022-09-01 2022-10-01
    """
    ask = _catalog if source == "catalog" else _archive
    rows = ask(program, instrument, product_type, level, cone, between)
    if as_json:
        print_json(rows)
        return
    columns = _SHOWN if source == "catalog" else _SHOWN_ARCHIVE
    if source == "archive" and product_type:
        columns = ["proposal_id", "obs_id", "productFilename", "size", "calib_level", "filters", "dataRights"]
    if rows:
        print_table("", columns, [[_cell(name, row[name]) for name in columns] for row in rows])
    say(f"{len(rows)} found in the {source}")


def _cell(name: str, value: Any) -> Any:
    return round(value, _ROUNDED[name]) if name in _ROUNDED and isinstance(value, float) else value


def _catalog(
    program: str | None,
    instrument: str | None,
    product_type: str | None,
    level: int | None,
    cone: tuple[float, float, float] | None,
    between: tuple[float, float] | None,
) -> list[dict[str, Any]]:
    """Ask the products table."""
    from hwosim_assets.catalog.search import search as search_catalog
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    tables = Tables.from_settings(Settings())
    found: list[dict[str, Any]] = search_catalog(
        tables, program, instrument, product_type, level, cone, between
    ).to_pylist()
    return found


def _archive(
    program: str | None,
    instrument: str | None,
    product_type: str | None,
    level: int | None,
    cone: tuple[float, float, float] | None,
    between: tuple[float, float] | None,
) -> list[dict[str, Any]]:
    """Ask the archive for observations, or for their products where a product type is asked for."""
    from hwosim_assets.archive.client import ArchiveClient
    from hwosim_assets.settings import Settings

    with ArchiveClient.from_settings(Settings()) as client:
        found = client.observations(program=program, instrument=instrument, cone=cone, calib_level=level)
        if between:
            found = [row for row in found if _overlaps(row, between)]
        if product_type is None:
            return found
        wanted = product_type.upper()
        return [row for row in client.products(found) if row["productSubGroupDescription"] == wanted]


def _overlaps(row: dict[str, Any], between: tuple[float, float]) -> bool:
    start, end = row["t_min"], row["t_max"] or row["t_min"]
    return start is not None and start <= between[1] and end >= between[0]
