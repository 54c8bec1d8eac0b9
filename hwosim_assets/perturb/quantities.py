"""Numbers as people write them (``"5 %"``, ``"180 d"``, ``1e-3``), turned into numbers of one unit.

Holds: the parser and the few units that scenario files use. Arithmetic is decimal, so that the
same text is the same double on every machine. Keep out what a parameter means; that stands in
``perturb.parameters``.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

__all__ = ["UNITS", "parse_number"]

#: unit -> (dimension, size in the first unit of that dimension). The empty unit is a pure number.
UNITS: dict[str, tuple[str, Decimal]] = {
    "": ("fraction", Decimal(1)),
    "%": ("fraction", Decimal("0.01")),
    "ppm": ("fraction", Decimal("1e-6")),
    "s": ("time", Decimal(1)),
    "min": ("time", Decimal(60)),
    "h": ("time", Decimal(3600)),
    "d": ("time", Decimal(86400)),
    "yr": ("time", Decimal(31557600)),
    "px": ("pixels", Decimal(1)),
    "mas": ("angle", Decimal(1)),
    "arcsec": ("angle", Decimal(1000)),
    "deg": ("angle", Decimal(3600000)),
    "arcsec/h": ("motion", Decimal(1)),
    "mas/s": ("motion", Decimal("3.6")),
    "km/s": ("velocity", Decimal(1)),
    "m/s": ("velocity", Decimal("0.001")),
    "nm": ("length", Decimal(1)),
    "um": ("length", Decimal(1000)),
    "e-": ("electrons", Decimal(1)),
    "e-/s": ("electrons per second", Decimal(1)),
    "DN/s": ("counts per second", Decimal(1)),
    "/s": ("events per second", Decimal(1)),
    "/cm2/s": ("events per area and second", Decimal(1)),
    "/bit": ("events per bit", Decimal(1)),
    "packets": ("packets", Decimal(1)),
    "cards": ("cards", Decimal(1)),
}

_NUMBER = re.compile(r"^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*(\S*)\s*$")


def parse_number(value: Any, unit: str) -> float:
    """Return a number, or a text of a number and a unit, as a number of ``unit``.

    Parameters
    ----------
    value : int, float or str
        ``0.05``, ``"5 %"``, ``"1e-3"``; a text without a unit is taken to be in ``unit``.
    unit : str
        One of :data:`UNITS`.

    Returns
    -------
    float
        The value in ``unit``.

    Raises
    ------
    ValueError
        When it is not a finite number, or its unit measures something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"needs a number{_in(unit)}, not {value!r}")  # noqa: TRY004 - pydantic reports it
    if not isinstance(value, str):
        return _finite(value, unit)
    match = _NUMBER.match(value)
    if match is None:
        raise ValueError(f"needs a number{_in(unit)}, not {value!r}")
    digits, given = match.groups()
    if not given or given == unit:
        return _finite(Decimal(digits), unit)
    dimension, size = UNITS[unit]
    if UNITS.get(given, ("", None))[0] != dimension:
        known = ", ".join(sorted(name for name, (kind, _) in UNITS.items() if kind == dimension and name))
        raise ValueError(f"{given!r} is not a unit of {dimension} (known: {known or 'none, give a plain number'})")
    return _finite(Decimal(digits) * UNITS[given][1] / size, unit)


def _finite(value: float | Decimal, unit: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"needs a finite number{_in(unit)}, not {value!s:.40}")
    return number


def _in(unit: str) -> str:
    return f" in {unit}" if unit else ""
