"""Profiles in time: how much of an effect there is at an absolute stream time.

Holds: the profiles a scenario file may name under ``when`` and :meth:`amplitude`, a closed function
of the exposure's mid time, so that any product can be perturbed alone and in any order. Keep out
what the amplitude multiplies; that is a parameter's distance from its identity
(``perturb.parameters``).
"""

from __future__ import annotations

import datetime as dt
from decimal import Context, Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hwosim_assets.perturb.parameters import rounded
from hwosim_assets.perturb.quantities import parse_number

__all__ = ["PROFILES", "Constant", "Exponential", "Profile", "Ramp", "Step"]

_MJD_ZERO = dt.datetime(1858, 11, 17)
_EXACT = Context(prec=40)


def _mjd(value: Any) -> float:
    """Return an MJD given as a number, an ISO date or an ISO date and time (UTC)."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return parse_number(value, "")
    if isinstance(value, dt.datetime):
        # As a difference: next to the year 1 there is no such time in UTC.
        since = value.replace(tzinfo=None) - _MJD_ZERO - (value.utcoffset() or dt.timedelta())
        return rounded(Decimal(since.total_seconds()) / 86400)
    return parse_number(value, "")


def _days(value: Any) -> float:
    return parse_number(value, "d")


Mjd = Annotated[float, BeforeValidator(_mjd)]
Days = Annotated[float, BeforeValidator(_days), Field(gt=0)]


class _Profile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def amplitude(self, time: float) -> float:
        """Return the share (0 to 1) of the effect at ``time`` (MJD UTC)."""
        raise NotImplementedError


class Constant(_Profile):
    """The same at all times."""

    profile: Literal["constant"] = "constant"

    def amplitude(self, time: float) -> float:
        """Return 1."""
        return 1.0


class Step(_Profile):
    """Nothing before ``start``, all of it from then on, until ``end`` where one is given (MJD UTC)."""

    profile: Literal["step"]
    start: Mjd
    end: Mjd | None = None

    def amplitude(self, time: float) -> float:
        """Return 1 between start and end, else 0."""
        return 1.0 if time >= self.start and (self.end is None or time < self.end) else 0.0


class Ramp(_Profile):
    """Growing linearly from 0 at ``start`` (MJD UTC) to 1 after ``length`` (days), then staying."""

    profile: Literal["ramp"]
    start: Mjd
    length: Days

    def amplitude(self, time: float) -> float:
        """Return (time - start) / length, kept between 0 and 1."""
        share = (Decimal(time) - Decimal(self.start)) / Decimal(self.length)
        return rounded(min(max(share, Decimal(0)), Decimal(1)))


class Exponential(_Profile):
    """Approaching 1 as 1 - exp(-(time - start)/tau); a throughput then falls as a + (1-a) exp(-t/tau)."""

    profile: Literal["exponential"]
    start: Mjd
    tau: Days

    def amplitude(self, time: float) -> float:
        """Return 1 - exp(-(time - start)/tau), 0 before start."""
        passed = Decimal(time) - Decimal(self.start)
        return 0.0 if passed <= 0 else rounded(1 - _EXACT.exp(-passed / Decimal(self.tau)))


#: The profiles by the word that a scenario file names them with.
PROFILES: dict[str, type[BaseModel]] = {"constant": Constant, "step": Step, "ramp": Ramp, "exponential": Exponential}

Profile = Annotated[Constant | Step | Ramp | Exponential, Field(discriminator="profile")]
