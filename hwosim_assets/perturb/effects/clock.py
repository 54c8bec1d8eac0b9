"""Clocks that are wrong.

Holds: effect F7, and where a file keeps its times. Keep out gaps in time (``losses``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.references import card_number, set_card
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.fitsfile import FitsFile
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.planes import Plane

__all__ = ["ClockError"]

_DAY = 86400.0
_CARDS = re.compile(r"EXPSTART|EXPMID|EXPEND|MJD-(BEG|AVG|END)|TDB-(BEG|MID|END)")
_COLUMNS = re.compile(r"int_(start|mid|end)_(MJD_UTC|BJD_TDB)|MJD-(BEG|AVG|END)|TDB-(BEG|MID|END)", re.IGNORECASE)


@register(
    EffectSpec(
        name="clock_error",
        title="Clock offset and drift",
        code="F7",
        stage="header",
        model="t -> t + offset + drift (t - t0), t0 the earliest time in the file's tables, else EXPSTART",
        planes=("INT_TIMES", "header"),
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
                source="Herschel drifted by 60 ms/day; none by default",
            ),
            Parameter(
                "applied",
                "to all times, or to the headers or the tables only (half-applied)",
                default="all",
                choices=("all", "headers", "tables"),
                source="a correction that reached a part of a product",
            ),
        ),
        source="linear clock model",
        test="fitted offset and drift are those of the plan",
    )
)
class ClockError(Effect):
    """Times that are off. Calendar dates in text (DATE-BEG and its kin) stay as they are."""

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse files without times."""
        blocks = self.task.product.scan.blocks
        if not self._columns() and not any(_CARDS.fullmatch(word) for block in blocks for word in block.header):
            raise NotApplicableError("the file keeps no times")
        return {}

    def _columns(self) -> list[Plane]:
        return [
            plane for plane in self.task.product.planes if plane.dtype == "float64" and _COLUMNS.fullmatch(plane.column)
        ]

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Move the times of tables and of cards."""
        events: list[dict[str, Any]] = []
        applied, columns = self.task.word("applied"), self._columns()
        offset, drift = self.task.number("offset") / _DAY, self.task.number("drift") / _DAY
        starts = [float(times.min()) for plane in columns if (times := _told(_times(plane, file))).size]
        start = min(starts, default=self.task.product.number("EXPSTART") or 0.0)
        for plane in columns if applied != "headers" else ():
            values = _times(plane, file)
            moved = np.where(values > 0, values + offset + drift * (values - start), values)
            plane.raw(file.data)[...] = plane.encode(moved)
            file.hdus[plane.hdu].touched = True
            events.append(
                {"hdu": plane.hdu, "column": plane.column, "offset_s": self.task.number("offset"), "t0": start}
            )
        for hdu in file.hdus if applied != "tables" else ():
            for word in dict.fromkeys(word for word in hdu.keywords() if _CARDS.fullmatch(word)):
                time = card_number(hdu.find(word) or b"")
                if time is not None:
                    later = float(f"{time + offset + drift * (time - start):.15g}")
                    events.append(set_card(file, hdu.index, word, later))
        return events


def _times(plane: Plane, file: FitsFile) -> Any:
    return plane.read(file.data)


def _told(values: Any) -> Any:
    """Return the times among the numbers of a column: tables of real files hold zeros where none was written."""
    return values[np.isfinite(values) & (values > 0)]
