"""The section ``transport`` of a scenario: what happens to messages on the way.

Holds: the model of each fault and the published table of severities. Keep out how messages are lost,
delayed or damaged (``hwosim_streaming``) and when they are due (``perturb.schedule``).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hwosim_assets.perturb.parameters import at_severity, parse_severity
from hwosim_assets.perturb.quantities import parse_number

__all__ = [
    "TRANSPORT_SEVERITIES",
    "ClockSkew",
    "Corruption",
    "Delay",
    "Fault",
    "Gap",
    "LateLabel",
    "Moved",
    "Section",
    "Stale",
    "Transport",
]

#: Numbers of each fault at severity 1 to 5. Rare and repaired loss, duplicates of 0.1-5 % and
#: out-of-order arrival are what archive streams see; the clock's errors are the severity table's
#: (2026.1: JWST's 0.12 s is severity 2); the other levels are a proposal.
TRANSPORT_SEVERITIES: dict[str, dict[str, tuple[float, ...]]] = {
    "loss": {"probability": (1e-4, 1e-3, 1e-2, 5e-2, 0.2)},
    "duplicate": {"probability": (1e-3, 5e-3, 1e-2, 2e-2, 5e-2)},
    "reorder": {"probability": (1e-3, 1e-2, 5e-2, 0.1, 0.3), "displacement": (2, 4, 8, 16, 64)},
    "delay": {"probability": (1e-3, 1e-2, 5e-2, 0.1, 0.3), "median_s": (0.05, 0.2, 1.0, 5.0, 30.0)},
    "stale": {"probability": (1e-4, 5e-4, 1e-3, 5e-3, 2e-2), "displacement": (32, 64, 128, 256, 512)},
    "gap": {"probability": (1e-4, 1e-3, 5e-3, 2e-2, 0.1), "length": (4, 8, 16, 32, 64)},
    "corruption": {"probability": (1e-5, 1e-4, 1e-3, 1e-2, 5e-2), "bits": (1, 1, 2, 8, 64)},
    "truncation": {"probability": (1e-5, 1e-4, 1e-3, 5e-3, 2e-2)},
    "schema_change": {"probability": (1e-5, 1e-4, 1e-3, 1e-2, 0.1)},
    "clock_skew": {"probability": (0.1, 0.2, 0.3, 0.5, 1.0), "skew_s": (0.06, 0.12, 0.5, 5.0, 60.0)},
    "late_label": {"probability": (0.5, 0.6, 0.7, 0.8, 1.0), "mean_s": (1.0, 10.0, 60.0, 600.0, 3600.0)},
}
_WHOLE = ("displacement", "length", "bits")

Share = Annotated[float, BeforeValidator(lambda value: parse_number(value, "")), Field(ge=0, le=1)]
Seconds = Annotated[float, BeforeValidator(lambda value: parse_number(value, "s")), Field(gt=0)]


class Section(BaseModel):
    """A part of a scenario file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fault(Section):
    """It happens to a message with this probability."""

    probability: Share = 0.0


class Moved(Fault):
    """A message comes 1 to ``displacement`` places of its key later."""

    displacement: int = Field(default=1, ge=1, le=100_000)


class Stale(Fault):
    """An old message is sent once more, 9 to ``displacement`` + 9 places of its key after it first came."""

    displacement: int = Field(default=128, ge=1, le=100_000)


class Delay(Fault):
    """A message comes later by a log-normal time of this median; sigma of the logarithm is 1."""

    median_s: Seconds = 1.0


class Gap(Fault):
    """A run of ``length`` consecutive messages is lost, whatever their key, as in a missed contact."""

    length: int = Field(default=8, ge=1, le=1_000_000)


class Corruption(Fault):
    """So many bits of the value are flipped; the checksum in the headers stays that of the whole value."""

    bits: int = Field(default=1, ge=1, le=4096)


class ClockSkew(Fault):
    """The clock of a key is off by up to this time, either way, during the whole run."""

    skew_s: Seconds = 0.12


class LateLabel(Fault):
    """The truth of a product comes later than the data by an exponential time of this mean."""

    mean_s: Seconds = 10.0


def _graded(name: str) -> Any:
    """Return a validator that turns ``{severity: s}`` into the numbers of the published table."""

    def resolve(value: Any) -> Any:
        if not isinstance(value, dict) or "severity" not in value:
            return value
        if len(value) > 1:
            raise ValueError("give a severity or the numbers, not both")
        return fault_at(name, parse_severity(value["severity"]))

    return BeforeValidator(resolve)


def fault_at(name: str, severity: float) -> dict[str, float]:
    """Return the numbers of one transport fault at a severity of 0 to 5; none at 0, where it does not happen."""
    if not severity:
        return {}
    tables = TRANSPORT_SEVERITIES[name]
    # A severity next to nothing rounds to nothing; a time that must be above 0 then stays that of severity 1.
    numbers = {
        key: at_severity(table, severity) or (0.0 if key == "probability" else table[0])
        for key, table in tables.items()
    }
    return {key: max(1, round(value)) if key in _WHOLE else value for key, value in numbers.items()}


class Transport(Section):
    """What happens to messages on the way; each fault by severity or by its numbers, none by default."""

    loss: Annotated[Fault, _graded("loss")] = Fault()
    duplicate: Annotated[Fault, _graded("duplicate")] = Fault()
    reorder: Annotated[Moved, _graded("reorder")] = Moved()
    delay: Annotated[Delay, _graded("delay")] = Delay()
    stale: Annotated[Stale, _graded("stale")] = Stale()
    gap: Annotated[Gap, _graded("gap")] = Gap()
    corruption: Annotated[Corruption, _graded("corruption")] = Corruption()
    truncation: Annotated[Fault, _graded("truncation")] = Fault()
    schema_change: Annotated[Fault, _graded("schema_change")] = Fault()
    clock_skew: Annotated[ClockSkew, _graded("clock_skew")] = ClockSkew()
    late_label: Annotated[LateLabel, _graded("late_label")] = LateLabel()

    def at(self, severity: float) -> Transport:
        """Return the same faults at another severity; a fault that does not happen stays away."""
        happens = [name for name in TRANSPORT_SEVERITIES if getattr(self, name).probability > 0]
        return Transport.model_validate({name: fault_at(name, severity) for name in happens})
