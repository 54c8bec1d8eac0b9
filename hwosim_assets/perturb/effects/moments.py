"""Parameters that place something in absolute time: a moment, and how long it lasts.

Holds: :func:`moment`, and the kinds of parameters that are 0 where a share of the exposure counts. Keep out when a
product was exposed (``perturb.times``) and where its file keeps that (``instants``).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hwosim_assets.perturb.parameters import Parameter, Value
from hwosim_assets.perturb.profiles import Mjd

__all__ = ["Instant", "Lasting", "moment"]

#: The shortest that anything lasts, in hours or days: far below a readout, and far above what a division cannot bear.
_SHORTEST = 1e-6


def moment(value: Any) -> float:
    """Return an MJD (UTC) of a number, a date or an ISO text.

    Raises
    ------
    ValueError
        When it is no time.
    """
    try:
        return float(TypeAdapter(Mjd).validate_python(value))
    except (ValidationError, OverflowError):
        shown = value.isoformat() if isinstance(value, dt.date) else repr(value)
        raise ValueError(f"needs an ISO date and time or an MJD, not {shown}") from None


@dataclass(frozen=True)
class Instant(Parameter):
    """A time as profiles take it, MJD or an ISO date (UTC); also a number of days with its unit."""

    def parse(self, value: Any) -> Value:
        """Return an MJD; hours are no time, and what begins with a plus counts from something."""
        days = isinstance(value, str) and value.rstrip().endswith("d") and not value.lstrip().startswith("+")
        return super().parse(value if days else moment(value))


@dataclass(frozen=True)
class Lasting(Parameter):
    """A duration or a period that is 0 where another number counts in its place."""

    def parse(self, value: Any) -> Value:
        """Return 0, or a time that is long enough to be divided by."""
        number = super().parse(value)
        if isinstance(number, float) and 0 < number < _SHORTEST:
            raise ValueError(f"must be 0, or at least {_SHORTEST:g} {self.unit}")
        return number
