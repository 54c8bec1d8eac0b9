"""Clocks that are wrong.

Holds: effect F7. Keep out where a file keeps its times (``instants``), and gaps in time (``losses``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.instants import (
    GROUP_END,
    JD_ZERO,
    LATEST,
    NUMBERS,
    PARTNERS,
    TEXTS,
    Table,
    card_text,
    moved_text,
    names_of,
    text_mjd,
)
from hwosim_assets.perturb.effects.moments import Instant
from hwosim_assets.perturb.effects.references import card_number, set_card
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.fitsfile import FitsFile, Hdu
    from hwosim_assets.perturb.measurements import Measurement

    Floats = NDArray[np.float64]

__all__ = ["ClockError"]

_DAY = 86400.0
#: What is later than a million days is a JD and no MJD.
_JD = 1e6
_NO_TIME = "is no time"


@dataclass(frozen=True)
class _Header:
    """The times that cards tell: as MJD or JD, 0 where one is no time; as text; and the two cards of DATE-OBS."""

    told: dict[str, float]
    texts: dict[str, str]
    day: str
    clock: str


@register(
    EffectSpec(
        name="clock_error",
        title="Clock offset and drift",
        code="F7",
        stage="header",
        model="t -> t + offset + drift (t - epoch); the offset follows `when` at each time, so that it may step",
        planes=("INT_TIMES", "GROUP", "header"),
        parameters=(
            Parameter(
                "offset",
                "how far the clock is ahead",
                unit="s",
                severities=(0.06, 0.12, 0.5, 5.0, 60.0),
                high=86400.0,
                source="severity table 2026.1; JWST's clock is good to 0.12 +- 0.06 s (arXiv:2411.02238)",
            ),
            Parameter(
                "drift",
                "how much it gains in a day, in seconds",
                default=0.0,
                low=-3600.0,
                high=3600.0,
                alone=True,
                source="Herschel drifted by 60 ms/day; none by default",
            ),
            Instant(
                "epoch",
                "when the drift was nothing (MJD or ISO, UTC)",
                unit="d",
                default=59772.0,
                high=1e6,
                source="first science of JWST",
            ),
            Parameter(
                "applied",
                "to all times, or to the headers or the tables only (half-applied)",
                default="all",
                choices=("all", "headers", "tables"),
                source="a correction that reached a part of a product",
            ),
        ),
        source="linear clock model with steps",
        test="fitted offset and drift are those of the plan",
    )
)
class ClockError(Effect):
    """Times that are off: those of the exposure, its integrations and groups, its visit and its guiding.

    A time at the barycentre is off by as much as that at the telescope beside it, or in another header of the file.
    Where times moved, the truth says which are left alone, and whether an ASDF extension keeps the header's times as
    they were. What is read off another clock (EPH_TIME, DATE) stays.
    """

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._offsets: dict[float, float] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse files without times."""
        blocks = self.task.product.scan.blocks
        words = {word for block in blocks for word in block.header}
        columns = {plane.column.upper() for plane in self.task.product.planes}
        if not any(NUMBERS.fullmatch(word) or TEXTS.fullmatch(word) for word in words | columns):
            raise NotApplicableError("the file keeps no times")
        return {}

    def _ahead(self, mjd: Floats) -> Floats:
        """Return how far the clock is ahead at times (MJD, or JD), s."""
        mjd = np.where(mjd > _JD, mjd - JD_ZERO, mjd)
        known, back = np.unique(mjd, return_inverse=True)
        offset = np.array([self._offset(time) for time in known.tolist()])[back.reshape(mjd.shape)]
        return np.asarray(offset + self.task.number("drift") * (mjd - self.task.number("epoch")))

    def _offset(self, mjd: float) -> float:
        # Columns share times, and a random walk takes 0.05 ms for one.
        if mjd not in self._offsets:
            self._offsets[mjd] = self.task.number_at("offset", mjd)
        return self._offsets[mjd]

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Move the times of cards and of tables."""
        events: list[dict[str, Any]] = []
        applied = self.task.word("applied")
        headers = [_cards(hdu) for hdu in file.hdus]
        file_wide: dict[str, float] = {}
        for header in reversed(headers):
            file_wide |= {word: own for word, own in header.told.items() if own}
        for hdu, header in zip(file.hdus, headers, strict=True):
            if applied != "tables":
                events += self._move_cards(file, hdu, header, file_wide)
            if applied != "headers" and any(NUMBERS.fullmatch(name) or TEXTS.fullmatch(name) for name in names_of(hdu)):
                events += self._move_columns(file, hdu)
        if any("value" in event for event in events):
            asdf = [hdu for hdu in file.hdus if (hdu.find("EXTNAME") or b"").startswith(b"EXTNAME = 'ASDF")]
            events += [{"hdu": hdu.index, "asdf_copy_remains": True} for hdu in asdf]
        return events if any("value" in event or event.get("rows") for event in events) else []

    def _move_cards(
        self, file: FitsFile, hdu: Hdu, header: _Header, file_wide: dict[str, float]
    ) -> list[dict[str, Any]]:
        texts, day = header.texts, header.day
        events: list[dict[str, Any]] = []
        if header.clock and not day:
            events.append({"hdu": hdu.index, "keyword": "TIME-OBS", "left_alone": "no date is told beside it"})
        for word, own in header.told.items():
            if own == 0:
                events.append({"hdu": hdu.index, "keyword": word, "left_alone": _NO_TIME})
                continue
            partner = PARTNERS.get(word, word)
            seconds = float(self._ahead(np.array([header.told.get(partner) or file_wide.get(partner) or own]))[0])
            if seconds == 0:
                continue
            if word not in texts:
                events.append(set_card(file, hdu.index, word, float(f"{own + seconds / _DAY:.15g}")))
                continue
            moved = moved_text(texts[word], seconds)
            if moved is None:
                events.append({"hdu": hdu.index, "keyword": word, "left_alone": "there is no such date"})
            elif word == "DATE-OBS" and len(day) == 10:
                events += [_set_text(hdu, "DATE-OBS", moved[:10]), _set_text(hdu, "TIME-OBS", moved[11:])]
            else:
                events.append(_set_text(hdu, word, moved))
        return events

    def _move_columns(self, file: FitsFile, hdu: Hdu) -> list[dict[str, Any]]:
        table = Table(file, hdu)
        told = {name: found for name in table.names if (found := _times(table, name)) is not None}
        named = [name for name in names_of(hdu) if NUMBERS.fullmatch(name) or TEXTS.fullmatch(name)]
        events: list[dict[str, Any]] = [
            {"hdu": hdu.index, "column": table.names.get(name, name), "left_alone": "is no column of times"}
            for name in sorted(set(named) - set(told))
        ]
        for name, own in told.items():
            partner = told.get(PARTNERS.get(name, name), own)
            times = np.where(partner > 0, partner, own) if partner.shape == own.shape else own
            seconds = np.where(own > 0, self._ahead(np.where(own > 0, times, 1.0)), 0.0)
            moved = _write(table, name, own, seconds)
            events.append({"hdu": hdu.index, "column": table.names[name], **_summary(seconds[moved])})
            left = int(np.count_nonzero((own <= 0) | (~moved & (seconds != 0))))
            events[-1] |= {"rows_left_alone": left} if left else {}
        if set(GROUP_END) <= set(table.names):
            events += self._move_group_end(hdu, table, told)
        hdu.touched = hdu.touched or any(event.get("rows") for event in events)
        return events

    def _move_group_end(self, hdu: Hdu, table: Table, told: dict[str, Floats]) -> list[dict[str, Any]]:
        """Move the ends of groups that are days, milliseconds and microseconds."""
        times = told.get("GROUP_END_TIME", told.get("BARY_END_TIME"))
        day, milli, micro = (table[name] for name in GROUP_END)
        if times is None or any(each.dtype.kind != "i" or each.shape != times.shape for each in (day, milli, micro)):
            reason = "no date is told beside it"
            return [{"hdu": hdu.index, "column": table.names[name], "left_alone": reason} for name in GROUP_END]
        known = (times > 0) & (day > 0)
        seconds = np.where(known, self._ahead(np.where(known, times, 1.0)), 0.0)
        total = milli.astype(np.int64) * 1000 + micro + np.rint(seconds * 1e6).astype(np.int64)
        days, rest = np.divmod(total, 86400 * 10**6)
        for column, values in ((day, day + days), (milli, rest // 1000), (micro, rest % 1000)):
            column[known] = values[known]
        return [{"hdu": hdu.index, "column": table.names[name], **_summary(seconds[known])} for name in GROUP_END]


def _cards(hdu: Hdu) -> _Header:
    """Return the times in a header; a date and a time in two cards as one."""
    words = [word for word in dict.fromkeys(hdu.keywords()) if NUMBERS.fullmatch(word) or TEXTS.fullmatch(word)]
    cards = {word: hdu.find(word) or b"" for word in words}
    texts = {word: card_text(card) or "" for word, card in cards.items() if TEXTS.fullmatch(word)}
    clock, day = card_text(hdu.find("TIME-OBS") or b"") or "", texts.get("DATE-OBS", "")
    if clock and len(day) == 10:
        texts["DATE-OBS"] = f"{day}T{clock}"
    told = {word: text_mjd(texts[word]) if word in texts else card_number(card) for word, card in cards.items()}
    times = {word: own if own is not None and 0 < own < LATEST else 0.0 for word, own in told.items()}
    return _Header(times, texts, day, clock)


def _set_text(hdu: Hdu, keyword: str, value: str) -> dict[str, Any]:
    """Set the text in a card that is there; return the event for the truth record."""
    before = (hdu.find(keyword) or b"").decode("latin-1").rstrip()
    hdu.replace_value(keyword, f"'{value}'")
    return {"hdu": hdu.index, "keyword": keyword, "before": before, "value": value}


def _summary(seconds: Floats) -> dict[str, Any]:
    """Return how many rows moved, and by how many seconds at least and at most."""
    moved = seconds[seconds != 0]
    return {
        "rows": int(moved.size),
        "moved_s": [rounded(float(edge)) for edge in (moved.min(), moved.max())] if moved.size else [],
    }


def _text_at(table: Table, name: str, row: int) -> str:
    """Return a moment of a table; of a date and a time in two columns both."""
    text = str(table[name][row].decode("latin-1")).strip()
    if name == "DATE-OBS" and len(text) == 10 and "TIME-OBS" in table.names and table["TIME-OBS"].dtype.kind == "S":
        return f"{text}T{table['TIME-OBS'][row].decode('latin-1').strip()}"
    return text


def _times(table: Table, name: str) -> Floats | None:
    """Return the times of a column, 0 where none was written; ``None`` where it holds no times."""
    column = table[name]
    if TEXTS.fullmatch(name) and column.dtype.kind == "S" and column.ndim == 1:
        return np.array([text_mjd(_text_at(table, name, row)) or 0.0 for row in range(column.size)])
    if NUMBERS.fullmatch(name) and column.dtype.kind == "f" and column.dtype.itemsize == 8:
        return np.where((column > 0) & (column < LATEST), column, 0.0).astype(np.float64)
    return None


def _write(table: Table, name: str, own: Floats, seconds: Floats) -> NDArray[np.bool_]:
    """Move the times of a column that are to move; return which did."""
    column, moving = table[name], np.asarray(seconds != 0)
    if column.dtype.kind == "f":
        column[moving] = own[moving] + seconds[moving] / _DAY
        return moving
    for row in np.flatnonzero(moving).tolist():
        moved = moved_text(_text_at(table, name, row), float(seconds[row]))
        moving[row] = moved is not None
        if moved is None:
            continue
        cell = column[row].decode("latin-1")
        if name == "DATE-OBS" and len(cell.strip()) == 10:
            clock = table["TIME-OBS"][row].decode("latin-1")
            table["TIME-OBS"][row] = clock.replace(clock.strip(), moved[11:]).encode("latin-1")
            moved = moved[:10]
        column[row] = cell.replace(cell.strip(), moved).encode("latin-1")
    return moving
