"""Where a file keeps the times of an exposure, and how one is written anew in as many bytes.

Holds: the names of cards and columns that are read off the observatory's clock, moments as text, and tables as they
lie in a :class:`FitsFile`. Keep out how far a clock is off (``clock``), and when frames were exposed
(``perturb.times``).
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.cards import header_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.fitsfile import FitsFile, Hdu

__all__ = [
    "GROUP_END",
    "JD_ZERO",
    "LATEST",
    "NUMBERS",
    "PARTNERS",
    "TEXTS",
    "Table",
    "card_text",
    "moved_text",
    "names_of",
    "text_mjd",
]

#: Cards and columns (in capitals) that are MJD or BJD, of the exposure, its integrations and its groups.
NUMBERS = re.compile(
    r"EXP(START|MID|END)|(MJD|TDB)-(BEG|AVG|MID|END)|[BH](STR|MID|END)TIME|DATA(STRT|END)|"
    r"INT_(START|MID|END)_(MJD_UTC|BJD_TDB)|(BARY|HELIO)_END_TIME"
)
#: Those that are a date and a time as text: of the exposure, and of the visit and the guiding that it belongs to.
TEXTS = re.compile(
    r"DATE-(OBS|BEG|AVG|END)|VSTSTART|VISITEND|GSSTRTTM|GSENDTIM|GF_(START|END)|HGA_ST(RT|OP)|GROUP_END_TIME"
)
#: Times at the barycentre or the Sun, each with the time at the telescope that it was made of.
PARTNERS = {
    **{
        f"{sun}{word}TIME": f"EXP{exp}"
        for sun in "BH"
        for word, exp in (("STR", "START"), ("MID", "MID"), ("END", "END"))
    },
    **{f"TDB-{one}": f"MJD-{other}" for one, other in (("BEG", "BEG"), ("MID", "AVG"), ("END", "END"))},
    **{f"INT_{word}_BJD_TDB": f"INT_{word}_MJD_UTC" for word in ("START", "MID", "END")},
    **{f"{sun}_END_TIME": "GROUP_END_TIME" for sun in ("BARY", "HELIO")},
}
#: Columns of GROUP that together are the end of a group: days, milliseconds of the day, microseconds.
GROUP_END = ("END_DAY", "END_MILLISECONDS", "END_SUBMILLISECONDS")

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)([T ])(\d\d):(\d\d):(\d\d)(\.?)(\d*)")
_TEXT = re.compile(rb"[A-Z0-9_-]{1,8} *= *'((?:[^']|'')*)'")
#: Later than any time that a file tells, MJD or JD.
LATEST = 1e7
#: JD of MJD 0.
JD_ZERO = 2400000.5
#: Proleptic day number of MJD 0, 17 November 1858.
_MJD_ZERO = date(1858, 11, 17).toordinal()
_DAY_S = 86400


def text_mjd(text: str) -> float | None:
    """Return a moment such as ``2022-06-05T13:40:57.785`` as MJD; ``None`` when it is none."""
    found = _parts(text)
    return None if found is None else found[0] - _MJD_ZERO + found[1] / (_DAY_S * found[2])


def moved_text(text: str, seconds: float) -> str | None:
    """Return a moment that is later by seconds, with as many digits; ``None`` when it is none or has no such date."""
    found, form = _parts(text), _MOMENT.fullmatch(text)
    if found is None or form is None:
        return None
    day, ticks, scale = found
    later, ticks = divmod(ticks + round(seconds * scale), _DAY_S * scale)
    try:
        moved = date.fromordinal(day + later).isoformat()
    except (ValueError, OverflowError):
        return None
    whole, part = divmod(ticks, scale)
    clock = f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{moved}{form[2]}{clock}{form[6]}" + (f"{part:0{len(form[7])}d}" if form[7] else "")


def _parts(text: str) -> tuple[int, int, int] | None:
    """Return (proleptic day, ticks of the day, ticks in a second)."""
    form = _MOMENT.fullmatch(text)
    if form is None:
        return None
    try:
        day = date.fromisoformat(form[1]).toordinal()
    except ValueError:
        return None
    scale = 10 ** len(form[7])
    return day, ((int(form[3]) * 60 + int(form[4])) * 60 + int(form[5])) * scale + int(form[7] or 0), scale


def card_text(card: bytes) -> str | None:
    """Return the text in a card, or ``None`` where it holds none or goes on in another card."""
    found = _TEXT.match(card) if len(card) == 80 else None
    return found[1].decode("latin-1").rstrip() if found else None


class Table:
    """The columns of a binary table as they lie in a file: what is written to them is written to the file.

    Parameters
    ----------
    file : FitsFile
        The file, with the arrays of its input in their places: effects that move arrays come later.
    hdu : Hdu
        A binary table of it, with rows.
    """

    def __init__(self, file: FitsFile, hdu: Hdu) -> None:
        from astropy.io import fits

        columns = fits.BinTableHDU.fromstring(header_bytes(hdu.cards)).columns
        width, rows = _count(hdu, "NAXIS1"), _count(hdu, "NAXIS2")
        body = file.data[hdu.data_offset : hdu.data_offset + hdu.data_bytes]
        #: Their names in capitals, and as they are written; none where two are the same or rows have other bytes.
        self.names: dict[str, str] = {}
        if len({name.upper() for name in columns.names}) < len(columns.names):
            return
        kinds = columns.dtype.newbyteorder(">")
        if width == kinds.itemsize:
            self._rows: NDArray[Any] = np.frombuffer(body, kinds, rows)
            scaled = {column.name for column in columns if column.bscale or column.bzero}
            self.names = {name.upper(): name for name in columns.names if name not in scaled}

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a column, as it is stored, by its name in capitals."""
        column: NDArray[Any] = self._rows[self.names[name]]
        return column


def names_of(hdu: Hdu) -> set[str]:
    """Return the names of the columns of a binary table that has rows, in capitals; none of another HDU."""
    if b"'BINTABLE'" not in (hdu.find("XTENSION") or b"") or not _count(hdu, "NAXIS2"):
        return set()
    return {(card_text(card) or "").upper() for card in hdu.cards if card.startswith(b"TTYPE")}


def _count(hdu: Hdu, keyword: str) -> int:
    return int((hdu.find(keyword) or b"")[10:30].split(b"/")[0])
