"""What a parameter of an effect is, and how a severity becomes its value.

Holds: :class:`Parameter` (unit, bounds, default, severity table, source), :func:`at_severity` and the words
for severities. Scalars are computed in decimal arithmetic and rounded to twelve digits, so that they are the same
double on every machine. Keep out what an effect does with its parameters; that stands in
``perturb.effects``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from hwosim_assets.perturb.quantities import parse_number

__all__ = ["PRESETS", "SCALE", "Parameter", "Value", "at_severity", "parse_severity", "rounded"]

#: Version of the severity table. A changed number needs a new one.
SCALE = "2026.1"

#: Words for severities: nothing, nominal flight, the worst seen in flight, failure.
PRESETS = {"none": 0.0, "low": 1.0, "medium": 3.0, "high": 5.0}

Value = float | int | str

_EXACT = Context(prec=40)


def rounded(value: float | Decimal) -> float:
    """Return a number rounded to twelve significant digits."""
    return float(f"{Decimal(value):.12g}")


@dataclass(frozen=True)
class Parameter:
    """One parameter of an effect.

    Attributes
    ----------
    name, doc : str
        Name in a scenario file, and what it is.
    unit : str
        Unit of the number, one of ``perturb.quantities.UNITS``.
    low, high : float
        Inclusive bounds.
    default : float, int, str or None
        Value when neither a severity nor the scenario sets it; ``None`` when it is severity-graded.
    severities : tuple of float, optional
        Values at severity 1 to 5. A parameter with this table is *graded*.
    identity : float
        The value at which the effect does nothing; severities and time profiles scale the distance
        from it.
    whole : bool
        Whether the value is a whole number.
    choices : tuple of str
        Allowed words, for a parameter that is no number.
    alone : bool
        Whether the effect does something by this number though graded ones do nothing; a severity of 0 still asks for
        nothing.
    source : str
        Where the default or the table comes from.
    """

    name: str
    doc: str
    unit: str = ""
    low: float = 0.0
    high: float = 1.0
    default: Value | None = None
    severities: tuple[float, ...] | None = None
    identity: float = 0.0
    whole: bool = False
    choices: tuple[str, ...] = ()
    alone: bool = False
    source: str = ""

    def parse(self, value: Any) -> Value:
        """Return a value of a scenario file as a number in this parameter's unit, or one of its words.

        Raises
        ------
        ValueError
            When it is no such number or word, or out of bounds.
        """
        if self.choices:
            if value not in self.choices:
                raise ValueError(f"must be one of {', '.join(self.choices)}, not {value!r}")
            return str(value)
        number = parse_number(value, self.unit)
        if not self.low <= number <= self.high:
            raise ValueError(f"must be between {self.low:g} and {self.high:g}{' ' + self.unit if self.unit else ''}")
        if not self.whole:
            return number
        if number != int(number):
            raise ValueError(f"must be a whole number, not {value!r}")
        return int(number)

    def at(self, severity: float) -> Value:
        """Return the value of a graded parameter at a severity of 0 to 5."""
        if self.severities is None:
            raise ValueError(f"{self.name} has no severity table")
        return self._shaped(at_severity(self.severities, severity, identity=self.identity))

    def scaled(self, value: float, amplitude: float) -> Value:
        """Return the value at a share ``amplitude`` (0 to 1) of its distance from the identity."""
        distance = Decimal(value) - Decimal(self.identity)
        return self._shaped(rounded(Decimal(self.identity) + distance * Decimal(amplitude)))

    def _shaped(self, number: float) -> Value:
        if self.whole:
            return int(Decimal(number).to_integral_value(ROUND_HALF_UP))
        return number


def parse_severity(value: Any) -> float:
    """Return a severity given as a number of 0 to 5 or as one of :data:`PRESETS`.

    Raises
    ------
    ValueError
        When it is neither.
    """
    if isinstance(value, str) and value in PRESETS:
        return PRESETS[value]
    try:
        severity = parse_number(value, "")
    except ValueError:
        raise ValueError(f"needs a number or one of {', '.join(PRESETS)}, not {value!r}") from None
    if not 0 <= severity <= 5:
        raise ValueError(f"must be between 0 and 5, not {severity:g}")
    return severity


def at_severity(table: tuple[float, ...], severity: float, *, identity: float = 0.0) -> float:
    """Return the value of a severity table at a real-valued severity.

    The table's values at 1 to 5 are met exactly. In between, the distance from ``identity`` is
    interpolated log-linearly; below 1 it falls linearly to nothing at 0.

    Parameters
    ----------
    table : tuple of float
        Five values, all on the same side of ``identity``.
    severity : float
        0 to 5.
    identity : float
        The value at severity 0.

    Returns
    -------
    float
        The value, rounded to twelve significant digits.
    """
    if not 0 <= severity <= 5:
        raise ValueError(f"a severity is between 0 and 5, not {severity:g}")
    if severity == int(severity) and severity >= 1:
        return float(table[int(severity) - 1])
    base = Decimal(str(identity))
    distances = [Decimal(str(value)) - base for value in table]
    if severity < 1:
        return rounded(base + distances[0] * Decimal(severity))
    step = int(severity)
    share = Decimal(severity) - step
    sign = 1 if distances[0] > 0 else -1
    low, high = (_EXACT.ln(abs(distances[step - 1 + side])) for side in (0, 1))
    return rounded(base + sign * _EXACT.exp(low + (high - low) * share))
