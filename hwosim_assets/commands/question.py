"""What a search asks, as options of a command: the same for every command that starts from a search.

Holds: :func:`search_options` and :func:`question_of`. Keep out what a command does with what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from hwosim_assets.catalog.footprint_search import Cone, Polygon
    from hwosim_assets.catalog.search import Question
    from hwosim_assets.catalog.search_joins import CardTest

__all__ = ["program_option", "question_of", "search_options"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


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


#: One program, as every command takes it; it arrives in five digits.
program_option = click.option("--program", metavar="P", callback=_program, help="JWST program, padded or not.")
_OPTIONS = (
    program_option,
    click.option("--observation", type=click.IntRange(0, 999), help="Observation of the program."),
    click.option("--visit", type=click.IntRange(0, 999), help="Visit of the observation."),
    click.option("--product", metavar="NAME", help="Whole file name of one product."),
    click.option("--instrument", metavar="I", help="NIRCAM for all its modes, NIRCAM/IMAGE for one."),
    click.option("--filter", "optics", metavar="F", help="Optical element in the beam, for example F150W or G395H."),
    click.option("--product-type", metavar="T", help="Suffix of the kind of product, for example cal, s3d, x1d."),
    click.option("--level", type=click.IntRange(1, 4), help="CAOM calibration level."),
    click.option("--cone", type=float, nargs=3, callback=_cone, metavar="RA DEC RADIUS", help="In degrees, ICRS."),
    click.option("--polygon", callback=_polygon, metavar="'RA DEC RA DEC ...'", help="Corners in degrees, ICRS."),
    click.option("--targets", type=click.Path(exists=True, dir_okay=False), help="File of lines: RA DEC, or a name."),
    click.option("--radius", type=float, default=0.01, show_default=True, help="Around each place of --targets (deg)."),
    click.option(
        "--between", nargs=2, callback=_moments, metavar="T0 T1", help="Exposed between; MJD or ISO dates, UTC."
    ),
    click.option("--rights", type=click.Choice(["PUBLIC", "EXCLUSIVE_ACCESS", "RESTRICTED"], case_sensitive=False)),
    click.option(
        "--key", "tests", multiple=True, callback=_tests, metavar="'K>V'", help="Header card of any HDU; repeat."
    ),
    click.option("--where", metavar="FILTER", help='Row filter over columns: "t_exptime > 100 and kw_nints = 1".'),
)


def search_options(command: F) -> F:
    """Add the options of a search to a command; :func:`question_of` makes a question of what arrives."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def question_of(asked: dict[str, Any]) -> Question:
    """Return the question that the options ask.

    Raises
    ------
    BadInputError
        If a file of targets cannot be read.
    """
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
