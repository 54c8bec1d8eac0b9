"""Profiles in time: how much of an effect there is at an absolute stream time.

Holds: the profiles a scenario file may name under ``when`` and :meth:`amplitude`, a closed function
of the exposure's mid time, so that any product can be perturbed alone and in any order. Keep out
what the amplitude multiplies; that is a parameter's distance from its identity
(``perturb.parameters``).
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hwosim_assets.perturb.parameters import rounded
from hwosim_assets.perturb.quantities import parse_number

if TYPE_CHECKING:
    from hwosim_assets.perturb.rng import Stream

__all__ = ["PROFILES", "Burst", "Constant", "Exponential", "Oscillation", "Profile", "Ramp", "RandomWalk", "Step"]

_TWO_PI = Decimal("6.283185307179586476925286766559")
_MJD_ZERO = dt.datetime(1858, 11, 17)
_EXACT = Context(prec=40)


def _mjd(value: Any) -> float:
    """Return an MJD given as a number, an ISO date or an ISO date and time (UTC)."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    if isinstance(value, str):
        value = _absolute(value)
    if isinstance(value, dt.datetime):
        # As a difference: next to the year 1 there is no such time in UTC.
        since = value.replace(tzinfo=None) - _MJD_ZERO - (value.utcoffset() or dt.timedelta())
        return rounded(Decimal(since.total_seconds()) / 86400)
    return parse_number(value, "")


def _absolute(text: str) -> dt.datetime | float:
    """Return a time given as text. A profile is one function of time for all exposures, so none is relative to one."""
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        if re.search(r"^\s*\+|[a-zA-Z%]\s*$", text):
            known = "an absolute time, an MJD (59772.25) or UTC (2022-07-12T06:00:00)"
            raise ValueError(f"needs {known}, not {text!r}") from None
        return parse_number(text, "")


def _days(value: Any) -> float:
    return parse_number(value, "d")


Mjd = Annotated[float, BeforeValidator(_mjd)]
Days = Annotated[float, BeforeValidator(_days), Field(gt=0)]


class _Profile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def amplitude(self, time: float, walk: Stream | None = None) -> float:
        """Return the share (0 to 1) of the effect at ``time`` (MJD UTC).

        ``walk`` is the random stream of the use of the effect, for profiles that are drawn.
        """
        raise NotImplementedError


class Constant(_Profile):
    """The same at all times."""

    profile: Literal["constant"] = "constant"

    def amplitude(self, time: float, walk: Stream | None = None) -> float:
        """Return 1."""
        return 1.0


class Step(_Profile):
    """Nothing before ``start``, all of it from then on, until ``end`` where one is given (MJD UTC)."""

    profile: Literal["step"]
    start: Mjd
    end: Mjd | None = None

    def amplitude(self, time: float, walk: Stream | None = None) -> float:
        """Return 1 between start and end, else 0."""
        return 1.0 if time >= self.start and (self.end is None or time < self.end) else 0.0


class Ramp(_Profile):
    """Growing linearly from 0 at ``start`` (MJD UTC) to 1 after ``length`` (days), then staying."""

    profile: Literal["ramp"]
    start: Mjd
    length: Days

    def amplitude(self, time: float, walk: Stream | None = None) -> float:
        """Return (time - start) / length, kept between 0 and 1."""
        share = (Decimal(time) - Decimal(self.start)) / Decimal(self.length)
        return rounded(min(max(share, Decimal(0)), Decimal(1)))


class Exponential(_Profile):
    """Approaching 1 as 1 - exp(-(time - start)/tau); a throughput then falls as a + (1-a) exp(-t/tau)."""

    profile: Literal["exponential"]
    start: Mjd
    tau: Days

    def amplitude(self, time: float, walk: Stream | None = None) -> float:
        """Return 1 - exp(-(time - start)/tau), 0 before start."""
        passed = Decimal(time) - Decimal(self.start)
        return 0.0 if passed <= 0 else rounded(1 - _EXACT.exp(-passed / Decimal(self.tau)))


class Oscillation(_Profile):
    """Rising and falling as (1 + sin(2 pi (time - start)/period)) / 2, for ever in both directions."""

    profile: Literal["oscillation"]
    start: Mjd
    period: Days

    def amplitude(self, time: float, walk: Stream | None = None) -> float:
        """Return (1 + sin(2 pi (time - start)/period)) / 2."""
        turns = (Decimal(time) - Decimal(self.start)) / Decimal(self.period)
        return rounded((1 + _sine_of_turns(turns)) / 2)


class Burst(_Profile):
    """All of it for ``length`` (days) from ``start`` on, again after ``every`` days where that is given."""

    profile: Literal["burst"]
    start: Mjd
    length: Days
    every: Days | None = None

    def amplitude(self, time: float, walk: Stream | None = None) -> float:
        """Return 1 within a burst, else 0."""
        # Fractions are exact; a remainder in decimals ends where the quotient has more digits than they.
        passed = Fraction(time) - Fraction(self.start)
        if passed < 0:
            return 0.0
        if self.every is not None:
            passed %= Fraction(self.every)
        return 1.0 if passed < Fraction(self.length) else 0.0


class RandomWalk(_Profile):
    """A random walk from ``start`` (MJD UTC) over ``length`` days, kept between 0 and 1 by reflection.

    It starts at 0 and has the standard deviation ``rms`` at the end before reflection; afterwards it stays. A
    Brownian bridge is halved twenty times, so that any time's value is found alone.
    """

    profile: Literal["random_walk"]
    start: Mjd
    length: Days
    rms: float = Field(default=0.5, gt=0, le=10)

    def amplitude(self, time: float, walk: Stream | None = None) -> float:
        """Return the walk at ``time``; 0 before its start."""
        if walk is None:
            raise ValueError("a random walk needs its random stream")
        share = (Decimal(time) - Decimal(self.start)) / Decimal(self.length)
        if share <= 0:
            return 0.0
        value = Decimal(self.rms) * _bridge(walk, min(share, Decimal(1)))
        folded = abs(value) % 2
        return rounded(2 - folded if folded > 1 else folded)


_HALVINGS = 20


def _bridge(walk: Stream, share: Decimal) -> Decimal:
    """Return Brownian motion at a share (0 to 1) of its length, of variance 1 at the end."""
    leaves = 1 << _HALVINGS
    leaf = min(int(_EXACT.multiply(share, Decimal(leaves))), leaves - 1)
    begin, middle, end = _part(walk, _HALVINGS - 1, leaf // 2)
    left, right = (middle, end) if leaf % 2 else (begin, middle)
    return left + (right - left) * (share - Decimal(leaf) / leaves) / (Decimal(1) / leaves)


@lru_cache(maxsize=1024)  # times that follow each other lie in the same large parts
def _part(walk: Stream, level: int, node: int) -> tuple[Decimal, Decimal, Decimal]:
    """Return Brownian motion at begin, middle and end of one of the 2^level parts of its length."""
    if level == 0:
        left, right = Decimal(0), Decimal(float(walk.normal(0, 0, 1)[0]))
    else:
        begin, middle, end = _part(walk, level - 1, node // 2)
        left, right = (middle, end) if node % 2 else (begin, middle)
    deviate = Decimal(float(walk.normal(level + 1, node, 1)[0]))
    return left, (left + right) / 2 + (Decimal(1) / (4 << level)).sqrt() * deviate, right


def _sine_of_turns(turns: Decimal) -> Decimal:
    """Return sin(2 pi turns) by its Taylor series in decimal arithmetic."""
    x = _TWO_PI * (turns - turns.to_integral_value())
    term, total = x, x
    for order in range(1, 25):
        term = -term * x * x / ((2 * order) * (2 * order + 1))
        total += term
    return total


#: The profiles by the word that a scenario file names them with.
PROFILES: dict[str, type[BaseModel]] = {
    "constant": Constant,
    "step": Step,
    "ramp": Ramp,
    "exponential": Exponential,
    "oscillation": Oscillation,
    "burst": Burst,
    "random_walk": RandomWalk,
}

Profile = Annotated[
    Constant | Step | Ramp | Exponential | Oscillation | Burst | RandomWalk, Field(discriminator="profile")
]
