"""The two layouts of time-series spectra: one table with a row for each integration, or a table for each.

Holds: finding them in a product, and making one of the other inside a :class:`FitsFile`. Keep out when that is done
(``schema``), and what spectra mean (``perturb.measurements``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effects.references import card_number

if TYPE_CHECKING:
    from hwosim_assets.perturb.fitsfile import FitsFile, Hdu
    from hwosim_assets.perturb.product import Product

__all__ = ["joined", "parted", "tables_of"]

#: Bytes of an element by the letter of TFORM (FITS 4.0, table 18), of those that spectra have.
_BYTES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8}
_FORM = re.compile(r"(\d*)([LBIJKAED])")
_NUMPY = {"I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
#: What a table of all integrations has a number of in each row, and a table of one in its header.
_SINGLE = ("INT_NUM", "MJD-BEG", "MJD-AVG", "MJD-END", "TDB-BEG", "TDB-MID", "TDB-END")
_STRUCTURE = re.compile(
    rb"(XTENSION|BITPIX|NAXIS[12]?|PCOUNT|GCOUNT|TFIELDS|EXTVER|CHECKSUM|DATASUM|END|"
    rb"(TTYPE|TFORM|TUNIT|TNULL|TSCAL|TZERO|TDISP|TDIM)\d+) *(=|$)"
)


@dataclass(frozen=True)
class _Column:
    """One column of a table: its name, form, place in a row, and its other cards by their word."""

    name: str
    letter: str
    repeat: int
    offset: int
    extra: dict[str, bytes]

    @property
    def width(self) -> int:
        """Bytes of the column in a row."""
        return self.repeat * _BYTES[self.letter]

    def cards(self, number: int, repeat: int) -> list[bytes]:
        """Return its cards as the column of another number and length."""
        form = f"{repeat if repeat > 1 else ''}{self.letter}"
        made = [_card(f"TTYPE{number}", f"'{self.name:<8}'"), _card(f"TFORM{number}", f"'{form:<8}'")]
        return made + [f"{word}{number}".ljust(8).encode() + rest for word, rest in self.extra.items()]


def _card(keyword: str, value: str) -> bytes:
    body = value.ljust(20) if value.startswith("'") else value.rjust(20)
    return f"{keyword:<8}= {body}".ljust(80).encode("latin-1")


def tables_of(product: Product) -> list[int]:
    """Return the HDUs of time-series spectra: one that has all integrations, or one for each; else none."""
    spectra = [item for item in product.measurements if item.sci.column.upper() == "FLUX"]
    if not product.name.lower().split(".")[0].endswith("x1dints"):
        return []
    if len(spectra) == 1 and spectra[0].frames > 1:
        return [spectra[0].sci.hdu]
    alike = len({(item.sci.extname, item.sci.shape) for item in spectra}) == 1
    return [item.sci.hdu for item in spectra] if alike and len(spectra) > 1 else []


def parted(file: FitsFile, table: int) -> list[dict[str, Any]]:
    """Make a table for each integration of one that has all; return the events for the truth record.

    A column of one number in a row becomes a card, where its name fits into one; other such columns and texts are left
    out. Nothing where the table is no table of vectors.
    """
    hdu = file.hdus[table]
    columns, rows = _columns(hdu), _number(hdu, "NAXIS2")
    length = max((column.repeat for column in columns if column.name.upper() == "FLUX"), default=0)
    vectors = [column for column in columns if column.repeat == length > 1 and column.letter != "A"]
    if not vectors:
        return []
    single = [column for column in columns if column.name in _SINGLE and column.repeat == 1 and column.letter in _NUMPY]
    body, common = _body(file, hdu, rows), _other_cards(hdu)
    for row in range(rows):
        cells = [body[row, each.offset : each.offset + each.width].reshape(length, -1) for each in vectors]
        data = np.concatenate(cells, axis=1)
        numbers = {each.name: _value(body[row], each) for each in single}
        said = [_card(name, value) for name, value in numbers.items() if value]
        cards = _table_cards(data.shape[1], length, vectors, [1] * len(vectors), row + 1)
        file.insert(hdu, [*cards, *common, *said], data.tobytes())
    file.drop(hdu)
    kept = {column.name for column in (*vectors, *single)}
    left_out = [column.name for column in columns if column.name not in kept]
    return [{"hdu": table, "layout": "a table for each integration", "tables": rows, "left_out": left_out}]


def joined(file: FitsFile, tables: list[int]) -> list[dict[str, Any]]:
    """Make one table with a row for each integration of tables that have one; nothing where they differ in form.

    Columns of texts are left out.
    """
    hdus = [file.hdus[table] for table in tables]
    forms = {tuple((each.name, each.letter, each.repeat) for each in _columns(hdu)) for hdu in hdus}
    lengths = {_number(hdu, "NAXIS2") for hdu in hdus}
    columns = [column for column in _columns(hdus[0]) if column.letter != "A"]
    if len(forms) > 1 or len(lengths) > 1 or not columns or any(column.repeat > 1 for column in columns):
        return []
    (length,) = lengths
    single = [name for name in _SINGLE if all(card_number(hdu.find(name) or b"") is not None for hdu in hdus)]
    rows = []
    for hdu in hdus:
        body = _body(file, hdu, length)
        cells = [body[:, each.offset : each.offset + each.width].tobytes() for each in columns]
        numbers = [_stored(hdu.find(name) or b"", name) for name in single]
        rows.append(b"".join([*cells, *numbers]))
    named = [_Column(name, "J" if name == "INT_NUM" else "D", 1, 0, {}) for name in single]
    repeats = [length] * len(columns) + [1] * len(named)
    cards = _table_cards(len(rows[0]), len(rows), [*columns, *named], repeats, 1)
    common = [card for card in _other_cards(hdus[0]) if card[:8].decode("latin-1").rstrip() not in single]
    file.insert(hdus[0], [*cards, *common], b"".join(rows))
    for hdu in hdus:
        file.drop(hdu)
    return [{"hdu": tables[0], "layout": "one table of all integrations", "tables": len(rows)}]


def _body(file: FitsFile, hdu: Hdu, rows: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the bytes of a table, a copy, as (rows, bytes)."""
    if hdu.new_data is None:
        data = bytes(file.data[hdu.data_offset : hdu.data_offset + hdu.data_bytes])
    else:
        data = b"".join(hdu.new_data.make())
    width = _number(hdu, "NAXIS1")
    return np.frombuffer(data, np.uint8)[: rows * width].reshape(rows, width)


def _columns(hdu: Hdu) -> list[_Column]:
    """Return the columns of a table; none where one of them has a form that spectra do not have."""
    found, offset = [], 0
    for number in range(1, _number(hdu, "TFIELDS") + 1):
        form = _FORM.fullmatch(_text(hdu, f"TFORM{number}"))
        if form is None:
            return []
        words = ("TUNIT", "TNULL", "TSCAL", "TZERO", "TDISP")
        extra = {word: card[8:] for word in words if (card := hdu.find(f"{word}{number}")) is not None}
        column = _Column(_text(hdu, f"TTYPE{number}"), form[2], int(form[1] or 1), offset, extra)
        found.append(column)
        offset += column.width
    return found


def _table_cards(width: int, rows: int, columns: list[_Column], repeats: list[int], version: int) -> list[bytes]:
    sizes = {"BITPIX": 8, "NAXIS": 2, "NAXIS1": width, "NAXIS2": rows, "PCOUNT": 0, "GCOUNT": 1}
    cards = [_card("XTENSION", "'BINTABLE'"), *(_card(word, str(value)) for word, value in sizes.items())]
    cards.append(_card("TFIELDS", str(len(columns))))
    for number, (column, repeat) in enumerate(zip(columns, repeats, strict=True), 1):
        cards += column.cards(number, repeat)
    return [*cards, _card("EXTVER", str(version))]


def _other_cards(hdu: Hdu) -> list[bytes]:
    return [card for card in hdu.cards if not _STRUCTURE.match(card) and card.strip()]


def _number(hdu: Hdu, keyword: str) -> int:
    return int((hdu.find(keyword) or b"")[10:80].split(b"/")[0])


def _text(hdu: Hdu, keyword: str) -> str:
    return (hdu.find(keyword) or b"")[10:80].decode("latin-1").split("'")[1].strip()


def _value(row: np.ndarray[Any, np.dtype[np.uint8]], column: _Column) -> str:
    """Return the number of a column in a row as it stands in a card; empty where it is none."""
    value = row[column.offset : column.offset + column.width].view(_NUMPY[column.letter])[0]
    if column.letter in "IJK":
        return str(int(value))
    return repr(float(value)).upper() if np.isfinite(value) else ""


def _stored(card: bytes, name: str) -> bytes:
    """Return the number in a card as a column stores it."""
    value = card_number(card) or 0.0
    return np.array(value, ">i4" if name == "INT_NUM" else ">f8").tobytes()
