"""What each HDU is, from its header: image, table or empty, its shape, type and columns.

Holds: :class:`HduFacts` and :func:`hdu_facts`. Keep out JWST's meaning of an HDU; this page knows
the FITS standard only.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hwosim_assets.fits.blocks import Block, card_value

__all__ = ["ColumnFacts", "HduFacts", "hdu_facts", "layout"]

_BITPIX = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}
#: BZERO that makes an unsigned integer of a signed one, and the reverse (FITS 4.0, table 11).
_OFFSETS = {
    ("uint8", -128): "int8",
    ("int16", 2**15): "uint16",
    ("int32", 2**31): "uint32",
    ("int64", 2**63): "uint64",
}
_TFORM = {
    "L": "bool", "X": "bit", "B": "uint8", "I": "int16", "J": "int32", "K": "int64", "A": "str",
    "E": "float32", "D": "float64", "C": "complex64", "M": "complex128", "P": "variable", "Q": "variable",
}  # fmt: skip
_ASCII_TFORM = {"A": "str", "I": "int64", "F": "float64", "E": "float64", "D": "float64"}


@dataclass(frozen=True)
class ColumnFacts:
    """One table column.

    Attributes
    ----------
    name, unit, format : str
        TTYPE, TUNIT and TFORM as in the header; empty where absent.
    dtype : str
        numpy name, or ``str``, ``bit``, ``variable``.
    shape : tuple of int
        Shape of one cell in numpy order; ``()`` for a single value (a string is one value).
    """

    name: str
    format: str
    unit: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class HduFacts:
    """One HDU.

    Attributes
    ----------
    index : int
        From 0.
    extname : str
        As in the header; ``PRIMARY`` for a nameless first HDU.
    extver : int
        From 1.
    kind : {"image", "table", "empty"}
        Tile-compressed images are images.
    shape : tuple of int
        Image shape in numpy order, or ``(rows,)`` of a table.
    dtype : str
        numpy name of the pixels as astropy gives them (unsigned by BZERO); empty for tables.
    columns : tuple of ColumnFacts
        Of a table.
    """

    index: int
    extname: str
    extver: int
    kind: Literal["image", "table", "empty"]
    shape: tuple[int, ...]
    dtype: str
    columns: tuple[ColumnFacts, ...]


def hdu_facts(block: Block) -> HduFacts:
    """Return what one HDU is, from its header alone."""
    header = block.header
    name = str(card_value(header, "EXTNAME") or ("PRIMARY" if block.index == 0 else "")).strip()
    version = card_value(header, "EXTVER")
    extver = version if isinstance(version, int) and not isinstance(version, bool) else 1
    extension = str(card_value(header, "XTENSION") or "").strip().upper()
    compressed = card_value(header, "ZIMAGE") is True
    if extension in {"BINTABLE", "A3DTABLE", "TABLE"} and not compressed:
        rows = int(header["NAXIS2"]) if card_value(header, "NAXIS") == 2 else 0
        return HduFacts(block.index, name, extver, "table", (rows,), "", _columns(header, extension))
    groups = block.index == 0 and card_value(header, "GROUPS") is True and card_value(header, "NAXIS1") == 0
    if groups:
        return HduFacts(block.index, name, extver, "table", (int(card_value(header, "GCOUNT") or 1),), "", ())
    prefix = "Z" if compressed else ""
    axes = int(card_value(header, f"{prefix}NAXIS") or 0)
    shape = tuple(int(card_value(header, f"{prefix}NAXIS{axis}") or 0) for axis in range(axes, 0, -1))
    if not shape or 0 in shape:
        return HduFacts(block.index, name, extver, "empty", shape, "", ())
    return HduFacts(block.index, name, extver, "image", shape, _image_dtype(header, prefix), ())


def layout(facts: tuple[HduFacts, ...]) -> list[dict[str, Any]]:
    """Return HDU facts as plain lists and dictionaries, for JSON."""
    return [asdict(item) for item in facts]


def _image_dtype(header: Any, prefix: str) -> str:
    """Return the dtype astropy gives an image, scaling by BSCALE and BZERO included."""
    stored = _BITPIX.get(card_value(header, f"{prefix}BITPIX") or 0, "")
    zero, scale = card_value(header, "BZERO") or 0, card_value(header, "BSCALE")
    if scale in (None, 1):
        if zero == 0 or stored.startswith("float"):
            return stored
        if (stored, zero) in _OFFSETS:
            return _OFFSETS[(stored, zero)]
    if stored.startswith("float"):
        return stored
    return "float32" if stored in {"uint8", "int16"} else "float64"


def _columns(header: Any, extension: str) -> tuple[ColumnFacts, ...]:
    """Return the columns of a table header; TFIELDS was bounded by the scan."""
    count = card_value(header, "TFIELDS")
    return tuple(_column(header, number, extension) for number in range(1, int(count or 0) + 1))


def _column(header: Any, number: int, extension: str) -> ColumnFacts:
    """Return one column from TTYPEn, TFORMn, TUNITn, TDIMn, TZEROn and TSCALn."""
    form = str(card_value(header, f"TFORM{number}") or "").strip()
    name, unit = (str(card_value(header, f"{key}{number}") or "").strip() for key in ("TTYPE", "TUNIT"))
    if extension == "TABLE":
        return ColumnFacts(name, form, unit, _ASCII_TFORM.get(form[:1].upper(), ""), ())
    found = re.match(r"(\d{0,9})([LXBIJKAEDCMPQ])", form)
    if not found:
        return ColumnFacts(name, form, unit, "", ())
    repeat, letter = int(found[1] or 1), found[2]
    dtype = _TFORM[letter]
    zero, scale = card_value(header, f"TZERO{number}") or 0, card_value(header, f"TSCAL{number}")
    if zero or scale not in (None, 1):
        integral = dtype.startswith(("int", "uint")) and scale in (None, 1)
        dtype = _OFFSETS.get((dtype, zero), "float64") if integral else "float64"
    dims = re.fullmatch(r"\(\s*(\d{1,9}(?:\s*,\s*\d{1,9})*)\s*\)", str(card_value(header, f"TDIM{number}") or ""))
    shape: tuple[int, ...] = tuple(int(part) for part in reversed(dims[1].split(","))) if dims else (repeat,)
    if letter == "A":
        shape = shape[:-1]
    elif letter in "PQ" or (not dims and repeat == 1):
        shape = ()
    return ColumnFacts(name, form, unit, dtype, shape)
