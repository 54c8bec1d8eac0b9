"""Finding products in the catalog.

Holds: :class:`Question`, what may be asked for, :func:`find`, which answers and says what it read, and
:func:`search`, its short form. Keep out geometry (``catalog.footprint_search``), header cards and rights
(``catalog.search_joins``), the archive's own search (``archive.client``) and how results are printed.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.catalog.footprint_search import Cone, Polygon, may_touch, touched
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.catalog.search_joins import CardTest, with_cards, with_rights
from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.names import program_in_name, program_key
from hwosim_assets.lake.selective import Plan, plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.lake.zones import Zone, Zones

__all__ = ["PLACE_COLUMNS", "SEARCH_COLUMNS", "Found", "Question", "accepted_by", "find", "placed_in", "search"]

#: What a search returns unless asked for other columns.
SEARCH_COLUMNS = [
    "program", "product_name", "obs_id", "product_type", "calib_level", "dataproduct_type", "instrument_name",
    "detector", "filters", "exp_type", "target_name", "s_ra", "s_dec", "s_fov", "t_min", "t_max", "t_exptime",
    "em_min", "em_max", "size_bytes", "sha256", "uri", "data_uri", "warnings",
]  # fmt: skip

#: What :func:`placed_in` looks at.
PLACE_COLUMNS = ["s_region", "s_ra", "s_dec", "s_fov", "target_name"]


@dataclass(frozen=True)
class Question:
    """What products are asked for; every criterion that is given must hold.

    Attributes
    ----------
    program : str or int or None
        Padded or not.
    name : str or None
        A product's whole file name.
    observation, visit : int or None
        Parts of the program.
    instrument : str or None
        ``NIRCAM`` or, with its configuration, ``NIRCAM/IMAGE``.
    filter : str or None
        Optical element, for example ``F150W``; one of those in the beam.
    product_type : str or None
        Suffix, for example ``cal``.
    level : int or None
        CAOM calibration level.
    areas : tuple of (Cone or Polygon)
        One of them must touch the footprint (else the position); a product without position is not found.
    targets : tuple of str
        One of them must be the target's name; case and spaces do not matter. Beside areas, either counts.
    between : (float, float) or None
        MJD UTC; found is what was exposed at any time between, both ends included.
    rights : str or None
        ``PUBLIC``, ``EXCLUSIVE_ACCESS`` or ``RESTRICTED``, as the archive said.
    cards : tuple of CardTest
        Comparisons with header cards.
    where : str or None
        Row filter over the columns of the products table, as PyIceberg reads it.
    """

    program: str | int | None = None
    name: str | None = None
    observation: int | None = None
    visit: int | None = None
    instrument: str | None = None
    filter: str | None = None
    product_type: str | None = None
    level: int | None = None
    areas: tuple[Cone | Polygon, ...] = ()
    targets: tuple[str, ...] = ()
    between: tuple[float, float] | None = None
    rights: str | None = None
    cards: tuple[CardTest, ...] = ()
    where: str | None = None

    def __post_init__(self) -> None:
        if self.between and not self.between[0] <= self.between[1]:
            start, end = self.between
            raise BadInputError(f"span {start} {end}", "ends before it starts", "give the earlier time first")

    @property
    def one_program(self) -> str | None:
        """The program asked for, said or in the product's name, in five digits."""
        if self.program is not None:
            return program_key(self.program)
        return program_in_name(self.name) if self.name else None


@dataclass(frozen=True)
class Found:
    """What was found and what was read for it.

    Attributes
    ----------
    rows : pyarrow.Table
        Ordered by program and product name.
    plan : Plan or None
        ``None`` where there is no products table yet.
    """

    rows: pa.Table
    plan: Plan | None


def search(
    tables: Tables,
    program: str | int | None = None,
    instrument: str | None = None,
    product_type: str | None = None,
    level: int | None = None,
    cone: tuple[float, float, float] | None = None,
    between: tuple[float, float] | None = None,
    *,
    columns: list[str] | None = None,
) -> pa.Table:
    """Find validated products by the criteria asked for most; see :class:`Question` for all.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    program, instrument, product_type, level, between
        As in :class:`Question`.
    cone : (float, float, float), optional
        Right ascension, declination, radius, deg ICRS.
    columns : list of str, optional
        Columns to return, :data:`SEARCH_COLUMNS` by default.

    Returns
    -------
    pyarrow.Table
        Ordered by program and product name; empty when nothing is found.

    Raises
    ------
    BadInputError
        When a value cannot be a program, a position, a radius, a span of time or a column.
    """
    areas = (Cone(*cone),) if cone else ()
    question = Question(
        program=program, instrument=instrument, product_type=product_type, level=level, areas=areas, between=between
    )
    return find(tables, question, columns=columns).rows


def find(tables: Tables, question: Question, *, columns: list[str] | None = None) -> Found:
    """Find validated products.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    question : Question
        What is asked for.
    columns : list of str, optional
        Columns to return, :data:`SEARCH_COLUMNS` by default.

    Raises
    ------
    BadInputError
        When a value cannot be a program or a column, or ``where`` is no row filter.
    BackendAbsentError
        If catalog or store cannot be used.
    """
    wanted = columns or SEARCH_COLUMNS
    unknown = set(wanted) - set(PRODUCTS.schema.names)
    if unknown:
        raise BadInputError(f"column {sorted(unknown)[0]!r}", "is none of the products table", "see docs or drop it")
    accepted = accepted_by(question)  # refuses a bad question before anything is opened
    narrow = _Narrow(question)

    def once(table: Any) -> Found:
        planned = plan(table, narrow, question.one_program)
        needed = ["program", "product_name", "sha256", "data_uri"]
        needed += PLACE_COLUMNS if question.areas or question.targets else []
        rows = planned.read(list(dict.fromkeys([*wanted, *needed])), accepted)
        if question.areas or question.targets:
            rows = rows.filter(pa.array(placed_in(rows, question)))
        return Found(rows, planned)

    found = tables.look(PRODUCTS.name, once)
    if found is None:
        return Found(PRODUCTS.schema.empty_table().select(wanted), None)
    rows = with_cards(tables, found.rows, question.cards)
    rows = with_rights(tables, rows, question.rights)
    order = [("program", "ascending"), ("product_name", "ascending")]
    return Found(rows.sort_by(order).select(wanted), found.plan)


class _Narrow:
    """Says of the summaries of row groups in which of them rows that are asked for may be."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._program = question.one_program
        cells = [area.cells for area in question.areas]
        known = [each for each in cells if each is not None]
        every = not question.areas or bool(question.targets) or len(known) < len(cells)
        self._cells = None if every else np.unique(np.concatenate(known))

    def __call__(self, zones: Zones) -> list[int]:
        between = self._question.between
        near = np.ones(len(zones), bool)
        if between is not None:
            near &= zones.overlapping(*between)
        if self._cells is not None:
            near &= zones.holding(self._cells)
        return [number for number in near.nonzero()[0].tolist() if self._may_hold(zones.each[number])]

    def _may_hold(self, zone: Zone) -> bool:
        asked = self._question
        return (
            _holds(zone["program"], self._program)
            and _holds(zone["product_name"], asked.name)
            and (asked.product_type is None or asked.product_type.lower() in zone["product_type"])
            and (asked.between is None or _exposed(zone, *asked.between, asked.instrument))
            and (asked.instrument is None or any(_is_instrument(asked.instrument, n) for n in zone["instrument_name"]))
            and (asked.filter is None or any(asked.filter.upper() in n.split(";") for n in zone["filters"]))
        )


def _holds(span: list[Any] | None, value: str | None) -> bool:
    return value is None or (span is not None and span[0] <= value <= span[1])


def _exposed(zone: Zone, start: float, end: float, instrument: str | None) -> bool:
    """Tell whether a row group may have an exposure of an instrument (any without one) on the days of a span."""
    days: dict[str, list[int]] | None = zone.get("days")  # a summary that was stored by an earlier version has none
    if days is None:
        return True
    wanted = [of for name, of in days.items() if instrument is None or _is_instrument(instrument, name)]
    first = float(np.floor(start))
    return any(at < len(of) and of[at] <= end for of in wanted for at in [bisect_left(of, first)])


def _is_instrument(asked: str, name: str) -> bool:
    return asked.upper() in (name, name.split("/")[0])


def accepted_by(question: Question) -> Any:
    """Return what can be said of single rows as an Arrow expression; ``None`` for all.

    Raises
    ------
    BadInputError
        When a value cannot be a program, or ``where`` is no row filter.
    """
    tests = []
    equal = {
        "program": question.one_program,
        "product_name": question.name,
        "product_type": question.product_type and question.product_type.lower(),
        "calib_level": question.level,
        "kw_observtn": None if question.observation is None else f"{question.observation:03d}",
        "kw_visit": None if question.visit is None else f"{question.visit:03d}",
    }
    tests += [pc.field(name) == value for name, value in equal.items() if value is not None]
    if question.instrument is not None:
        asked, name = question.instrument.upper(), pc.field("instrument_name")
        tests.append((name == asked) | pc.starts_with(name, f"{asked}/"))
    if question.filter is not None:
        one = f"(^|;){re.escape(question.filter.upper())}(;|$)"
        tests.append(pc.match_substring_regex(pc.field("filters"), one))
    if question.between is not None:
        start, end = question.between
        last = pc.coalesce(pc.field("t_max"), pc.field("t_min"))
        tests.append((pc.field("t_min") <= end) & (last >= start))
    if question.where is not None:
        tests.append(_row_filter(question.where))
    accepted = None
    for test in tests:
        accepted = test if accepted is None else accepted & test
    return accepted


def _row_filter(text: str) -> Any:
    """Return a row filter as an Arrow expression; it can name columns of the products table and nothing else."""
    from pyarrow import ArrowInvalid
    from pyiceberg.expressions.parser import parse
    from pyiceberg.expressions.visitors import bind
    from pyiceberg.io.pyarrow import _pyarrow_to_schema_without_ids, expression_to_pyarrow
    from pyiceberg.schema import assign_fresh_schema_ids
    from pyparsing import ParseBaseException

    schema = assign_fresh_schema_ids(_pyarrow_to_schema_without_ids(PRODUCTS.schema))
    try:
        return expression_to_pyarrow(bind(schema, parse(text), case_sensitive=True))
    except (ParseBaseException, ValueError, TypeError, ArrowInvalid, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        mend = "compare columns with values, for example: t_exptime > 1000 and kw_filter = 'F150W'"
        raise BadInputError(f"--where {text[:80]!r}", f"is no row filter: {reason}", mend) from error


def placed_in(rows: pa.Table, question: Question) -> NDArray[np.bool_]:
    """Return which products touch one of the areas or are of one of the targets, as booleans of the length of rows.

    The rows have :data:`PLACE_COLUMNS`.
    """
    keep = np.zeros(rows.num_rows, bool)
    if question.areas:
        ra, dec, width = (
            rows[name].to_numpy(zero_copy_only=False).astype(float) for name in ("s_ra", "s_dec", "s_fov")
        )
        for area in question.areas:
            # Reading a region takes longer than all else, and a row group has those of other places, too.
            near = np.flatnonzero(may_touch(area, ra, dec, width))
            regions = rows["s_region"].take(near).to_pylist()
            keep[near] |= touched(area, regions, ra[near], dec[near])
    if question.targets:
        names = {_plain(name) for name in question.targets}
        keep |= np.array([name is not None and _plain(name) in names for name in rows["target_name"].to_pylist()], bool)
    return keep


def _plain(name: str) -> str:
    return "".join(name.split()).upper()
