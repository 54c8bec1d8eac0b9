"""What a search must ask of other tables than that of products: header cards, and the archive's rights.

Holds: :class:`CardTest`, :func:`with_cards` and :func:`with_rights`. Only the programs of products that
the other criteria left are read. Keep out those criteria (``catalog.search``).
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
from hwosim_assets.catalog.cards import HEADER_CARDS
from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from hwosim_assets.lake.spec import TableSpec
    from hwosim_assets.lake.tables import Tables

__all__ = ["CardTest", "with_cards", "with_rights"]

_TEST = re.compile(r"\s*([A-Za-z0-9_-]{1,8}(?: [A-Za-z0-9_-]+)*)\s*(<=|>=|!=|==|=|<|>)\s*(.+?)\s*", re.DOTALL)
_COMPARE = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "==": operator.eq,
    "!=": operator.ne,
}  # fmt: skip


@dataclass(frozen=True)
class CardTest:
    """A comparison of a header card's value.

    Attributes
    ----------
    keyword : str
        In upper case; of any HDU of the file.
    sign : str
        One of ``< <= > >= = !=``.
    value : float or bool or str
        Numbers are compared with numbers, text with text, truth with truth; a card of another type does
        not match.
    """

    keyword: str
    sign: str
    value: float | bool | str

    @classmethod
    def parse(cls, text: str) -> CardTest:
        """Read ``EXPTIME>100``, ``SUBARRAY = FULL``, ``TARGNAME = '47 Tuc'`` or ``ZEROFRAM=T``.

        Raises
        ------
        BadInputError
            If it is no comparison.
        """
        found = _TEST.fullmatch(text)
        if not found:
            raise BadInputError(f"key {text!r}", "is no comparison", "write it as EXPTIME>100 or SUBARRAY=FULL")
        keyword, sign, word = found.groups()
        value: float | bool | str = word
        if word in {"T", "F"} and sign in {"=", "==", "!="}:
            value = word == "T"
        elif len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
            value = word[1:-1]
        else:
            try:
                value = float(word)
            except ValueError:
                value = word
        return cls(keyword.upper(), sign, value)


def with_cards(
    tables: Tables,
    rows: pa.Table,
    tests: tuple[CardTest, ...],
    cards: TableSpec = HEADER_CARDS,
    file: tuple[str, ...] = ("product_name", "sha256"),
) -> pa.Table:
    """Return the products one of whose cards passes each test.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    rows : pyarrow.Table
        Products with ``program`` and what names their file.
    tests : tuple of CardTest
        What must hold.
    cards : TableSpec, optional
        The table of cards.
    file : tuple of str, optional
        Columns of both tables that name a file.
    """
    for test in tests:
        passed: set[tuple[str, ...]] = set()
        for program in pc.unique(rows["program"]).to_pylist():
            columns = [*file, "value_bool", "value_long", "value_double", "value_string"]
            found = tables.scan(cards, {"program": program, "keyword": test.keyword}, columns)
            passed |= _passed(found, file, test)
        names = zip(*(rows[column].to_pylist() for column in file), strict=True)
        rows = rows.filter(pa.array([each in passed for each in names], pa.bool_()))
    return rows


def _passed(cards: pa.Table, file: tuple[str, ...], test: CardTest) -> set[tuple[str, ...]]:
    """Return the files with a card that passes."""
    compare: Any = _COMPARE[test.sign]
    kinds = {bool: ["value_bool"], str: ["value_string"]}.get(type(test.value), ["value_long", "value_double"])
    found = set()
    for kind in kinds:
        some = cards.filter(pc.is_valid(cards[kind]))
        for *names, value in zip(*(some[column].to_pylist() for column in (*file, kind)), strict=True):
            if compare(value, test.value):
                found.add(tuple(names))
    return found


def with_rights(tables: Tables, rows: pa.Table, rights: str | None) -> pa.Table:
    """Return the products that the archive lists with these rights; all without a wish.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    rows : pyarrow.Table
        Products with ``program`` and ``data_uri``.
    rights : str or None
        ``PUBLIC``, ``EXCLUSIVE_ACCESS`` or ``RESTRICTED``.
    """
    if rights is None:
        return rows
    listed: set[str] = set()
    for program in pc.unique(rows["program"]).to_pylist():
        said = tables.scan(ARCHIVE_PRODUCTS, {"program": program}, ["dataURI", "dataRights"])
        listed.update(said.filter(pc.equal(said["dataRights"], rights.upper()))["dataURI"].to_pylist())
    return rows.filter(pc.is_in(rows["data_uri"], pa.array(sorted(listed), pa.string())))
