"""``hwosim search``: products of the catalog, or observations of the archive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hwosim_assets.console import json_option, print_json, print_table, say
from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    import pyarrow as pa

    from hwosim_assets.catalog.footprint_search import Cone, Polygon
    from hwosim_assets.catalog.search import Question
    from hwosim_assets.catalog.search_joins import CardTest

__all__ = ["search"]

T = TypeVar("T")

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


def _cone(_ctx: click.Context, _parameter: click.Parameter, value: tuple[float, float, float] | None) -> Cone | None:
    """Return a cone that is on the sky, deg."""
    from hwosim_assets.catalog.footprint_search import Cone

    return None if value is None else _as_parameter(lambda: Cone(*value))


def _polygon(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Polygon | None:
    """Return a polygon that is on the sky, from its numbers."""
    from hwosim_assets.catalog.footprint_search import Polygon

    if value is None:
        return None
    try:
        numbers = [float(word) for word in value.replace(",", " ").split()]
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no list of numbers") from error
    if len(numbers) % 2:
        raise click.BadParameter("holds an odd number of coordinates")
    return _as_parameter(lambda: Polygon(tuple(zip(numbers[::2], numbers[1::2], strict=True))))


def _tests(_ctx: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[CardTest, ...]:
    from hwosim_assets.catalog.search_joins import CardTest

    return _as_parameter(lambda: tuple(CardTest.parse(text) for text in value))


def _as_parameter(make: Callable[[], T]) -> T:
    """Make something of a parameter; what is wrong with it is wrong usage."""
    try:
        return make()
    except BadInputError as error:
        raise click.BadParameter(str(error)) from error


def _program(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Return a program number in five digits."""
    from hwosim_assets.fits.names import program_key

    try:
        return None if value is None else program_key(value)
    except BadInputError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option("--program", metavar="P", callback=_program, help="JWST program, padded or not.")
@click.option("--observation", type=click.IntRange(0, 999), help="Observation of the program.")
@click.option("--visit", type=click.IntRange(0, 999), help="Visit of the observation.")
@click.option("--product", metavar="NAME", help="Whole file name of one product.")
@click.option("--instrument", metavar="I", help="NIRCAM for all its modes, NIRCAM/IMAGE for one.")
@click.option("--filter", "optics", metavar="F", help="Optical element in the beam, for example F150W or G395H.")
@click.option("--product-type", metavar="T", help="Suffix of the kind of product, for example cal, s3d, x1d.")
@click.option("--level", type=click.IntRange(1, 4), help="CAOM calibration level.")
@click.option("--cone", type=float, nargs=3, callback=_cone, metavar="RA DEC RADIUS", help="In degrees, ICRS.")
@click.option("--polygon", callback=_polygon, metavar="'RA DEC RA DEC ...'", help="Corners in degrees, ICRS.")
@click.option("--targets", type=click.Path(exists=True, dir_okay=False), help="File of lines: RA DEC, or a name.")
@click.option("--radius", type=float, default=0.01, show_default=True, help="Around each place of --targets (deg).")
@click.option("--between", nargs=2, callback=_moments, metavar="T0 T1", help="Exposed between; MJD or ISO dates, UTC.")
@click.option("--rights", type=click.Choice(["PUBLIC", "EXCLUSIVE_ACCESS", "RESTRICTED"], case_sensitive=False))
@click.option("--key", "tests", multiple=True, callback=_tests, metavar="'K>V'", help="Header card of any HDU; repeat.")
@click.option("--where", metavar="FILTER", help='Row filter over columns: "t_exptime > 100 and kw_nints = 1".')
@click.option("--source", type=click.Choice(["catalog", "archive"]), default="catalog", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False), help="Write to a file: .vot, .csv or .parquet.")
@click.option("--explain", is_flag=True, help="Say which part of the table was read.")
@json_option
def search(source: str, output: str | None, explain: bool, as_json: bool, **asked: Any) -> None:
    """Find validated products in the catalog, or observations in the archive.

    \b
    Example:
      hwosim search --instrument MIRI --product-type i2d
      hwosim search --cone 83.83 -5.41 0.05 --between 2022-09-01 2022-10-01
      hwosim search --polygon '83.7 -5.5 83.9 -5.5 83.8 -5.3' --key 'EFFEXPTM>100' --output found.vot
    """
    if source == "archive":
        _refuse_for_the_archive(asked, output, explain)
        rows = _archive(asked)
    else:
        found = _catalog(asked, full=output is not None, explain=explain)
        if output is not None:
            from hwosim_assets.catalog.export import write_found

            write_found(found, Path(output))
            say(f"{found.num_rows} found in the catalog, written to {output}")
            return
        rows = found.to_pylist()
    _print(rows, source, as_json, asked["product_type"])


def _print(rows: list[dict[str, Any]], source: str, as_json: bool, product_type: str | None) -> None:
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


def _question(asked: dict[str, Any]) -> Question:
    from hwosim_assets.catalog.search import Question

    places, names = _targets(asked["targets"], asked["radius"]) if asked["targets"] else ((), ())
    drawn = tuple(area for area in (asked["cone"], asked["polygon"]) if area is not None)
    if len(drawn) + bool(asked["targets"]) > 1:
        raise click.UsageError("give one of --cone, --polygon and --targets")
    return Question(
        areas=drawn + places,
        targets=names,
        name=asked["product"],
        filter=asked["optics"],
        cards=asked["tests"],
        **{name: asked[name] for name in _SAME},
    )


#: Options that a question calls by the same name.
_SAME = (
    "program", "observation", "visit", "instrument", "product_type", "level", "between", "rights", "where",
)  # fmt: skip


def _targets(path: str, radius: float) -> tuple[tuple[Cone, ...], tuple[str, ...]]:
    """Read places and names, one a line; ``#`` begins a remark."""
    from hwosim_assets.catalog.footprint_search import Cone

    places, names = [], []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(path, "is no text file", "give one line of RA DEC or a name for each target") from error
    for line in lines:
        text = line.partition("#")[0].strip()
        try:
            ra, dec = (float(word) for word in text.replace(",", " ").split())
        except ValueError:
            names += [text] if text else []
        else:
            places.append(Cone(ra, dec, radius))
    if not places and not names:
        raise BadInputError(path, "names no target", "give one line of RA DEC or a name for each target")
    return tuple(places), tuple(names)


def _catalog(asked: dict[str, Any], *, full: bool, explain: bool) -> pa.Table:
    """Ask the products table; in full for a file, with every ObsCore column."""
    from hwosim_assets.catalog.export import OBSCORE
    from hwosim_assets.catalog.search import SEARCH_COLUMNS, find
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    columns = list(dict.fromkeys([*SEARCH_COLUMNS, *OBSCORE])) if full else None
    found = find(Tables.from_settings(Settings()), _question(asked), columns=columns)
    if explain and found.plan is not None:
        read = found.plan
        say(
            f"read {read.files_planned} of {read.files} files, {read.row_groups_planned} row groups, "
            f"{read.rows_planned} of {read.rows} rows"
        )
    return found.rows


_ARCHIVE_KNOWS = {"program", "instrument", "product_type", "level", "cone", "between", "radius"}


def _refuse_for_the_archive(asked: dict[str, Any], output: str | None, explain: bool) -> None:
    """Refuse what only the catalog can be asked."""
    beyond = [name for name, value in asked.items() if value not in (None, ()) and name not in _ARCHIVE_KNOWS]
    beyond += ["output"] * (output is not None) + ["explain"] * explain
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
